"""Supervisors below supervisors: what ends with what, in which order, and who answers through the levels."""

import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from support_clients import eventually
from tinkex.actors import ChildSpec, GenRef, Supervisor, named, on, whereis
from tinkex.actors._genserver._client import ClientActor
from tinkex.actors.testing import SeededScheduler, VirtualClock, runtime
from tinkex.protocol import Err, Ok, Request, Result, messages
from tinkex.protocol.replies import LeakReport, LeaseReport

ENDED: list[str] = []


class Crash(Request[None], frozen=True):
    pass


class Ping(Request[str], frozen=True):
    pass


class Hold(Request[None], frozen=True):
    gate: threading.Event


class Worker(ClientActor[Any]):
    """Notes its end, and leaks a lease of its name."""

    lists_leaks = True

    def __init__(self, name: str = "worker") -> None:
        super().__init__()
        self._name = name
        self.add_finalizer(lambda reason: ENDED.append(f"{name} {reason}"))

    @on(Crash)
    def _crash(self, message: Crash) -> Result[None]:
        raise RuntimeError("boom")

    @on(Hold)
    def _hold(self, message: Hold) -> Result[None]:
        message.gate.wait(20)
        return Ok(None)

    @on(Ping)
    def _ping(self, message: Ping) -> Result[str]:
        return Ok(self._name)

    @on(messages.Leaks)
    def _leaks(self, message: messages.Leaks) -> Result[LeakReport]:
        return Ok(LeakReport([LeaseReport(self._name, None, "expiring", 0.0, "left")]))


class Watched(Supervisor):
    """Notes its end, after its children's."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(**options)
        self.add_finalizer(lambda reason: ENDED.append(f"{name} {reason}"))


class Team(Watched):
    """Starts its workers anew with each start of its own."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        for at in range(2):
            spec = ChildSpec(f"{name}{at}", Worker, kwargs={"name": f"{name}{at}"}, name=f"{name}{at}")
            assert self.handle(messages.StartChild(spec)).is_ok  # type: ignore[union-attr]


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    ENDED.clear()
    before = set(pykka.ActorRegistry.get_all())
    yield
    assert set(pykka.ActorRegistry.get_all()) <= before


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    clock = VirtualClock()
    with runtime(clock=clock):
        yield clock


def add(supervisor: GenRef[Any], child_id: str, actor_class: Any = Worker, **kwargs: Any) -> GenRef[Any]:
    spec = ChildSpec(child_id, actor_class, kwargs={"name": child_id, **kwargs}, name=child_id)
    ref: GenRef[Any] = supervisor.ask(messages.StartChild(spec)).unwrap()
    return ref


def forest() -> GenRef[Any]:
    """A root with a worker, a supervisor of two workers and a supervisor with one, and another worker."""
    root = Watched.start("root")
    add(root, "a")
    left = add(root, "left", Watched)
    add(left, "b")
    inner = add(left, "inner", Watched)
    add(inner, "c")
    add(inner, "d")
    add(root, "e")
    return root


def test_a_tree_is_stopped_youngest_first_and_depth_first() -> None:
    forest().stop(timeout=20)
    assert [entry.split()[0] for entry in ENDED] == ["e", "d", "c", "inner", "b", "left", "a", "root"]
    assert {entry.split()[1] for entry in ENDED[:-1]} == {"shutdown"}


def test_a_kill_of_the_root_ends_all_that_is_below_it() -> None:
    root = forest()
    root.kill()
    assert {entry.split()[0] for entry in ENDED} == {"a", "left", "b", "inner", "c", "d", "e", "root"}
    assert {entry.split()[1] for entry in ENDED} == {"killed"}
    assert whereis("d") is None
    answer = named("d", while_down="wait").ask(Ping())
    assert isinstance(answer, Err)
    assert answer.error.kind == "actor_dead"


