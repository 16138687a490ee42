"""Names of supervised children: whom they lead to, through restarts, and who may have them."""

import os
import threading
from collections.abc import Iterator
from typing import Any, assert_type

import pykka
import pytest

from support_clients import eventually
from support_names import BROKEN, Crash, Hold, Note, Told, Worker, down, refused, spec, start
from tinkex.actors import ChildSpec, GenRef, GenServer, Reply, Supervisor, named, on, whereis
from tinkex.actors._genserver._mailbox import ActorStop
from tinkex.actors.testing import SeededScheduler, VirtualClock, runtime
from tinkex.protocol import Err, Ok, Result, TinkexError, messages


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
