"""Restarts by a supervisor: who comes back, in which order, and when it gives up."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any, cast

import pykka
import pytest

from support_clients import eventually
from tinkex.actors import ChildSpec, GenRef, GenServer, Supervisor, on
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import Err, Ok, Request, Result, TinkexError, messages
from tinkex.protocol.replies import ChildInfo

EVENTS: list[str] = []
BROKEN: set[str] = set()
"""Workers whose init fails."""


class Crash(Request[None], frozen=True):
    pass


class Hold(Request[None], frozen=True):
    gate: threading.Event


class Who(Request[str], frozen=True):
    pass


class Worker(GenServer[Any]):
    """Notes when it begins and how it ends."""

    def __init__(self, name: str) -> None:
        super().__init__()
        EVENTS.append(f"{name} begins")
        if name in BROKEN:
            raise TinkexError("broken on request", kind="validation", category="user")
        self._name = name
        self.add_finalizer(lambda reason: EVENTS.append(f"{name} {reason}"))

    @on(Crash)
    def _crash(self, message: Crash) -> Result[None]:
        raise RuntimeError("boom")

    @on(Hold)
    def _hold(self, message: Hold) -> Result[None]:
        message.gate.wait(20)
        return Ok(None)

    @on(Who)
    def _who(self, message: Who) -> Result[str]:
        return Ok(self._name)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    EVENTS.clear()
    BROKEN.clear()
    yield
    EVENTS.clear()


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with runtime(clock=clock):
        yield clock


def spec(name: str, restart: Any = "permanent") -> ChildSpec:
    return ChildSpec(name, Worker, kwargs={"name": name}, restart=restart)


def supervise(*names: str, restart: Any = "permanent", **options: Any) -> tuple[GenRef[Any], dict[str, GenRef[Any]]]:
    supervisor = Supervisor.start(**options)
    refs = {name: supervisor.ask(messages.StartChild(spec(name, restart))).unwrap() for name in names}
    EVENTS.clear()
    return supervisor, refs


def children(supervisor: GenRef[Any]) -> dict[str, ChildInfo]:
    return {child.id: child for child in supervisor.ask(messages.WhichChildren()).unwrap().children}


def settled(supervisor: GenRef[Any], *restarts: int) -> list[ChildInfo]:
    """Wait until the children, all alive, have been restarted so often."""

    def there() -> list[ChildInfo] | None:
        found = list(children(supervisor).values())
        return found if [child.restarts for child in found] == list(restarts) and all(c.alive for c in found) else None

    found: list[ChildInfo] = eventually(there)
    return found


def reached(supervisor: GenRef[Any], name: str) -> GenRef[Any]:
    """Return the child's present ref, by what the supervisor tells."""
    urn = children(supervisor)[name].actor_urn
    assert urn is not None
    found: Any = pykka.ActorRegistry.get_by_urn(urn)
    return cast("GenRef[Any]", found)


@pytest.mark.parametrize("end", ["crash", "kill", "stop"])
def test_a_permanent_child_comes_back_however_it_ends(end: str) -> None:
    supervisor, refs = supervise("a", "b")
    old = refs["a"]
    if end == "crash":
        old.ask(Crash())
    else:
        getattr(old, end)()
    fresh, other = settled(supervisor, 1, 0)
    assert fresh.actor_urn != old.actor_urn
    assert fresh.last_reason == {"crash": "crashed", "kill": "killed", "stop": "normal"}[end]
    assert other.actor_urn == refs["b"].actor_urn
    assert reached(supervisor, "a").ask(Who()).unwrap() == "a"
    assert isinstance(old.ask(Who()), Err), "an old ref does not reach the new actor"
    supervisor.stop()


def test_a_transient_child_comes_back_after_a_crash_and_stays_away_after_its_own_end() -> None:
    supervisor, refs = supervise("a", restart="transient")
    refs["a"].ask(Crash())
    settled(supervisor, 1)
    reached(supervisor, "a").stop()
    eventually(lambda: not children(supervisor)["a"].alive)
    child = children(supervisor)["a"]
    assert (child.actor_urn, child.restarts, child.last_reason) == (None, 1, "normal")
    taken = supervisor.ask(messages.StartChild(spec("a")))
    assert isinstance(taken, Err)
    assert "RestartChild starts it again" in taken.error.message
    ref = supervisor.ask(messages.RestartChild("a")).unwrap()
    assert ref.ask(Who()).unwrap() == "a"
    supervisor.stop()


