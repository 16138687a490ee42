"""What is sent to a name while its child is down waits or fails, as its sender chose, and is always answered."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from support_clients import eventually
from support_names import BROKEN, Crash, Note, Patience, Told, Worker, advanced, down, refused, start
from tinkex.actors import ChildSpec, GenRef, Supervisor, named, whereis
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import Err, Ok, Result, messages


@pytest.fixture(autouse=True)
def mended() -> Iterator[None]:
    BROKEN.clear()
    yield
    BROKEN.clear()


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with runtime(clock=clock):
        yield clock


@pytest.fixture
def supervisor(clock: VirtualClock) -> Iterator[GenRef[Any]]:
    """A supervisor in time that stands still: a second restart waits until the clock is moved."""
    ref = Supervisor.start(max_restarts=50, max_seconds=100.0)
    yield ref
    ref.stop(timeout=20)
    assert pykka.ActorRegistry.get_by_class(Worker) == []


def test_a_sender_that_does_not_wait_is_refused_while_the_child_is_down(
    supervisor: GenRef[Any], clock: VirtualClock
) -> None:
    down(supervisor, clock)
    address = named("worker")
    refused(address.ask(Note(1)))
    with pytest.raises(pykka.ActorDeadError):
        address.tell(Note(1))
    clock.advance(10.0)
    eventually(address.is_alive)
    assert address.ask(Told()) == Ok([])


def test_what_waits_is_delivered_in_the_order_in_which_it_was_sent(
    supervisor: GenRef[Any], clock: VirtualClock
) -> None:
    down(supervisor, clock)
    address = named("worker", while_down="wait")
    replies = [address.ask(Note(number), block=False) for number in range(10)]
    address.tell(Note(10))
    assert not any(reply.done() for reply in replies)
    clock.advance(10.0)
    assert [reply.get(timeout=20) for reply in replies] == [Ok(number) for number in range(10)]
    assert address.ask(Told()) == Ok(list(range(11)))


def test_what_is_sent_while_others_are_delivered_comes_behind_them(
    supervisor: GenRef[Any], clock: VirtualClock
) -> None:
    """Each of many threads sends on through the restarts; what each sent arrives in its order."""
    start(supervisor)
    address = named("worker", while_down="wait")
    results: dict[int, list[Result[int]]] = {}

    def send(first: int) -> None:
        replies = [address.ask(Note(first + number), block=False) for number in range(200)]
        results[first] = [reply.get(timeout=60) for reply in replies]

    threads = [threading.Thread(target=send, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        eventually(lambda: advanced(clock) and whereis("worker")).ask(Crash())
    eventually(lambda: advanced(clock) and not any(thread.is_alive() for thread in threads), 60)
    for answers in results.values():
        delivered = [answer.value for answer in answers if isinstance(answer, Ok)]
        assert delivered == sorted(delivered)
        assert {answer.error.kind for answer in answers if isinstance(answer, Err)} <= {"actor_crashed"}
    told = eventually(lambda: advanced(clock) and whereis("worker")).ask(Told()).unwrap()
    for first in results:
        mine = [number for number in told if first <= number < first + 1000]
        assert mine == sorted(mine)


class Interrupted(VirtualClock):
    """Has a message sent, once, amid a delivery: where what is left of an ``await_timeout`` is looked up."""

    armed = False

    def monotonic(self) -> float:
        if self.armed and whereis("worker"):
            self.armed = False
            named("worker", while_down="wait").tell(Note(99))
        return super().monotonic()


def test_what_is_sent_in_the_middle_of_a_delivery_comes_behind_it() -> None:
    clock = Interrupted()
    with runtime(clock=clock):
        supervisor = Supervisor.start(max_restarts=50, max_seconds=100.0)
        down(supervisor, clock)
        address = named("worker", while_down="wait")
        for number in range(3):
            address.tell(Note(number, await_timeout=100.0))
        clock.armed = True
        clock.advance(10.0)
        eventually(lambda: address.ask(Told()) == Ok([0, 1, 2, 99]))
        supervisor.stop(timeout=20)


@pytest.mark.parametrize("end", ["terminate", "stop", "kill"])
def test_what_waits_is_answered_when_the_child_does_not_come_back(
    end: str, supervisor: GenRef[Any], clock: VirtualClock
) -> None:
    inner = supervisor.ask(messages.StartChild(ChildSpec("inner", Supervisor, kwargs={"max_restarts": 9}))).unwrap()
    down(inner, clock)
    address = named("worker", while_down="wait")
    waiting = address.ask(Note(1), block=False)
    address.tell(Note(2))
    if end == "terminate":
        assert inner.ask(messages.TerminateChild("a")).is_ok
    elif end == "stop":
        supervisor.ask(messages.TerminateChild("inner")).unwrap()
    else:
        inner.kill()
    refused(waiting.get(timeout=20))
    refused(address.ask(Note(3)))


def test_what_waits_is_answered_when_a_supervisor_gives_up(clock: VirtualClock) -> None:
    ref = Supervisor.start(max_restarts=2, max_seconds=100.0)
    down(ref, clock)
    waiting = named("worker", while_down="wait").ask(Note(1), block=False)
    BROKEN.set()
    eventually(lambda: advanced(clock) and not ref.is_alive())
    refused(waiting.get(timeout=20))


def test_an_await_timeout_ends_the_wait_for_a_name(supervisor: GenRef[Any], clock: VirtualClock) -> None:
    down(supervisor, clock)
    BROKEN.set()
    waiting = named("worker", while_down="wait").ask(Note(1, await_timeout=3.0), block=False)
    clock.advance(2.9)
    assert not waiting.done()
    clock.advance(0.2)
    refused(waiting.get(timeout=20), "await_timeout")
    BROKEN.clear()
    eventually(lambda: advanced(clock) and whereis("worker"))
    assert named("worker").ask(Told()) == Ok([]), "it is not delivered later"


def test_the_actor_gets_what_is_left_of_an_await_timeout(supervisor: GenRef[Any], clock: VirtualClock) -> None:
    start(supervisor)
    address = named("worker", while_down="wait")
    assert address.ask(Patience(await_timeout=9.0)) == Ok(9.0)
    supervisor.ask(messages.TerminateChild("a"))
    supervisor.ask(messages.RestartChild("a")).unwrap().ask(Crash())
    eventually(lambda: whereis("worker"))
    BROKEN.set()
    named("worker").ask(Crash())
    eventually(clock.pending)
    waiting = address.ask(Patience(await_timeout=9.0), block=False)
    clock.advance(2.0)
    BROKEN.clear()
    clock.advance(1.0)
    eventually(lambda: advanced(clock, 0.5) and waiting.done())
    left = waiting.get().unwrap()
    assert left is not None
    assert 0.0 < left <= 7.0


def test_a_reply_that_is_cancelled_while_it_waits_is_not_delivered(
    supervisor: GenRef[Any], clock: VirtualClock
) -> None:
    down(supervisor, clock)
    address = named("worker", while_down="wait")
    first, second = (address.ask(Note(number), block=False) for number in (1, 2))
    assert first.cancel()
    refused(first.get(timeout=20), "cancelled")
    clock.advance(10.0)
    assert second.get(timeout=20) == Ok(2)
    assert address.ask(Told()) == Ok([2])
    assert not second.cancel()


def test_a_cancelled_await_withdraws_what_waits(supervisor: GenRef[Any], clock: VirtualClock) -> None:
    down(supervisor, clock)
    address = named("worker", while_down="wait")

    async def ask() -> object:
        return await address.ask(Note(1), block=False)

    async def cancel() -> None:
        task = asyncio.ensure_future(ask())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    clock.advance(10.0)
    eventually(address.is_alive)
    assert address.ask(Told()) == Ok([])


def test_a_wait_that_runs_out_raises_as_that_of_a_reference_does(supervisor: GenRef[Any], clock: VirtualClock) -> None:
    down(supervisor, clock)
    address = named("worker", while_down="wait")
    reply = address.ask(Note(1), block=False)
    with pytest.raises(pykka.Timeout):
        reply.get(timeout=0.0)
    with pytest.raises(pykka.Timeout):
        address.ask(Note(2), timeout=0.0)
    clock.advance(10.0)
    assert reply.get(timeout=20) == Ok(1)
