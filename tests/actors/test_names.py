"""Names of supervised children: they outlive restarts; what is sent meanwhile waits or fails, as its sender chose."""

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Any, assert_type

import pykka
import pytest

from support_clients import eventually
from tinkex.actors import ChildSpec, Deferred, GenRef, GenServer, Reply, Supervisor, named, on, whereis
from tinkex.actors._genserver._mailbox import ActorStop
from tinkex.actors.testing import SeededScheduler, VirtualClock, runtime
from tinkex.protocol import Err, Ok, Request, Result, TinkexError, messages

BROKEN = threading.Event()


class Crash(Request[None], frozen=True):
    pass


class Note(Request[int], frozen=True):
    number: int


class Told(Request[list[int]], frozen=True):
    pass


class Patience(Request[float | None], frozen=True):
    pass


class Never(Request[None], frozen=True):
    pass


class Hold(Request[None], frozen=True):
    gate: threading.Event


class Worker(GenServer[Any]):
    """Notes the numbers that it was sent, in order."""

    def __init__(self) -> None:
        super().__init__()
        if BROKEN.is_set():
            raise TinkexError("broken on request", kind="validation", category="user")
        self._told: list[int] = []

    @on(Crash)
    def _crash(self, message: Crash) -> Result[None]:
        raise RuntimeError("boom")

    @on(Note)
    def _note(self, message: Note) -> Result[int]:
        self._told.append(message.number)
        return Ok(message.number)

    @on(Told)
    def _all(self, message: Told) -> Result[list[int]]:
        return Ok(list(self._told))

    @on(Patience)
    def _patience(self, message: Patience) -> Result[float | None]:
        return Ok(message.await_timeout)

    @on(Never)
    def _never(self, message: Never) -> Deferred[None]:
        return Deferred()

    @on(Hold)
    def _hold(self, message: Hold) -> Result[None]:
        message.gate.wait(20)
        return Ok(None)


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


def spec(child_id: str = "a", name: str | None = "worker", **options: Any) -> ChildSpec:
    return ChildSpec(child_id, Worker, name=name, **options)


def start(supervisor: GenRef[Any], *arguments: Any, **options: Any) -> GenRef[Any]:
    ref: GenRef[Any] = supervisor.ask(messages.StartChild(spec(*arguments, **options))).unwrap()
    return ref


def advanced(clock: VirtualClock, seconds: float = 10.0) -> bool:
    clock.advance(seconds)
    return True


def down(supervisor: GenRef[Any], clock: VirtualClock, name: str = "worker") -> GenRef[Any]:
    """Start a child and have it crash twice, so that it is down until the clock is moved."""
    ref = start(supervisor, name=name)
    ref.ask(Crash())
    eventually(lambda: whereis(name))
    again = whereis(name)
    assert again is not None
    again.ask(Crash())
    eventually(clock.pending)
    assert whereis(name) is None
    return ref


def refused(result: object, kind: str = "actor_dead", outcome: str | None = "not_sent") -> TinkexError:
    assert isinstance(result, Err)
    assert (result.error.kind, result.error.data.get("outcome")) == (kind, outcome)
    return result.error


def test_a_name_leads_to_the_child_and_after_a_restart_to_its_successor(supervisor: GenRef[Any]) -> None:
    old = start(supervisor)
    assert whereis("worker") is old
    address = named("worker")
    assert address.is_alive()
    assert address.ask(Note(1)) == Ok(1)
    old.ask(Crash())
    eventually(lambda: address.whereis() not in (None, old))
    assert address.ask(Told()) == Ok([])
    assert isinstance(old.ask(Told()), Err)


def test_a_name_that_nobody_has_fails_at_once_whether_one_would_wait_or_not() -> None:
    with runtime():
        assert whereis("nobody") is None
        for address in (named("nobody"), named("nobody", while_down="wait")):
            assert not address.is_alive()
            assert "nobody" in refused(address.ask(Note(1))).message
            refused(address.ask(Note(1), block=False).get(timeout=20))
            with pytest.raises(pykka.ActorDeadError):
                address.tell(Note(1))


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


@pytest.mark.parametrize("restart", ["temporary", "transient"])
def test_a_child_that_ends_for_good_frees_its_name(restart: Any, supervisor: GenRef[Any]) -> None:
    ref = start(supervisor, restart=restart)
    gate = threading.Event()
    ref.ask(Hold(gate), block=False)
    stopping = ref.stop(block=False)
    waiting = named("worker", while_down="wait").ask(Note(1), block=False)
    assert not waiting.done()
    gate.set()
    assert stopping.get(timeout=20)
    refused(waiting.get(timeout=20))
    eventually(lambda: supervisor.ask(messages.StartChild(spec("b"))).is_ok)
    assert named("worker").ask(Told()) == Ok([])


def test_a_name_in_use_is_a_conflict_of_the_start_and_of_the_restart(supervisor: GenRef[Any]) -> None:
    start(supervisor)
    taken = supervisor.ask(messages.StartChild(spec("b")))
    refused(taken, "conflict", None)
    assert [child.id for child in supervisor.ask(messages.WhichChildren()).unwrap().children] == ["a"]
    assert supervisor.ask(messages.TerminateChild("a")).is_ok
    assert start(supervisor, "b").is_alive()
    refused(supervisor.ask(messages.RestartChild("a")), "conflict", None)
    assert supervisor.ask(messages.TerminateChild("b")).is_ok
    ref = supervisor.ask(messages.RestartChild("a")).unwrap()
    assert whereis("worker") is ref


