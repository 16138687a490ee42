"""A supervision tree that can be read, whatever those in it are at."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support_clients import eventually
from tinkex.actors import ChildSpec, GenRef, GenServer, Supervisor, on
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import Err, Ok, Request, Result, messages
from tinkex.protocol.replies import ChildNode, SupervisionTree


class Hold(Request[None], frozen=True):
    gate: threading.Event
    entered: threading.Event


class Crash(Request[None], frozen=True):
    pass


class Worker(GenServer[Any]):
    @on(Hold)
    def _hold(self, message: Hold) -> Result[None]:
        message.entered.set()
        message.gate.wait(20)
        return Ok(None)

    @on(Crash)
    def _crash(self, message: Crash) -> Result[None]:
        raise RuntimeError("boom")


class StuckSupervisor(Supervisor):
    """Can be held in a handler."""

    @on(Hold)
    def _hold(self, message: Hold) -> Result[None]:
        message.entered.set()
        message.gate.wait(20)
        return Ok(None)


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with runtime(clock=clock):
        yield clock


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def add(supervisor: GenRef[Any], child_id: str, actor_class: Any = Worker, **options: Any) -> GenRef[Any]:
    ref: GenRef[Any] = supervisor.ask(messages.StartChild(ChildSpec(child_id, actor_class, **options))).unwrap()
    return ref


def hold(ref: GenRef[Any], gate: threading.Event) -> None:
    entered = threading.Event()
    ref.ask(Hold(gate, entered), block=False)
    assert entered.wait(20)


def tree(supervisor: GenRef[Any]) -> SupervisionTree:
    return supervisor.ask(messages.Tree()).unwrap()


def states(nodes: Any) -> dict[str, str]:
    return {node.id: node.state for node in nodes}


def test_a_tree_tells_what_each_child_is_at(clock: VirtualClock, gate: threading.Event) -> None:
    top = Supervisor.start(strategy="one_for_one", max_restarts=9)
    worker = add(top, "a", name="alpha")
    pool = add(top, "pool", Supervisor, kwargs={"strategy": "one_for_all"}, restart="transient")
    leaf = add(pool, "leaf", restart="temporary")
    clock.advance(90.5)
    busy = add(top, "busy")
    hold(busy, gate)
    busy.ask(Crash(), block=False)
    busy.tell(Crash())
    found = tree(top)
    assert (found.actor_class, found.actor_urn, found.strategy, found.state) == (
        "Supervisor",
        top.actor_urn,
        "one_for_one",
        "running",
    )
    assert found.uptime == 90.5
    first, second, third = found.children
    assert first == ChildNode("a", "alpha", "Worker", worker.actor_urn, "permanent", "idle", 0, 90.5)
    assert (second.actor_class, second.strategy, second.restart, second.answered) == (
        "Supervisor",
        "one_for_all",
        "transient",
        True,
    )
    assert second.children == (ChildNode("leaf", None, "Worker", leaf.actor_urn, "temporary", "idle", 0, 90.5),)
    assert (third.state, third.mailbox, third.uptime) == ("busy", 2, 0.0)
    assert top.proxy().tree().get().unwrap().children[0].id == "a"
    gate.set()
    top.stop(timeout=20)


def test_a_tree_tells_who_waits_for_a_restart_and_who_is_stopped(clock: VirtualClock, gate: threading.Event) -> None:
    top = Supervisor.start(strategy="rest_for_one", max_restarts=9)
    add(top, "away")
    assert top.ask(messages.TerminateChild("away")).is_ok
    ref = add(top, "a")
    slow = add(top, "slow")
    hold(slow, gate)
    ref.ask(Crash())
    eventually(lambda: states(tree(top).children) == {"away": "stopped", "a": "restarting", "slow": "restarting"})
    gate.set()
    eventually(lambda: states(tree(top).children) == {"away": "stopped", "a": "idle", "slow": "idle"})
    assert [(node.restarts, node.last_reason) for node in tree(top).children] == [
        (0, "shutdown"),
        (1, "crashed"),
        (1, "shutdown"),
    ]
    (again,) = [ref for ref in _refs() if ref.actor_urn == tree(top).children[1].actor_urn]
    again.ask(Crash())
    eventually(lambda: states(tree(top).children)["a"] == "waiting_to_restart")
    assert tree(top).children[1].uptime is None
    top.stop(timeout=20)


def _refs() -> list[Any]:
    import pykka

    return list(pykka.ActorRegistry.get_by_class(Worker))


def test_a_child_that_is_being_stopped_is_shown_so(clock: VirtualClock, gate: threading.Event) -> None:
    top = Supervisor.start()
    hold(add(top, "a"), gate)
    ended = top.ask(messages.TerminateChild("a"), block=False)
    assert states(tree(top).children) == {"a": "stopping"}
    gate.set()
    assert ended.get(timeout=20).is_ok
    top.stop(timeout=20)


def test_a_supervisor_that_is_stuck_two_levels_down_is_shown_all_the_same(
    clock: VirtualClock, gate: threading.Event
) -> None:
    top = Supervisor.start()
    middle = add(top, "middle", Supervisor)
    add(middle, "worker")
    bottom = add(middle, "bottom", StuckSupervisor)
    add(bottom, "hidden")
    hold(bottom, gate)
    asked = top.ask(messages.Tree(patience=1.0), block=False)
    eventually(lambda: clock.pending() >= 2)
    clock.advance(0.76)
    (node,) = asked.get(timeout=20).unwrap().children
    assert node.answered
    assert [(one.id, one.state, one.answered, one.children) for one in node.children] == [
        ("worker", "idle", True, ()),
        ("bottom", "busy", False, ()),
    ]
    assert bottom.vitals().mailbox == 0, "the question was withdrawn"
    gate.set()
    assert [one.id for one in tree(top).children[0].children[1].children] == ["hidden"]
    top.stop(timeout=20)


def test_a_tree_is_bounded_by_its_await_timeout_and_refuses_nonsense(
    clock: VirtualClock, gate: threading.Event
) -> None:
    top = Supervisor.start()
    hold(add(top, "stuck", StuckSupervisor), gate)
    asked = top.ask(messages.Tree(patience=5.0, await_timeout=1.0), block=False)
    eventually(lambda: clock.pending() >= 2)
    clock.advance(1.0)
    late = asked.get(timeout=20)
    assert isinstance(late, Err)
    assert late.error.kind == "await_timeout"
    refused = top.ask(messages.Tree(patience=-1.0))
    assert isinstance(refused, Err)
    assert refused.error.kind == "validation"
    gate.set()
    top.stop(timeout=20)


def test_an_actor_is_observed_without_being_asked(clock: VirtualClock, gate: threading.Event) -> None:
    ref = Worker.start()
    assert (ref.vitals().state, ref.vitals().mailbox, ref.vitals().uptime) == ("idle", 0, 0.0)
    hold(ref, gate)
    withdrawn, kept = (ref.ask(Crash(), block=False) for _ in range(2))
    assert withdrawn.cancel()
    clock.advance(2.0)
    assert (ref.vitals().state, ref.vitals().mailbox, ref.vitals().uptime) == ("busy", 1, 2.0)
    stopping = ref.stop(block=False)
    assert (ref.vitals().state, ref.vitals().mailbox) == ("stopping", 1)
    gate.set()
    assert not kept.get(timeout=20).is_ok
    assert stopping.get(timeout=20)
    assert (ref.vitals().state, ref.vitals().mailbox) == ("dead", 0)


def test_a_tree_is_printed_as_people_draw_them() -> None:
    leaf = ChildNode("leaf", None, "Worker", "urn:1", "temporary", "busy", 3, 12.34)
    pool = ChildNode(
        "pool", "crew", "Supervisor", "urn:2", "permanent", "idle", 0, 7.0, 1, "crashed", "one_for_all", (leaf,)
    )
    stuck = ChildNode("hung", None, "Supervisor", "urn:3", "permanent", "busy", 7, 3700.0, 0, "killed", answered=False)
    gone = ChildNode("gone", "gone", "Worker", None, "transient", "waiting_to_restart", 0, 183.0, 2)
    shown = SupervisionTree("Supervisor", "urn:0", "rest_for_one", "running", 0, 200000.0, (pool, stuck, gone))
    assert shown.render() == (
        "Supervisor (rest_for_one): running, mailbox 0, up 2 d 7 h\n"
        "├─ pool as 'crew': Supervisor (one_for_all) permanent, idle, mailbox 0, up 7.0 s, 1 restart, last crashed\n"
        "│  └─ leaf: Worker temporary, busy, mailbox 3, up 12.3 s\n"
        "├─ hung: Supervisor permanent, busy, mailbox 7, up 1 h 1 min, last killed, no answer from it in time\n"
        "└─ gone: Worker transient, waiting to restart, mailbox 0, up 3 min 3 s, 2 restarts"
    )
