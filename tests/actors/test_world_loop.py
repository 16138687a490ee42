"""Event loops in a seeded world."""

import asyncio
import socket

import httpx
import pytest

from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors.testing import SeededScheduler


def test_asyncio_sleeps_and_deadlines_in_the_worlds_time() -> None:
    async def work() -> str:
        await asyncio.sleep(3_600)
        try:
            await asyncio.wait_for(asyncio.sleep(3_600), 60)
        except TimeoutError:
            return "timed out"
        return "slept"

    outcomes: list[Outcome[str]] = []
    with SeededScheduler(1) as world:
        world.io.submit(work(), outcomes.append)
        world.run_for(3_659.0)
        assert (outcomes, world.io.open_tasks()) == ([], 1)
        assert not world.io.drain(0.5)
        world.run_for(1.0)
        assert outcomes == [Outcome(value="timed out")]
        assert world.io.drain()


def test_a_coroutine_that_is_open_at_the_end_is_cancelled() -> None:
    outcomes: list[Outcome[None]] = []
    with SeededScheduler(1) as world:
        world.io.submit(world.clock.sleep(5.0), outcomes.append)
        world.run_until_idle()
    assert outcomes == [Outcome(cancelled=True)]
    world.io.submit(world.clock.sleep(5.0), outcomes.append)
    assert outcomes[1:] == [Outcome(cancelled=True)]


def test_real_sockets_are_refused() -> None:
    async def read() -> None:
        left, right = socket.socketpair()
        with left, right:
            left.setblocking(False)
            await asyncio.get_running_loop().sock_recv(left, 1)

    outcomes: list[Outcome[None]] = []
    with SeededScheduler(1) as world:
        world.io.submit(read(), outcomes.append)
        world.run_until_idle()
    with pytest.raises(RuntimeError, match="no real sockets"):
        outcomes[0].unwrap()


def test_http_requests_reach_a_handler_in_this_process_in_the_worlds_time() -> None:
    async def handler(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(30.0)
        return httpx.Response(200, text=request.url.path)

    async def fetch() -> str:
        async with httpx.AsyncClient(transport=Runtime.current().http_transport) as client:
            return (await client.get("http://engine/path")).text

    outcomes: list[Outcome[str]] = []
    with SeededScheduler(1, http_transport=httpx.MockTransport(handler)) as world:
        world.io.submit(fetch(), outcomes.append)
        world.run_for(31.0)
    assert outcomes == [Outcome(value="/path")]


def test_async_code_of_the_controlling_thread_runs_inside_the_world() -> None:
    with SeededScheduler(1) as world:

        async def main() -> list[float]:
            seen: list[float] = []
            loop = asyncio.get_running_loop()
            waiting: asyncio.Future[None] = loop.create_future()
            world.clock.call_later(7.0, lambda: loop.call_soon_threadsafe(waiting.set_result, None))
            await waiting
            seen.append(loop.time())
            await asyncio.sleep(1.0)
            seen.append(world.clock.monotonic())
            return seen

        assert world.run(main()) == [7.0, 8.0]
