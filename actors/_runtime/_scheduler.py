"""The seeded scheduler: a world in which the same seed gives the same run."""

import asyncio
import contextlib
import contextvars
import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from tinkex.actors._runtime._clock import VirtualClock
from tinkex.actors._runtime._io import IoThread
from tinkex.actors._runtime._report import report
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._runtime._turns import Player, Turns, WorldEnded
from tinkex.actors._runtime._world_loop import WorldLoop

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

_UNWIND_SECONDS: Final = 10.0
_UNWIND_LEAST_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 30.0


class SeededScheduler:
    """A world of threads, timers and coroutines that the seed decides: same seed, same program, same ``trace``.

    One thread runs at a time, until it waits, ends, or offers its turn (actors do before each message). A seeded
    choice then says who goes on. ``clock`` moves only when nobody can run, to the next timer. Actors started inside
    belong to the world, and so do their coroutines, with asyncio's own timers. The thread that enters it controls it:
    nobody else runs until it waits for a reply or calls ``run_until_idle`` or ``run_for``. Real sockets and other
    threads do not take part. Automatic garbage collection pauses: it would run finalizers at unforeseeable moments.

    Args:
        seed: decides every choice.
        http_transport: answers the HTTP requests made inside.
        max_turns: turns of others that one wait of the controlling thread may take: more are reported as a runaway.
        patience: real seconds that a thread may keep its turn while the controlling thread waits.

    Example:
        with SeededScheduler(7) as world:
            ref = Worker.start()
            reply = ref.ask(Work(), block=False)
            world.run_for(10.0)  # ten seconds pass in no time
            assert reply.done()
            ref.stop()
        for line in world.trace:
            print(line)
    """

    def __init__(
        self,
        seed: int,
        *,
        http_transport: "httpx.AsyncBaseTransport | None" = None,
        max_turns: int = 1_000_000,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        """Make an empty world; it begins when entered, once."""
        self.seed = seed
        self.clock = VirtualClock()
        self.io = IoThread(self)
        self.http_transport = http_transport
        self._turns = Turns(seed, self.clock, max_turns, patience)
        self._seeds = random.Random(f"seeds {seed}")  # noqa: S311 - repeatable is what it must be
        self._names: Counter[str] = Counter()
        self._threads: dict[threading.Thread, tuple[Player, list[WorldParker]]] = {}
        self._scope = contextlib.ExitStack()
        self._entered = False

    @property
    def trace(self) -> list[str]:
        """What happened: ``<seconds> <thread>: <event>``, where actors are called ``<class>#<number>``."""
        return self._turns.trace

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a seeded world begins once; make another")
        self._entered = True
        self._turns.control()
        self._scope.enter_context(Runtime(scheduler=self, http_transport=self.http_transport).use())
        if gc.isenabled():
            gc.disable()
            self._scope.callback(gc.enable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._scope:
            try:
                if not self._turns.ended and not self._unwind(self.io.thread):
                    self.io.close()
            finally:
                self._turns.ended = True
                stuck = self._unwind(None)
            if stuck:
                raise RuntimeError(f"the seeded world is over, but threads of it run on: {', '.join(stuck)}")
            self.io.close(0.0)  # where the loop ended unasked, its tasks have not been told yet

    def run_until_idle(self) -> None:
        """Let all run until nobody can unless time moves or this thread acts. No time passes.

        Raises:
            RuntimeError: the calling thread does not control the world, a thread keeps its turn, or there is no end.
        """
        self.run_for(0.0)

    def run_for(self, seconds: float) -> None:
        """Let all run for ``seconds`` of the world's time, then until nobody can.

        Raises:
            RuntimeError: see ``run_until_idle``.
        """
        me = self._turns.current()
        if me is not self._turns.controller:
            raise RuntimeError("only the thread that entered a seeded world drives it")
        until = self.clock.monotonic() + seconds
        me.horizon = until
        try:
            self._turns.wait(me, unless=lambda: False)
        finally:
            me.horizon = inf
        self.clock.advance(max(until - self.clock.monotonic(), 0.0))

    def run(self, coro: Coroutine[Any, Any, T]) -> T:
        """Run ``coro`` on the calling thread, on an event loop inside the world, and return its value.

        When the world ends before, ``coro`` is cancelled.
        """
        try:
            with asyncio.Runner(loop_factory=self.new_loop) as runner:
                return runner.run(coro)
        except asyncio.CancelledError:
            if self._turns.current().evicted:
                raise WorldEnded from None
            raise

    def start_thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        """Start a daemon thread inside the world; it runs ``target`` when it is first chosen.

        Args:
            name: what the thread is; the trace numbers equal names in the order of their start.
            target: ends by itself; it runs in a copy of the caller's context.

        Raises:
            RuntimeError: the world has ended.
        """
        if self._turns.ended:
            raise RuntimeError("this seeded world has ended")
        self._names[name] += 1
        player = self._turns.add(f"{name}#{self._names[name]}")
        self.note(f"starts {player.name}")
        run = [partial(contextvars.copy_context().run, target)]
        thread = threading.Thread(target=self._play, args=(player, run), name=f"tinkex-{player.name}", daemon=True)
        self._threads[thread] = player, []
        thread.start()
        return thread

    def join(self, thread: threading.Thread, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` of the world's seconds for the end of a thread of ``start_thread``."""
        if thread in self._threads:
            player, watchers = self._threads[thread]
            parker = self.new_parker()
            watchers.append(parker)
            parker.park(timeout)
            if not player.over:
                watchers.remove(parker)
                return False
        thread.join()
        return True

    def new_parker(self) -> "WorldParker":
        """Return a parker whose ``park`` gives the turn away."""
        return WorldParker(self._turns, self.clock)

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop for one thread of the world: it waits by parking, on the world's time."""
        return WorldLoop(self)

    def new_random(self) -> random.Random:
        """Return a generator that the seed decides; each call gives another."""
        return random.Random(self._seeds.getrandbits(64))  # noqa: S311 - repeatable is what it must be

    def monotonic(self) -> float:
        """The world's seconds."""
        return self.clock.monotonic()

    def offer(self) -> None:
        """Let the seed decide anew who runs, the calling thread included."""
        self._turns.offer()

    def note(self, event: str) -> None:
        """Add ``event`` of the calling thread to the trace."""
        self._turns.note(event)

    def step(self, event: str) -> None:
        """Add ``event`` of the calling thread to the trace and offer its turn."""
        self._turns.note(event)
        self._turns.offer()

    def _play(self, player: Player, run: list[Callable[[], object]]) -> None:
        try:
            self._turns.play(player, run)
        except WorldEnded:
            pass
        except BaseException as error:  # noqa: BLE001 - told as Python tells it, but before others get their turn
            report(error)
        for parker in self._threads.pop(threading.current_thread())[1]:
            parker.unpark()
        self._turns.leave(player)

    def _unwind(self, spared: threading.Thread | None) -> list[str]:
        leaving = [(thread, player) for thread, (player, _) in tuple(self._threads.items()) if thread is not spared]
        give_up = time.monotonic() + _UNWIND_SECONDS
        for thread, player in leaving:  # one after the other, so that the trace stays the seed's
            self._turns.evict(player)
            thread.join(max(give_up - time.monotonic(), _UNWIND_LEAST_SECONDS))
        return [player.name for thread, player in leaving if thread.is_alive()]


class WorldParker:
    """The parker of a seeded world: to park is to give the turn away."""

    __slots__ = ("_clock", "_permit", "_turns", "_waiter")

    def __init__(self, turns: Turns, clock: VirtualClock) -> None:
        """Start with nothing to use up."""
        self._turns = turns
        self._clock = clock
        self._permit = False
        self._waiter: Player | None = None

    def park(self, timeout: float | None = None) -> bool:
        """See ``Parker``; the seconds are the world's."""
        if not self._permit and (timeout is None or timeout > 0.0):
            self._wait(timeout)
        used, self._permit = self._permit, False
        return used

    def unpark(self) -> None:
        """See ``Parker``; the calling thread keeps its turn."""
        self._permit = True
        waiter = self._waiter
        if waiter is not None:
            self._turns.ready(waiter)

    def _wait(self, timeout: float | None) -> None:
        me = self._turns.current()
        if self._waiter is not None:
            raise RuntimeError(f"{self._waiter.name} parks on this parker already")
        give_up = inf if timeout is None else self._clock.monotonic() + timeout
        timer = None if timeout is None else self._clock.call_later(timeout, partial(self._turns.ready, me))
        self._waiter = me
        try:
            while not self._permit and self._clock.monotonic() < give_up:
                self._turns.wait(me, unless=lambda: self._permit)
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()