def test_a_termination_of_a_subtree_leaves_the_rest_alone() -> None:
    root = forest()
    assert root.ask(messages.TerminateChild("left")).is_ok
    assert [entry.split()[0] for entry in ENDED] == ["d", "c", "inner", "b", "left"]
    assert named("a").ask(Ping()) == Ok("a")
    root.stop(timeout=20)


def test_restarts_that_are_too_many_go_up_level_by_level(clock: VirtualClock) -> None:
    """The worker's supervisor gives up, then the one above, whose own brings all back; siblings elsewhere live on."""
    root = Watched.start("root", max_restarts=9)
    sibling = add(root, "sibling")
    middle = add(root, "middle", Watched, max_restarts=0)
    add(middle, "team", Team, max_restarts=0)
    named("team0").ask(Crash())
    eventually(lambda: (ref := whereis("middle")) is not None and ref is not middle)
    assert ENDED == ["team0 crashed", "team1 shutdown", "team crashed", "middle crashed"]
    (first, second) = root.ask(messages.WhichChildren()).unwrap().children
    assert (first.restarts, second.restarts, second.last_reason) == (0, 1, "crashed")
    assert sibling.is_alive()
    fresh = whereis("middle")
    assert fresh is not None
    assert fresh.ask(messages.WhichChildren()).unwrap().children == []
    root.stop(timeout=20)


def test_what_waits_for_a_name_below_is_answered_when_its_supervisor_gives_up(clock: VirtualClock) -> None:
    """It does not wait for the level above, which starts a team anew, with another worker of the same name."""
    root = Watched.start("root", max_restarts=9)
    add(root, "team", Team, max_restarts=0)
    old, gate = whereis("team0"), threading.Event()
    named("team1").ask(Hold(gate), block=False)
    named("team0").ask(Crash())
    answer = named("team0", while_down="wait").ask(Ping(), timeout=20)
    assert isinstance(answer, Err)
    assert answer.error.kind == "actor_dead"
    gate.set()
    fresh = eventually(lambda: whereis("team0"))
    assert fresh is not old
    assert eventually(lambda: whereis("team1")).ask(Ping()) == Ok("team1")
    root.stop(timeout=20)


def test_a_name_is_one_for_all_levels() -> None:
    root = forest()
    refused = root.ask(messages.StartChild(ChildSpec("other", Worker, name="d")))
    assert isinstance(refused, Err)
    assert refused.error.kind == "conflict"
    root.stop(timeout=20)


def test_leaks_are_collected_through_the_levels() -> None:
    root = forest()
    leases = root.ask(messages.Leaks()).unwrap().leases
    assert sorted(str(lease.model_id) for lease in leases) == ["a", "b", "c", "d", "e"]
    root.stop(timeout=20)


def _program(seed: int) -> tuple[list[str], list[str], str]:
    """Crashes on two levels at once, a look at the tree, and a stop in the middle of it."""
    ENDED.clear()
    with SeededScheduler(seed) as world:
        root = Watched.start("root", max_restarts=20)
        add(root, "team", Team, max_restarts=1)
        add(root, "pool", Team, strategy="one_for_all", max_restarts=20)

        def crash(name: str) -> None:
            for _ in range(3):
                named(name, while_down="wait").ask(Crash())

        threads = [world.start_thread("Crasher", lambda name=name: crash(name)) for name in ("team0", "pool1")]  # type: ignore[misc]
        for thread in threads:
            assert world.join(thread)
        world.run_for(5.0)
        shown = root.ask(messages.Tree()).unwrap().render()
        root.stop()
    return world.trace, list(ENDED), shown


@pytest.mark.parametrize("seed", range(8))
def test_a_tree_in_a_seeded_world_runs_alike_for_the_same_seed_and_leaves_nobody(seed: int) -> None:
    trace, ended, shown = _program(seed)
    assert _program(seed) == (trace, ended, shown)
    assert ended[-1] == "root normal"
    begun = sum(line.endswith("ends crashed") for line in trace)
    assert begun >= 3
    assert [line.split(":")[0][-4:] for line in shown.splitlines()[1:] if line[1] == "─"] == ["team", "pool"]
