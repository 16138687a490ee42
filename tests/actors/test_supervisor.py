"""The supervisor: who it starts, whom it tells, and in which order it ends."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support_clients import eventually
from tinkex.actors import ChildSpec, GenRef, GenServer, Supervisor, SupervisorProxy, on
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import Err, Ok, Request, Result, TinkexError, messages

ENDED: list[str] = []


class Crash(Request[None], frozen=True):
    pass


class Hang(Request[None], frozen=True):
    pass


class Worker(GenServer[Any]):
    """Notes its end; can be made to crash, and to hang until it is let go."""

    go = threading.Event()

    def __init__(self, name: str = "worker", broken: bool = False) -> None:
        super().__init__()
        if broken:
            raise TinkexError("broken on request", kind="validation", category="user")
        self.add_finalizer(lambda reason: ENDED.append(f"{name} {reason}"))

    @on(Crash)
    def _crash(self, message: Crash) -> Result[None]:
        raise RuntimeError("boom")

    @on(Hang)
    def _hang(self, message: Hang) -> Result[None]:
        Worker.go.wait(60)
        return Ok(None)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    ENDED.clear()
    Worker.go.clear()
    yield
    Worker.go.set()


@pytest.fixture
def supervisor() -> Iterator[GenRef[SupervisorProxy]]:
    ref = Supervisor.start()
    yield ref
    ref.stop()


def spec(name: str, **options: Any) -> ChildSpec:
    return ChildSpec(name, Worker, kwargs={"name": name}, restart="temporary", **options)


def start(supervisor: GenRef[Any], name: str, **options: Any) -> GenRef[Any]:
    ref: GenRef[Any] = supervisor.ask(messages.StartChild(spec(name, **options))).unwrap()
    return ref


def ids(supervisor: GenRef[Any]) -> list[str]:
    return [child.id for child in supervisor.ask(messages.WhichChildren()).unwrap().children]


def test_a_start_is_answered_after_the_childs_init(supervisor: GenRef[Any]) -> None:
    ref = start(supervisor, "a")
    assert ref.is_alive()
    (child,) = supervisor.ask(messages.WhichChildren()).unwrap().children
    assert (child.id, child.actor_urn, child.actor_class, child.alive) == ("a", ref.actor_urn, "Worker", True)


def test_an_init_that_fails_is_the_err_of_the_start_and_leaves_nothing(supervisor: GenRef[Any]) -> None:
    broken = ChildSpec("b", Worker, kwargs={"broken": True}, restart="temporary")
    failed = supervisor.ask(messages.StartChild(broken))
    assert isinstance(failed, Err)
    assert "broken on request" in failed.error.message
    assert ids(supervisor) == []


@pytest.mark.parametrize(
    ("child", "kind"),
    [
        (ChildSpec("x", int, restart="temporary"), "validation"),
        (ChildSpec("x", Worker, restart="temporary", name=" "), "validation"),
        (ChildSpec("", Worker, restart="temporary"), "validation"),
        (ChildSpec("x", Worker, restart="sometimes"), "validation"),  # type: ignore[arg-type]
        (ChildSpec("x", Worker, restart="temporary", shutdown=-1), "validation"),
        (ChildSpec("taken", Worker, restart="temporary"), "conflict"),
        (None, "validation"),
    ],
)
def test_a_specification_that_cannot_be_kept_is_refused(supervisor: GenRef[Any], child: Any, kind: str) -> None:
    start(supervisor, "taken")
    refused = supervisor.ask(messages.StartChild(child))
    assert isinstance(refused, Err)
    assert refused.error.kind == kind
    assert ids(supervisor) == ["taken"]


class Vicious(GenServer[Any]):
    """Ends the whole program from its init, were it let."""

    def __init__(self) -> None:
        super().__init__()
        raise SystemExit(3)


def test_an_init_that_would_end_the_program_fails_its_child_only(supervisor: GenRef[Any]) -> None:
    sibling = start(supervisor, "sibling")
    failed = supervisor.ask(messages.StartChild(ChildSpec("v", Vicious, restart="temporary")))
    assert isinstance(failed, Err)
    assert failed.error.kind == "actor_crashed"
    assert sibling.is_alive()
    assert ids(supervisor) == ["sibling"]


def test_an_await_timeout_ends_the_wait_for_a_child_that_does_not_end(supervisor: GenRef[Any]) -> None:
    start(supervisor, "slow").ask(Hang(), block=False)
    late = supervisor.ask(messages.TerminateChild("slow", await_timeout=0.05))
    assert isinstance(late, Err)
    assert late.error.kind == "await_timeout"
    Worker.go.set()


@pytest.mark.parametrize(
    "options", [{"strategy": "all"}, {"max_restarts": -1}, {"max_restarts": True}, {"max_seconds": 0}]
)
def test_options_that_make_no_sense_are_refused(options: Any) -> None:
    with pytest.raises(TinkexError) as caught:
        Supervisor.start(**options)
    assert caught.value.kind == "validation"


def test_a_crashed_child_is_forgotten_and_its_siblings_live(supervisor: GenRef[Any]) -> None:
    victim, sibling = start(supervisor, "victim"), start(supervisor, "sibling")
    crashed = victim.ask(Crash())
    assert isinstance(crashed, Err)
    assert crashed.error.kind == "actor_crashed"
    eventually(lambda: ids(supervisor) == ["sibling"])
    assert sibling.is_alive()


def test_children_are_stopped_youngest_first_before_their_supervisor() -> None:
    supervisor = Supervisor.start()
    supervisor.monitor(lambda down: ENDED.append(f"supervisor {down.reason}"))
    for name in "abc":
        start(supervisor, name)
    supervisor.stop()
    assert ENDED == ["c shutdown", "b shutdown", "a shutdown", "supervisor normal"]


def test_a_child_that_hangs_beyond_its_deadline_is_killed_and_the_others_still_stop_in_order() -> None:
    clock = VirtualClock()
    with runtime(clock=clock):
        supervisor = Supervisor.start()
        start(supervisor, "old")
        hanging = start(supervisor, "hanging", shutdown=3.0)
        waiting = hanging.ask(Hang(), block=False)
        stopping = supervisor.stop(block=False)
        eventually(lambda: clock.pending() >= 2)
        clock.advance(3.0)
        answer = waiting.get(timeout=20)
        assert isinstance(answer, Err)
        assert answer.error.kind == "actor_dead"
        assert stopping.get(timeout=20)
        assert [entry.split()[0] for entry in ENDED] == ["hanging", "old"]
        Worker.go.set()
        assert hanging.join(20)


def test_terminate_child_waits_for_its_end_and_frees_the_id(supervisor: GenRef[Any]) -> None:
    ref = start(supervisor, "a")
    assert supervisor.ask(messages.TerminateChild("a")).unwrap().id == "a"
    assert not ref.is_alive()
    assert start(supervisor, "a").is_alive()


def test_an_unknown_child_is_said_and_a_running_one_is_not_started_again(supervisor: GenRef[Any]) -> None:
    for message in (messages.TerminateChild("nobody"), messages.RestartChild("nobody")):
        unknown = supervisor.ask(message)
        assert isinstance(unknown, Err)
        assert unknown.error.kind == "validation"
    start(supervisor, "a")
    running = supervisor.ask(messages.RestartChild("a"))
    assert isinstance(running, Err)
    assert running.error.kind == "conflict"


def test_no_child_outlives_a_supervisor_that_is_killed() -> None:
    supervisor = Supervisor.start()
    child = start(supervisor, "a")
    supervisor.kill()
    assert not child.is_alive()
    assert ENDED == ["a killed"]


def test_a_supervisor_may_supervise_another_and_counts_it(supervisor: GenRef[Any]) -> None:
    inner: GenRef[Any] = supervisor.ask(
        messages.StartChild(ChildSpec("inner", Supervisor, restart="temporary"))
    ).unwrap()
    child = start(inner, "a")
    start(supervisor, "b")
    counts = supervisor.proxy().count_children().get().unwrap()
    assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (2, 2, 1, 1)
    assert supervisor.ask(messages.TerminateChild("inner")).is_ok
    assert not child.is_alive()


def test_every_question_has_its_method_on_the_proxy(supervisor: GenRef[SupervisorProxy]) -> None:
    proxy = supervisor.proxy()
    ref = proxy.start_child(spec("a")).get().unwrap()
    assert proxy.which_children().get().unwrap().children[0].actor_urn == ref.actor_urn
    assert proxy.restart_child("a").get().is_ok is False
    assert proxy.terminate_child("a").get().is_ok
    assert proxy.leaks().get().unwrap().leases == []
    assert proxy.status().get().unwrap().state == "ready"
