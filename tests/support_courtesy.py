"""Transports to one server with one key, in a seeded world whose time is virtual."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tinkex.actors._transport import Courtesy, Transport
from tinkex.actors._transport._circuit import FAILURES
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import ApiKey

Answer = Callable[[httpx.Request], "Awaitable[httpx.Response] | httpx.Response"]
DOWN = httpx.Response(503, json={"detail": "down"})
PENDING = httpx.Response(200, json={"type": "try_again", "request_id": "r", "queue_state": "active"})
OK = httpx.Response(200, json={"request_id": "r"})


class Wire(httpx.AsyncBaseTransport):
    """Answers as told, and notes when which request came and how much was on its way."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.world: SeededScheduler | None = None
        self.came = list[tuple[float, str, Any]]()
        self.open = self.most_open = self.bytes = self.most_bytes = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert self.world is not None
        body = await request.aread()
        path = request.url.path.removeprefix("/api/v1")
        self.came.append((self.world.clock.monotonic(), path, json.loads(body) if body else None))
        self.open += 1
        self.bytes += len(body)
        self.most_open = max(self.most_open, self.open)
        self.most_bytes = max(self.most_bytes, self.bytes)
        try:
            answer = self.answer(request)
            return answer if isinstance(answer, httpx.Response) else await answer
        finally:
            self.open -= 1
            self.bytes -= len(body)

    def times(self, path: str) -> list[float]:
        return [at for at, seen, _ in self.came if seen == path]


class States(list[str]):
    """What an operation's caller would see in ``Status``, in order, without repetitions."""

    def __call__(self, state: str, _reason: str | None) -> None:
        if not self or self[-1] != state:
            self.append(state)


class Rig:
    """Transports to one server with one key, in one seeded world."""

    def __init__(self, world: SeededScheduler, wire: Wire) -> None:
        wire.world = world
        self.world = world
        self.wire = wire
        self.courtesy = Courtesy("http://127.0.0.1:1", world.clock, world.new_random())

    def transport(self, send_timeout: float | None = None) -> Transport:
        return Transport(
            "http://127.0.0.1:1",
            ApiKey("tml-x"),
            self.world.clock,
            send_timeout=send_timeout,
            rng=self.world.new_random(),
            courtesy=self.courtesy,
            http_transport=self.wire,
        )

    async def sleep(self, seconds: float) -> None:
        await self.world.clock.sleep(seconds)

    async def open_circuit(self) -> None:
        """Have the circuit open."""
        transport = self.transport()
        for _ in range(FAILURES):
            await transport.beat("/beat", b"{}", read_seconds=1.0)
        assert self.courtesy.circuit.phase == "open"
        self.wire.came.clear()

    def phase(self) -> str:
        return self.courtesy.circuit.phase

    def nothing_held(self) -> bool:
        gates = self.courtesy.gates.values()
        return all((gate.inside, gate.bytes_inside, gate.waiting) == (0, 0, 0) for gate in gates)


def send(transport: Transport, observe: Any = None, size: int = 10, path: str = "/send") -> Any:
    body = json.dumps("x" * (size - 2)).encode()
    return transport.send(path, body, what="send", observe=States() if observe is None else observe)


def begin(work: Any) -> "asyncio.Task[Any]":
    return asyncio.get_running_loop().create_task(work)


async def end(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def play(answer: Answer, program: Callable[[Rig], Awaitable[None]], seed: int = 1) -> Rig:
    async def main(rig: Rig) -> None:
        await program(rig)

    with SeededScheduler(seed) as world:
        rig = Rig(world, Wire(answer))
        world.run(main(rig))
        return rig


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


async def waited(rig: Rig, works: list[Any], seconds: float) -> "list[asyncio.Task[Any]]":
    tasks = [begin(work) for work in works]
    await rig.sleep(seconds)
    return tasks