def test_one_for_all_stops_the_others_youngest_first_and_starts_all_oldest_first() -> None:
    supervisor, refs = supervise("a", "b", "c", strategy="one_for_all")
    refs["b"].ask(Crash())
    settled(supervisor, 1, 1, 1)
    assert EVENTS == ["b crashed", "c shutdown", "a shutdown", "a begins", "b begins", "c begins"]
    supervisor.stop()


def test_rest_for_one_takes_those_that_were_started_later() -> None:
    supervisor, refs = supervise("a", "b", "c", "d", strategy="rest_for_one")
    refs["b"].ask(Crash())
    settled(supervisor, 0, 1, 1, 1)
    assert EVENTS == ["b crashed", "d shutdown", "c shutdown", "b begins", "c begins", "d begins"]
    supervisor.stop()


def test_a_temporary_sibling_goes_with_a_group_and_does_not_come_back() -> None:
    supervisor, refs = supervise("a", strategy="one_for_all")
    supervisor.ask(messages.StartChild(spec("t", "temporary"))).unwrap()
    refs["a"].ask(Crash())
    settled(supervisor, 1)
    assert "t shutdown" in EVENTS
    assert list(children(supervisor)) == ["a"]
    supervisor.stop()


def test_too_many_restarts_end_the_supervisor_and_its_children_in_order(clock: VirtualClock) -> None:
    supervisor, refs = supervise("a", "b", max_restarts=2, max_seconds=5.0)
    ends: list[str] = []
    supervisor.monitor(lambda down: ends.append(f"{down.reason}: {down.error}"))
    ref = refs["a"]
    for restarts in (1, 2):
        ref.ask(Crash())
        eventually(lambda: clock.pending() or children(supervisor)["a"].alive)
        clock.advance(0.2)
        settled(supervisor, restarts, 0)
        ref = reached(supervisor, "a")
    EVENTS.clear()
    ref.ask(Crash())
    eventually(lambda: ends)
    assert EVENTS == ["a crashed", "b shutdown"]
    assert ends[0].startswith("crashed")
    assert "needed more restarts than this supervisor allows" in ends[0]
    assert isinstance(supervisor.ask(messages.WhichChildren()), Err)


def test_a_supervisor_that_gives_up_starts_nobody_more() -> None:
    """While a child takes its time to end, neither a new one nor an old one is started."""
    supervisor, refs = supervise("away", "slow", "a", max_restarts=0)
    assert supervisor.ask(messages.TerminateChild("away")).is_ok
    gate = threading.Event()
    refs["slow"].ask(Hold(gate), block=False)
    refs["a"].ask(Crash())
    eventually(lambda: not children(supervisor)["a"].alive)
    for message in (messages.RestartChild("away"), messages.StartChild(spec("new"))):
        refused = supervisor.ask(message)
        assert isinstance(refused, Err)
        assert refused.error.kind == "actor_dead"
    gate.set()
    eventually(lambda: not supervisor.is_alive())


def test_restarts_that_lie_apart_are_not_too_many(clock: VirtualClock) -> None:
    supervisor, refs = supervise("a", max_restarts=1, max_seconds=5.0)
    ref = refs["a"]
    for restarts in range(1, 6):
        ref.ask(Crash())
        settled(supervisor, restarts)
        ref = reached(supervisor, "a")
        clock.advance(5.1)
    supervisor.stop()


