"""Thousands of awaits of clients' replies: in one event loop, in several, from threads, given up half-way."""

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from support_genserver import SECONDS, Probe, no_actor_left, run_in
from support_plain_server import Gate, PlainServer
from tinkex.actors import Reply, ServiceClient, TrainingClientRef
from tinkex.actors.testing import runtime
from tinkex.protocol import AdamParams, Err, Ok, Result, messages
from tinkex.protocol.replies import OptimStepOutput

STEP = messages.OptimStep(AdamParams(learning_rate=0.0))
MANY = 5_000
PATIENCE = 120.0
"""Seconds for thousands of steps on a machine that is busy with other things, too."""

LAG = 3.0
"""Seconds that a loop may be late on such a machine; a blocking await would be late by as long as its reply takes."""

trace = contextvars.ContextVar[Any]("trace", default=None)


class Clients:
    """A training client, and the gate before its server."""

    def __init__(self, training: TrainingClientRef, gate: Gate, server: PlainServer) -> None:
        self.training = training
        self.gate = gate
        self._server = server

    def executed(self) -> list[int]:
        """The numbers that the server ran, in order."""
        (numbers,) = self._server.executed.values()
        return numbers

    def step(self) -> Reply[OptimStepOutput]:
        return self.training.ask(STEP, block=False)


@pytest.fixture
def clients() -> Generator[Clients]:
    with made() as one:
        yield one


@contextmanager
def made() -> Generator[Clients]:
    server = PlainServer(immediate=True)
    gate = Gate(server)
    with no_actor_left(), runtime(http_transport=gate):
        service = ServiceClient.start(base_url="http://127.0.0.1:1")
        training = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        gate.shut()
        try:
            yield Clients(training, gate, server)
        finally:
            gate.open()
            service.stop()


async def wait(reply: Reply[Any]) -> Result[Any]:
    return await reply


