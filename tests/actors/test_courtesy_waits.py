"""One server, one courtesy: what waiting for the circuit and in the queue does to callers.

All here runs in a seeded world, where time is virtual: a minute of it is counted exactly.
"""

import asyncio
import random

import httpx
import pytest

from support_courtesy import DOWN, OK, Answer, Rig, States, begin, end, play, send, waited
from tinkex.actors._transport import Accepted, Limits, Refused, Unknown
from tinkex.actors._transport._circuit import LONGEST_SECONDS
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import TinkexError


def test_a_request_that_never_went_out_is_refused_when_its_send_timeout_ends_in_the_wait() -> None:
    async def program(rig: Rig) -> None:
        await rig.open_circuit()
        for _ in range(6):
            await rig.sleep(rig.courtesy.circuit.seconds)
            await end(*await waited(rig, [send(rig.transport())], 0.01))
        rig.wire.came.clear()
        began = rig.world.clock.monotonic()
        result = await send(rig.transport(send_timeout=4.0))
        assert rig.wire.times("/send") == []
        assert rig.world.clock.monotonic() - began == pytest.approx(4.0)
        assert isinstance(result, Refused)
        assert result.error.kind == "api_connection"
        assert "503" in result.error.message
        with pytest.raises(TinkexError, match="503"):
            await rig.transport(send_timeout=1.0).command("GET", "/ask", None, what="ask")
        assert rig.nothing_held()

    play(lambda _request: DOWN, program)


def test_a_request_whose_attempts_were_all_refused_a_connection_is_refused_in_the_end() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async def program(rig: Rig) -> None:
        results = await asyncio.gather(*(send(rig.transport(send_timeout=30.0)) for _ in range(20)))
        assert all(isinstance(result, Refused) and result.error.kind == "api_connection" for result in results)

    play(answer, program)


def test_a_request_that_may_have_run_has_a_last_try_so_that_the_circuit_does_not_decide() -> None:
    well = list[bool]()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/send" and not well:
            raise httpx.ReadError("lost")
        return OK if well and request.url.path == "/send" else DOWN

    async def program(rig: Rig) -> None:
        task = begin(send(rig.transport(send_timeout=20.0)))
        await rig.sleep(0.01)
        for _ in range(8):
            await rig.open_circuit() if rig.phase() == "closed" else None
            await rig.sleep(2.0)
        well.append(True)
        result = await task
        assert isinstance(result, Accepted)
        assert result.ambiguous

    play(answer, program)


def test_a_request_that_may_have_run_and_fails_to_the_end_is_unknown() -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("lost")

    async def program(rig: Rig) -> None:
        result = await send(rig.transport(send_timeout=20.0))
        assert isinstance(result, Unknown)
        assert rig.world.clock.monotonic() <= 20.0 + LONGEST_SECONDS

    play(answer, program)


# The queue


def slow(seconds: float) -> Answer:
    async def answer(_request: httpx.Request) -> httpx.Response:
        await worlds[-1].clock.sleep(seconds)
        return OK

    return answer


worlds = list[SeededScheduler]()


def test_no_more_than_the_limit_is_being_sent_and_the_order_is_that_of_asking() -> None:
    async def program(rig: Rig) -> None:
        worlds.append(rig.world)
        rig.courtesy.limit(Limits(max_in_flight=3))
        states = [States() for _ in range(12)]
        works = [send(rig.transport(), seen, path=f"/send/{index}") for index, seen in enumerate(states)]
        results = await asyncio.gather(*works)
        assert all(isinstance(result, Accepted) for result in results)
        assert [list(seen) for seen in states] == [[]] * 3 + [["queued", "sending"]] * 9
        assert rig.wire.most_open == 3
        assert [path for _, path, _ in rig.wire.came] == [f"/send/{index}" for index in range(12)]
        assert rig.world.clock.monotonic() == pytest.approx(4.0)
        assert rig.nothing_held()

    play(slow(1.0), program)


def test_no_more_bytes_than_the_limit_are_being_sent_and_a_larger_body_goes_alone() -> None:
    async def program(rig: Rig) -> None:
        worlds.append(rig.world)
        rig.courtesy.limit(Limits(max_bytes_in_flight=100))
        await asyncio.gather(*(send(rig.transport(), size=40) for _ in range(9)))
        assert rig.wire.most_bytes == 80
        rig.wire.most_bytes = 0
        await asyncio.gather(*(send(rig.transport(), size=size) for size in (40, 500, 40, 40, 40)))
        assert rig.wire.most_bytes == 500
        assert rig.nothing_held()

    play(slow(1.0), program)