def test_the_second_restart_waits_and_a_stop_does_not_wait_for_it(clock: VirtualClock) -> None:
    supervisor, refs = supervise("a", max_restarts=9)
    refs["a"].ask(Crash())
    settled(supervisor, 1)
    reached(supervisor, "a").ask(Crash())
    eventually(lambda: clock.pending() == 1)
    child = children(supervisor)["a"]
    assert (child.alive, child.restarts, child.actor_urn) == (False, 1, None)
    busy = supervisor.ask(messages.RestartChild("a"))
    assert isinstance(busy, Err)
    assert "being restarted" in busy.error.message
    supervisor.stop(timeout=20)
    assert EVENTS.count("a begins") == 1


def test_a_child_that_is_terminated_while_it_waits_stays_away(clock: VirtualClock) -> None:
    supervisor, refs = supervise("a", max_restarts=9)
    refs["a"].ask(Crash())
    settled(supervisor, 1)
    reached(supervisor, "a").ask(Crash())
    eventually(lambda: clock.pending() == 1)
    assert supervisor.ask(messages.TerminateChild("a")).is_ok
    clock.advance(10.0)
    assert not children(supervisor)["a"].alive
    assert supervisor.ask(messages.RestartChild("a")).unwrap().is_alive()
    supervisor.stop()


def test_a_terminated_child_keeps_its_specification_and_is_not_restarted() -> None:
    supervisor, refs = supervise("a", "b", strategy="one_for_all")
    assert supervisor.ask(messages.TerminateChild("a")).is_ok
    assert EVENTS == ["a shutdown"], "the others are left alone"
    assert supervisor.ask(messages.TerminateChild("a")).is_ok, "a repeat is harmless"
    assert not children(supervisor)["a"].alive
    counts = supervisor.ask(messages.CountChildren()).unwrap()
    assert (counts.specs, counts.active) == (2, 1)
    assert refs["b"].is_alive()
    supervisor.stop()


def test_an_init_that_fails_again_and_again_exhausts_the_restarts(clock: VirtualClock) -> None:
    supervisor, refs = supervise("a", max_restarts=3)
    ends: list[str] = []
    supervisor.monitor(lambda down: ends.append(down.reason))
    BROKEN.add("a")
    refs["a"].ask(Crash())
    eventually(lambda: advanced(clock) and ends)
    assert ends == ["crashed"]
    assert EVENTS.count("a begins") == 3


def advanced(clock: VirtualClock) -> bool:
    clock.advance(0.5)
    return True


def test_an_init_that_fails_once_is_tried_again(clock: VirtualClock) -> None:
    supervisor, refs = supervise("a", "b", strategy="one_for_all", max_restarts=9)
    BROKEN.add("b")
    refs["a"].ask(Crash())
    eventually(lambda: "b begins" in EVENTS)
    BROKEN.clear()
    eventually(lambda: advanced(clock) and all(child.alive for child in children(supervisor).values()))
    assert [child.restarts for child in children(supervisor).values()] == [1, 1]
    supervisor.stop()


def test_a_supervisor_that_gave_up_is_restarted_by_its_own() -> None:
    """Escalation: the inner one crashes, and comes back empty as its specification says."""
    outer = Supervisor.start()
    inner_spec = ChildSpec("inner", Supervisor, kwargs={"max_restarts": 0})
    inner = outer.ask(messages.StartChild(inner_spec)).unwrap()
    child = inner.ask(messages.StartChild(spec("a"))).unwrap()
    child.ask(Crash())
    (fresh,) = settled(outer, 1)
    assert fresh.last_reason == "crashed"
    assert children(reached(outer, "inner")) == {}
    outer.stop()


def test_many_crashes_at_once_are_all_mended() -> None:
    """Each child comes back exactly once, whatever the order in which the ends are told."""
    names = [f"w{number}" for number in range(12)]
    supervisor, refs = supervise(*names, strategy="rest_for_one", max_restarts=100)
    for name in itertools.chain(names[::2], names[1::2]):
        refs[name].ask(Crash(), block=False)
    eventually(lambda: all(child.alive and child.restarts for child in children(supervisor).values()))
    assert sorted(children(supervisor)) == sorted(names)
    supervisor.stop()
    begun = sum(event.endswith("begins") for event in EVENTS)
    ended = sum(not event.endswith("begins") for event in EVENTS)
    assert ended == begun + 12, "what was begun has ended"
