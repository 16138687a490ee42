"""Two programs for seeded worlds. As a script it prints the traces of some seeds as JSON: ``toy 0 1 2``."""

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinkex.actors import Deferred, GenRef, GenServer, Outcome, on
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import Ok, Request, Result

ITEMS = 6


class Box:
    """The smallest mailbox: what it shows is how to wait on a parker."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._parker = Runtime.current().new_parker()

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._parker.unpark()

    def get(self) -> Any:
        while not self._items:
            self._parker.park()
        return self._items.popleft()


def toy(seed: int) -> tuple[list[str], list[Any]]:
    """Threads that pass numbers on after a timer and a coroutine each; return the trace and what came out."""
    with SeededScheduler(seed) as world:
        runtime = Runtime.current()
        out = Box()

        def stage(box: Box, onward: Callable[[Any], None]) -> None:
            for _ in range(ITEMS):
                number = box.get()
                runtime.step(f"takes {number}")
                jitter = runtime.new_random().random()

                async def work(number: int = number, jitter: float = jitter) -> int:
                    await runtime.clock.sleep(jitter)
                    await asyncio.sleep(0.1)
                    return int(number) + 10

                def done(outcome: Outcome[int]) -> None:
                    runtime.trace(f"done {outcome.value}")
                    runtime.clock.call_later(0.05, lambda: onward(outcome.value))

                runtime.io.submit(work(), done)

        first, second = Box(), Box()
        threads = [
            runtime.start_thread("Stage", lambda: stage(first, second.put)),
            runtime.start_thread("Stage", lambda: stage(second, out.put)),
        ]
        for number in range(ITEMS):
            first.put(number)
        came = [out.get() for _ in range(ITEMS)]
        assert all(runtime.join(thread) for thread in threads)
    return world.trace, came


class Pass(Request[int], frozen=True):
    number: int


@dataclass(frozen=True)
class Ripe:
    number: int
    reply: Deferred[int]


@dataclass(frozen=True)
class Worked:
    outcome: Outcome[int]
    reply: Deferred[int]


class Stage(GenServer[Any]):
    """Answers after a coroutine and a timer; the last stage adds nothing, the others ask the next one."""

    def __init__(self, onward: GenRef[Any] | None = None) -> None:
        super().__init__()
        self._onward = onward
        self._random = self.runtime.new_random()

    @on(Pass)
    def _on_pass(self, message: Pass) -> Result[int] | Deferred[int]:
        reply = Deferred[int]()

        async def work() -> int:
            await self.runtime.clock.sleep(self._random.random())
            await asyncio.sleep(0.1)
            return message.number + 10

        self.spawn(work(), lambda outcome: Worked(outcome, reply))
        return reply

    @on(Worked)
    def _on_worked(self, message: Worked) -> None:
        self.send_after(0.05, Ripe(message.outcome.unwrap(), message.reply))

    @on(Ripe)
    def _on_ripe(self, message: Ripe) -> None:
        if self._onward is None:
            message.reply.settle(Ok(message.number))
        else:
            reply = self._onward.ask(Pass(message.number), block=False)
            reply.add_done_callback(message.reply.settle)


def servers(seed: int) -> tuple[list[str], list[Any]]:
    """Two real actors in a row, driven by waits, by awaits and by passing time."""
    with SeededScheduler(seed) as world:
        last = Stage.start()
        first = Stage.start(last)
        replies = [first.ask(Pass(number), block=False) for number in range(ITEMS)]
        world.run_until_idle()
        assert world.clock.monotonic() == 0.0
        world.run_for(0.5)
        came = [reply.get().unwrap() for reply in replies]

        async def awaits() -> int:
            both = await asyncio.gather(*(first.ask(Pass(number), block=False) for number in (100, 200)))
            return sum(result.unwrap() for result in both)

        came.append(world.run(awaits()))
        assert first.stop()
        assert last.stop()
        assert first.join()
        assert last.join()
    return world.trace, came


PROGRAMS = {"toy": toy, "servers": servers}

if __name__ == "__main__":
    program, *seeds = sys.argv[1:]
    sys.stdout.write(json.dumps([PROGRAMS[program](int(seed)) for seed in seeds]))
