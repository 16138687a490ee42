"""One server, one courtesy: what requests do to a server that fails, and what waiting does to their callers.

All here runs in a seeded world, where time is virtual: a minute of it is counted exactly.
"""

import asyncio
import itertools
import json
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tinkex.actors._transport import Accepted, Courtesy, Done, Limits, Refused, ResultLost, Transport, Unknown
from tinkex.actors._transport._circuit import FAILURES, LONGEST_SECONDS
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import ApiKey, TinkexError

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


async def waited(rig: Rig, works: list[Any], seconds: float) -> "list[asyncio.Task[Any]]":
    tasks = [begin(work) for work in works]
    await rig.sleep(seconds)
    return tasks


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


# What a wait decides: nothing


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