@asynccontextmanager
async def lag_measured(record: Callable[[str, object], None]) -> AsyncGenerator[list[float]]:
    """Note by how much a tick of 5 ms comes late; the worst is recorded and printed."""
    lags: list[float] = []

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = time.perf_counter() + 0.005
            ticked = loop.create_future()
            loop.call_later(0.005, ticked.set_result, None)
            await ticked
            lags.append(time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    try:
        yield lags
    finally:
        ticking.cancel()
    ordered = sorted(lags)
    for name, value in (
        ("p50", ordered[len(lags) // 2]),
        ("p99", ordered[len(lags) * 99 // 100]),
        ("max", ordered[-1]),
    ):
        record(f"lag_{name}_ms", round(value * 1e3, 1))
        print(f"loop lag {name}: {value * 1e3:.1f} ms over {len(lags)} ticks")  # noqa: T201 - shown with -s


async def test_five_thousand_awaits_in_one_loop_are_all_answered_and_the_loop_goes_on(
    clients: Clients, record_property: Callable[[str, object], None]
) -> None:
    async def one(number: int) -> int:
        trace.set(number)
        assert isinstance(await clients.step(), Ok)
        assert trace.get() == number, "a task's context is its own"
        return number

    async with asyncio.timeout(PATIENCE), lag_measured(record_property) as lags:
        tasks = [asyncio.create_task(one(number)) for number in range(MANY)]
        assert await asyncio.to_thread(clients.gate.reached.wait, SECONDS)
        assert not any(task.done() for task in tasks)
        clients.gate.open()
        assert await asyncio.gather(*tasks) == list(range(MANY))
    assert clients.executed() == list(range(1, MANY + 1))
    assert max(lags) < LAG
    assert trace.get() is None


def test_the_benchmark_of_the_lag_prints_its_table() -> None:
    bench = Path(__file__).parents[2] / "bench" / "asyncio_lag.py"
    done = subprocess.run([sys.executable, str(bench), "20"], check=True, capture_output=True, text=True, timeout=100)
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [line[1:3] for line in lines] == [["idle", "loop"], ["GenServer", lines[1][2]], ["plain", "pykka"]]
    assert all(float(line[-1]) > 0 for line in lines)


async def test_the_context_of_a_task_is_intact_after_each_await(clients: Clients) -> None:
    clients.gate.open()
    client = clients.training.proxy()

    async def one(number: int) -> None:
        for turn in range(4):
            trace.set((number, turn))
            reply = clients.step() if turn % 2 else client.optim_step(STEP.adam_params)
            derived = reply.map(lambda result: result.is_ok)
            assert await derived
            assert isinstance(await reply, Ok)
            assert trace.get() == (number, turn)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(one(number))
    assert clients.executed() == list(range(1, 801))


def test_an_actor_sees_the_context_that_it_was_started_in_and_never_its_askers() -> None:
    with no_actor_left():
        contextvars.copy_context().run(started_and_asked)


def started_and_asked() -> None:
    trace.set("start")
    ref = Probe.start()
    trace.set("ask")
    assert run_in(ref, lambda _actor: trace.get()) == "start"
    assert run_in(ref, lambda _actor: trace.set("actor")) is not None
    assert run_in(ref, lambda _actor: trace.get()) == "actor"
    assert trace.get() == "ask"
    ref.stop()


async def test_half_of_two_thousand_awaits_are_given_up_and_the_others_lose_nothing(clients: Clients) -> None:
    tasks = [asyncio.create_task(wait(clients.step())) for _ in range(2_000)]
    assert await asyncio.to_thread(clients.gate.reached.wait, SECONDS)
    for task in tasks[1::2]:
        task.cancel()
    async with asyncio.timeout(PATIENCE):
        gone = await asyncio.gather(*tasks[1::2], return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in gone)
        assert (await clients.training.ask(messages.Status(), block=False)).is_ok
        clients.gate.open()
        assert all(isinstance(result, Ok) for result in await asyncio.gather(*tasks[::2]))
    assert clients.executed() == list(range(1, 1_001)), "what was given up in the queue has cost no number"


def test_several_loops_in_several_threads_await_one_client_at_once(clients: Clients) -> None:
    counts: list[int] = []
    started = threading.Barrier(5)

    def work(name: int) -> None:
        async def main() -> int:
            trace.set(name)
            replies = [clients.step() for _ in range(250)]
            tasks = [asyncio.create_task(wait(reply)) for reply in replies]
            await asyncio.sleep(0)
            await asyncio.to_thread(started.wait, SECONDS)
            async with asyncio.timeout(PATIENCE):
                answered = await asyncio.gather(*tasks)
            assert trace.get() == name
            return sum(result.is_ok for result in answered)

        counts.append(asyncio.run(main()))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    started.wait(SECONDS)
    clients.gate.open()
    for thread in threads:
        thread.join(PATIENCE)
    assert counts == [250] * 4
    assert clients.executed() == list(range(1, 1_001))


async def test_blocking_asks_in_threads_and_awaits_in_the_loop_serve_one_client(clients: Clients) -> None:
    clients.gate.open()

    def blocking(number: int) -> Any:
        assert trace.get() == number, "to_thread takes the task's context along"
        return clients.training.ask(STEP)

    async def one(number: int) -> bool:
        trace.set(number)
        in_thread = await asyncio.to_thread(blocking, number)
        awaited = await clients.step()
        assert trace.get() == number
        return bool(in_thread.is_ok and awaited.is_ok)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(200)]
    assert all(task.result() for task in tasks)
    assert clients.executed() == list(range(1, 401))


async def test_a_timeout_of_the_users_ends_the_wait_and_leaves_the_client_usable(clients: Clients) -> None:
    first = clients.step()
    assert await asyncio.to_thread(clients.gate.reached.wait, SECONDS)
    second = clients.step()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await second
    given_up = await second
    assert isinstance(given_up, Err)
    assert (given_up.error.kind, given_up.error.data["outcome"]) == ("cancelled", "not_sent")
    clients.gate.open()
    async with asyncio.timeout(PATIENCE):
        assert isinstance(await first, Ok)
        assert isinstance(await clients.step(), Ok)
    assert clients.executed() == [1, 2]


async def test_a_task_that_fails_in_a_group_gives_its_siblings_awaits_up(clients: Clients) -> None:
    replies = [clients.step() for _ in range(300)]

    async def fail() -> None:
        assert await asyncio.to_thread(clients.gate.reached.wait, SECONDS)
        raise ValueError("of the user's")

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            for reply in replies:
                group.create_task(wait(reply))
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await all_of_them()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    async with asyncio.timeout(PATIENCE):
        ends = await asyncio.gather(*map(wait, replies))
    assert [end.error.kind for end in ends if isinstance(end, Err)] == ["cancelled"] * 300
    clients.gate.open()
    async with asyncio.timeout(PATIENCE):
        assert isinstance(await clients.step(), Ok)
