"""One server, one courtesy: what requests do to a server that fails.

All here runs in a seeded world, where time is virtual: a minute of it is counted exactly.
"""

import asyncio
from collections import defaultdict

import httpx
import pytest

from support_courtesy import DOWN, OK, PENDING, Rig, States, begin, end, gaps, play, send, waited
from tinkex.actors._transport import Accepted, Done, ResultLost
from tinkex.actors._transport._circuit import FAILURES, LONGEST_SECONDS

# Polls


AT_ONCE = {
    "503": DOWN,
    "503 with a hint": httpx.Response(503, json={"detail": "down"}, headers={"retry-after-ms": "1"}),
    "pending": PENDING,
    "pending with a hint": httpx.Response(200, json={"status": "pending", "retry_after_ms": 1}),
}


@pytest.mark.one_lane  # what else is asked keeps the circuit closed at the same moments
@pytest.mark.parametrize("answered", AT_ONCE)
def test_a_server_that_answers_polls_at_once_is_asked_at_most_twice_a_second_for_each_result(answered: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return OK if request.url.path == "/beat" else AT_ONCE[answered]

    async def program(rig: Rig) -> None:
        transport = rig.transport()
        polls = [begin(transport.poll(f"r{index}", what="x", observe=States())) for index in range(20)]
        for _ in range(600):  # these keep the circuit closed, so that the polls' own pace is seen
            await transport.beat("/beat", b"{}", read_seconds=1.0)
            await rig.sleep(0.1)
        await end(*polls)

    rig = play(answer, program)
    by_future = defaultdict[str, list[float]](list)
    for at, path, body in rig.wire.came:
        if path == "/retrieve_future":
            by_future[body["request_id"]].append(at)
    assert len(by_future) == 20
    for times in by_future.values():
        assert len(times) <= 120
        assert min(gaps(times)) >= 0.5
        if answered == "pending":
            assert max(gaps(times)) <= 4.5, "a server that answers is not left alone for long"
    assert len({times[1] for times in by_future.values()}) == 20, "they do not come all at once"


def test_polls_of_a_server_that_fails_wait_for_the_circuit_together() -> None:
    async def program(rig: Rig) -> None:
        transport = rig.transport()
        await end(*await waited(rig, [transport.poll(f"r{i}", what="x", observe=States()) for i in range(100)], 60.0))

    rig = play(lambda _request: DOWN, program)
    assert len(rig.wire.times("/retrieve_future")) <= 100 + 12, "one each, then probes alone"


def test_a_result_that_is_there_when_the_server_comes_back_is_found_in_bounded_time() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return DOWN if rigs[0].world.clock.monotonic() < 100.0 else httpx.Response(200, json={"path": "p"})

    rigs = list[Rig]()

    async def program(rig: Rig) -> None:
        rigs.append(rig)
        result = await rig.transport().poll("r", what="x", observe=States())
        assert isinstance(result, Done)
        assert rig.world.clock.monotonic() <= 100.0 + 2 * LONGEST_SECONDS + 2.0

    play(answer, program)


def test_a_poll_with_patience_ends_with_it_while_the_circuit_is_open() -> None:
    async def program(rig: Rig) -> None:
        await rig.open_circuit()
        for _ in range(6):  # the longer it is open, the surer
            await rig.sleep(rig.courtesy.circuit.seconds)
            await end(*await waited(rig, [send(rig.transport())], 0.01))
        began = rig.world.clock.monotonic()
        result = await rig.transport().poll("r", what="x", observe=States(), patience=3.0)
        assert isinstance(result, ResultLost)
        assert result.error.kind == "api_timeout"
        assert rig.world.clock.monotonic() - began == pytest.approx(3.0)

    play(lambda _request: DOWN, program)


# The circuit


@pytest.mark.parametrize("clients", [1, 10, 200])
def test_a_storm_of_503_costs_the_server_little_whatever_the_number_of_clients(clients: int) -> None:
    async def program(rig: Rig) -> None:
        await end(*await waited(rig, [send(rig.transport()) for _ in range(clients)], 300.0))
        assert rig.nothing_held()

    rig = play(lambda _request: DOWN, program)
    times = rig.wire.times("/send")
    assert len([at for at in times if at > 0.0]) <= FAILURES + 40, "probes alone: at most one in half a second, then 15"
    assert len([at for at in times if at > 60.0]) <= 240 / (LONGEST_SECONDS / 2)
    assert len(times) >= FAILURES + 10, "and it is tried again and again"


def test_half_open_lets_one_probe_through_and_its_success_lets_all() -> None:
    healthy = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if not opened:
            return DOWN
        await healthy.wait()
        return OK

    opened = list[bool]()

    async def program(rig: Rig) -> None:
        await rig.open_circuit()
        opened.append(True)
        states = [States() for _ in range(30)]
        tasks = await waited(rig, [send(rig.transport(), seen) for seen in states], 5.0)
        assert len(rig.wire.times("/send")) == 1
        assert rig.phase() == "half_open"
        assert [seen[-1] for seen in states].count("circuit_open") == 29
        healthy.set()
        results = await asyncio.gather(*tasks)
        assert all(isinstance(result, Accepted) and not result.ambiguous for result in results)
        assert all(list(seen) == ["circuit_open", "sending"] for seen in states)
        assert rig.phase() == "closed"
        assert rig.nothing_held()

    play(answer, program)


def test_a_probe_that_is_cancelled_gives_way_to_the_next_one_at_once() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/send":
            await asyncio.Event().wait()
        return DOWN if request.url.path == "/beat" else OK

    async def program(rig: Rig) -> None:
        await rig.open_circuit()
        probe = begin(send(rig.transport()))
        await rig.sleep(1.5)
        assert len(rig.wire.times("/send")) == 1
        next_one = begin(send(rig.transport(), path="/next"))
        await rig.sleep(0.1)
        assert rig.wire.times("/next") == []
        began = rig.world.clock.monotonic()
        await end(probe)
        assert isinstance(await next_one, Accepted)
        assert rig.wire.times("/next") == [began]

    play(answer, program)


def test_a_heartbeat_passes_an_open_circuit_and_its_answer_closes_it() -> None:
    well = list[bool]()

    def answer(_request: httpx.Request) -> httpx.Response:
        return OK if well else DOWN

    async def program(rig: Rig) -> None:
        await rig.open_circuit()
        await rig.transport().beat("/beat", b"{}", read_seconds=1.0)
        assert rig.phase() == "open"
        states = States()
        task = begin(send(rig.transport(), states))
        await rig.sleep(0.01)
        assert list(states) == ["circuit_open"]
        well.append(True)
        began = rig.world.clock.monotonic()
        await rig.transport().beat("/beat", b"{}", read_seconds=1.0)
        assert isinstance(await task, Accepted)
        assert rig.world.clock.monotonic() == began

    play(answer, program)


def test_what_ends_a_lease_waits_for_neither_circuit_nor_queue() -> None:
    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/bulk":
            await asyncio.Event().wait()
        return DOWN if request.url.path == "/beat" else httpx.Response(200, json={"path": "p"})

    async def program(rig: Rig) -> None:
        rig.courtesy.gates["send"].places = rig.courtesy.gates["poll"].places = 1
        bulk = await waited(rig, [send(rig.transport(), path="/bulk") for _ in range(5)], 0.1)
        await rig.open_circuit()
        began = rig.world.clock.monotonic()
        express = rig.transport().express
        await express.command("POST", "/finish", b"{}", what="finish")
        assert isinstance(await express.poll("r", what="unload", observe=States()), Done)
        assert rig.world.clock.monotonic() == began
        await end(*bulk)
        assert rig.nothing_held()

    play(answer, program)


@pytest.mark.parametrize("fault", ["503", "refused", "timeout"])
def test_failures_of_the_server_open_the_circuit(fault: str) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        if fault == "refused":
            raise httpx.ConnectError("refused")
        if fault == "timeout":
            raise httpx.ReadTimeout("late")
        return DOWN

    play(answer, Rig.open_circuit)


@pytest.mark.parametrize("status", [400, 402, 404, 409, 429])
def test_an_answer_of_a_server_that_works_never_opens_the_circuit(status: int) -> None:
    async def program(rig: Rig) -> None:
        for _ in range(4 * FAILURES):
            await rig.transport().beat("/beat", b"{}", read_seconds=1.0)
        assert rig.phase() == "closed"

    play(lambda _request: httpx.Response(status, json={"detail": "no"}), program)