def test_polls_that_are_held_do_not_hold_up_sends_nor_sends_polls() -> None:
    async def program(rig: Rig) -> None:
        worlds.append(rig.world)
        rig.courtesy.limit(Limits(max_in_flight=1))
        rig.courtesy.gates["poll"].places = 1
        transport = rig.transport()
        polls = [transport.poll(f"r{index}", what="x", observe=States()) for index in range(3)]
        tasks = [begin(work) for work in [*polls, send(transport), send(transport)]]
        await rig.sleep(0.1)
        assert [path for _, path, _ in rig.wire.came] == ["/retrieve_future", "/send"]
        await end(*tasks)
        assert rig.nothing_held()

    play(slow(30.0), program)


def test_a_cancel_leaves_the_queue_at_once_and_frees_what_was_held() -> None:
    async def program(rig: Rig) -> None:
        worlds.append(rig.world)
        rig.courtesy.limit(Limits(max_in_flight=2, max_bytes_in_flight=1000))
        transport = rig.transport()
        first, second, third, fourth = (begin(send(transport, path=f"/{name}")) for name in "abcd")
        await rig.sleep(0.1)
        began = rig.world.clock.monotonic()
        await end(third, first)
        await rig.sleep(0.0)
        assert [path for _, path, _ in rig.wire.came] == ["/a", "/b", "/d"]
        assert rig.world.clock.monotonic() == began
        await asyncio.gather(second, fourth)
        assert rig.nothing_held()

    play(slow(10.0), program)


def test_a_circuit_that_opens_meanwhile_does_not_cost_a_request_its_time_in_the_queue() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/slow":
            await worlds[-1].clock.sleep(5.0)
        return DOWN if request.url.path == "/beat" else OK

    async def program(rig: Rig) -> None:
        worlds.append(rig.world)
        rig.courtesy.limit(Limits(max_in_flight=1))
        occupant = begin(send(rig.transport(), path="/slow"))
        queued = begin(send(rig.transport(send_timeout=3.0)))
        await rig.sleep(4.9)
        await rig.open_circuit()
        assert isinstance(await queued, Accepted)
        assert isinstance(await occupant, Accepted)

    play(answer, program)


def test_time_in_the_queue_does_not_count_against_the_send_timeout() -> None:
    async def program(rig: Rig) -> None:
        worlds.append(rig.world)
        rig.courtesy.limit(Limits(max_in_flight=1))
        results = await asyncio.gather(*(send(rig.transport(send_timeout=3.0)) for _ in range(10)))
        assert all(isinstance(result, Accepted) for result in results)

    play(slow(2.0), program)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_cancelled_whenever_nothing_stays_held_and_the_rest_gets_through(seed: int) -> None:
    async def program(rig: Rig) -> None:
        rng = random.Random(seed)

        async def answer(_request: httpx.Request) -> httpx.Response:
            await rig.sleep(rng.choice([0.0, 0.1, 2.0]))
            fate = rng.random()
            if fate < 0.3:
                raise httpx.ConnectError("refused")
            return DOWN if fate < 0.6 else OK

        rig.wire.answer = answer
        rig.courtesy.limit(Limits(max_in_flight=3, max_bytes_in_flight=100))
        tasks = [begin(send(rig.transport(), size=rng.choice([5, 50, 500]))) for _ in range(40)]
        for task in rng.sample(tasks, 20):
            await rig.sleep(rng.choice([0.0, 0.05, 1.0]))
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, Accepted | asyncio.CancelledError) for result in results)
        assert sum(isinstance(result, Accepted) for result in results) >= 20
        assert rig.wire.most_open <= 3
        assert rig.nothing_held()
        assert not rig.courtesy._waiting

    play(lambda _request: OK, program, seed)


def test_repeats_beyond_their_share_are_spread_even_while_the_circuit_is_closed() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, json={"detail": "slow down"}, headers={"retry-after": "1"})

    async def program(rig: Rig) -> None:
        states = [States() for _ in range(60)]
        await end(*await waited(rig, [send(rig.transport(), seen) for seen in states], 30.0))
        assert rig.phase() == "closed"

    rig = play(answer, program)
    assert len(rig.wire.came) <= 60 + 20 + 0.2 * 60 + 10 * 31