def test_an_init_that_fails_leaves_the_name_free(supervisor: GenRef[Any]) -> None:
    BROKEN.set()
    assert not supervisor.ask(messages.StartChild(spec())).is_ok
    BROKEN.clear()
    assert start(supervisor, "b").is_alive()


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


def test_asks_by_name_have_the_types_of_asks_by_reference(supervisor: GenRef[Any]) -> None:
    start(supervisor)
    address = named("worker")
    assert_type(address.ask(Note(1)), Result[int])
    assert_type(address.ask(Note(1), block=False), Reply[int])
    with pytest.raises(RuntimeError, match="can deadlock"):
        raise _error_on_an_actors_thread()
    with pytest.raises(TinkexError, match="while_down"):
        named("worker", while_down="maybe")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="whereis"):
        address.tell(ActorStop())
    with pytest.raises(TypeError, match="cannot be pickled"):
        address.__reduce__()
    assert address == named("worker")
    assert len({address, named("worker"), named("worker", "wait")}) == 2
    assert repr(address) == "named('worker', while_down='fail')"


class Asking(GenServer[Any]):
    """Waits for a reply in its own thread, which is refused."""

    @on(Note)
    def _note(self, message: Note) -> Result[int]:
        try:
            return named("worker").ask(message)
        except RuntimeError as error:
            return Err(TinkexError(str(error), kind="validation", category="user"))


def _error_on_an_actors_thread() -> RuntimeError:
    ref = Asking.start()
    answer = ref.ask(Note(1))
    ref.stop()
    assert isinstance(answer, Err)
    return RuntimeError(answer.error.message)


def test_names_of_two_worlds_do_not_meet() -> None:
    refs: list[GenRef[Any]] = []
    for _ in range(2):
        with runtime():
            supervisor = Supervisor.start()
            refs.append(start(supervisor))
            assert whereis("worker") is refs[-1]
            supervisor.stop()
    assert whereis("worker") is None
    assert refs[0] is not refs[1]


def test_a_child_that_was_being_started_when_its_supervisor_was_killed_is_killed_and_its_name_freed() -> None:
    began, go = threading.Event(), threading.Event()

    class Slow(GenServer[Any]):
        def __init__(self) -> None:
            super().__init__()
            began.set()
            go.wait(20)

    supervisor = Supervisor.start()
    asked = supervisor.ask(messages.StartChild(ChildSpec("slow", Slow, name="slow")), block=False)
    assert began.wait(20)
    supervisor.kill()
    refused(asked.get(timeout=20), outcome=None)
    go.set()
    assert supervisor.join(20)
    assert pykka.ActorRegistry.get_by_class(Slow) == []
    refused(named("slow", while_down="wait").ask(Note(1)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_in_the_child_of_a_fork_nobody_bears_a_name(supervisor: GenRef[Any], clock: VirtualClock) -> None:
    down(supervisor, clock)
    address = named("worker", while_down="wait")
    waiting = address.ask(Note(1), block=False)
    pid = os.fork()
    if not pid:
        answers = [waiting.done() and waiting.get(), address.ask(Note(2)), named("worker").ask(Note(3))]
        os._exit(0 if all(isinstance(one, Err) and one.error.kind == "actor_dead" for one in answers) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    clock.advance(10.0)
    assert waiting.get(timeout=20) == Ok(1)


def _program(seed: int) -> tuple[list[str], list[str]]:
    """Askers by name, through crashes, a termination and a kill; return the trace and what everybody was told."""
    answers: list[str] = []
    with SeededScheduler(seed) as world:
        supervisor = Supervisor.start(max_restarts=100)
        start(supervisor)

        def ask(way: Any, first: int) -> None:
            address = named("worker", while_down=way)
            for number in range(first, first + 5):
                result = address.ask(Note(number, await_timeout=60.0))
                told = result.value if isinstance(result, Ok) else result.error.kind
                answers.append(f"{way} {number} {told}")

        def crash() -> None:
            for _ in range(4):
                named("worker", while_down="wait").ask(Crash())

        threads = [
            world.start_thread("Waits", lambda: ask("wait", 0)),
            world.start_thread("Fails", lambda: ask("fail", 10)),
            world.start_thread("Crashes", crash),
            world.start_thread("Ends", lambda: supervisor.ask(messages.TerminateChild("a"))),
        ]
        for thread in threads:
            assert world.join(thread)
        supervisor.stop()
    return world.trace, answers


@pytest.mark.parametrize("seed", range(12))
def test_every_seed_answers_everybody_and_the_same_seed_alike(seed: int) -> None:
    trace, answers = _program(seed)
    assert len(answers) == 10
    assert _program(seed) == (trace, answers)
    kinds = {answer.split()[-1] for answer in answers if answer.startswith("wait")}
    assert kinds <= {*map(str, range(5)), "actor_crashed", "actor_dead"}
