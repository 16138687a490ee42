"""The events of a supervisor are those that its guide lists: each with its level and its fields, one per transition."""

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from structlog.testing import capture_logs

from support_clients import eventually
from tinkex.actors import ChildSpec, GenRef, GenServer, Supervisor, on, whereis
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import Ok, Request, Result, TinkexError, messages

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "supervision.md"
ROW = re.compile(r"^\| `([a-z ]+)` \| (debug|info|warning|error) \| ([a-z_` ]*) \|", re.MULTILINE)
LISTED = {name: (level, set(re.findall(r"`(\w+)`", fields))) for name, level, fields in ROW.findall(GUIDE.read_text())}
BROKEN = threading.Event()


class Crash(Request[None], frozen=True):
    pass


class Hold(Request[None], frozen=True):
    gate: threading.Event
    entered: threading.Event


class Worker(GenServer[Any]):
    def __init__(self) -> None:
        super().__init__()
        if BROKEN.is_set():
            raise TinkexError("broken on request", kind="validation", category="user")

    @on(Crash)
    def _crash(self, message: Crash) -> Result[None]:
        raise RuntimeError("boom")

    @on(Hold)
    def _hold(self, message: Hold) -> Result[None]:
        message.entered.set()
        message.gate.wait(20)
        return Ok(None)


@pytest.fixture
def clock() -> Iterator[VirtualClock]:
    BROKEN.clear()
    clock = VirtualClock()
    with runtime(clock=clock):
        yield clock
    BROKEN.clear()


@pytest.fixture
def events(clock: VirtualClock) -> Iterator[list[Any]]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    try:
        with capture_logs() as log:
            yield cast("list[Any]", log)
    finally:
        structlog.configure(**before)


def of(events: list[Any]) -> list[dict[str, Any]]:
    return [event for event in list(events) if event.get("actor") == "Supervisor"]


def told(events: list[Any], child: str | None = None) -> list[str]:
    return [event["event"] for event in of(events) if child is None or event.get("child") == child]


def start(supervisor: GenRef[Any], child_id: str = "a", **options: Any) -> GenRef[Any]:
    spec = ChildSpec(child_id, Worker, name=child_id, **options)
    ref: GenRef[Any] = supervisor.ask(messages.StartChild(spec)).unwrap()
    return ref


def advanced(clock: VirtualClock, seconds: float = 10.0) -> bool:
    clock.advance(seconds)
    return True


def crash_and_mend(clock: VirtualClock, name: str = "a") -> None:
    old = whereis(name)
    assert old is not None
    old.ask(Crash())
    eventually(lambda: advanced(clock, 0.1) and whereis(name) not in (None, old))


def test_every_listed_event_happens_as_it_is_listed_and_no_other(clock: VirtualClock, events: list[Any]) -> None:
    outer = Supervisor.start(max_restarts=9)
    start(outer)
    crash_and_mend(clock)
    start(outer, "hung", shutdown=3.0)
    gate, entered = threading.Event(), threading.Event()
    hung = whereis("hung")
    assert hung is not None
    hung.ask(Hold(gate, entered), block=False)
    assert entered.wait(20)
    ended = outer.ask(messages.TerminateChild("hung"), block=False)
    eventually(lambda: "child terminating" in told(events, "hung") and advanced(clock, 3.0) and ended.done())
    gate.set()
    inner = outer.ask(messages.StartChild(ChildSpec("inner", Supervisor, kwargs={"max_restarts": 0}))).unwrap()
    start(inner, "b").ask(Crash())
    eventually(lambda: not inner.is_alive())
    BROKEN.set()
    assert not outer.ask(messages.StartChild(ChildSpec("broken", Worker))).is_ok
    outer.stop(timeout=20)
    seen = of(events)
    assert {event["event"] for event in seen} == set(LISTED)
    for event in seen:
        level, fields = LISTED[event["event"]]
        assert (event["log_level"], set(event) - {"event", "log_level", "actor", "actor_urn"}) == (level, fields)


START = ["child starting", "child started", "name registered"]
END = ["child given up", "name unregistered"]


def crash(_supervisor: GenRef[Any], clock: VirtualClock) -> None:
    crash_and_mend(clock)


def terminate(supervisor: GenRef[Any], _clock: VirtualClock) -> None:
    assert supervisor.ask(messages.TerminateChild("a")).is_ok


def end(_supervisor: GenRef[Any], _clock: VirtualClock) -> None:
    ref = whereis("a")
    assert ref is not None
    ref.stop()


def kill(supervisor: GenRef[Any], _clock: VirtualClock) -> None:
    supervisor.kill()


def stop(supervisor: GenRef[Any], _clock: VirtualClock) -> None:
    supervisor.stop()


@pytest.mark.parametrize(
    ("restart", "story", "expected"),
    [
        ("permanent", crash, [*START, "child crashed", "name lost", *START, "child restarted"]),
        ("permanent", terminate, [*START, "child terminating", "child ended", "name lost", *END]),
        ("permanent", stop, [*START, "child terminating", "child ended", "name lost", *END]),
        ("temporary", end, [*START, "child ended", "name lost", *END]),
        ("permanent", kill, [*START, "name unregistered"]),
    ],
)
def test_a_childs_events_come_in_the_order_of_what_happens(
    restart: Any,
    story: Callable[[GenRef[Any], VirtualClock], None],
    expected: list[str],
    clock: VirtualClock,
    events: list[Any],
) -> None:
    supervisor = Supervisor.start(max_restarts=9)
    start(supervisor, restart=restart)
    story(supervisor, clock)
    eventually(lambda: len(told(events, "a")) >= len(expected))
    assert told(events, "a") == expected
    supervisor.stop()


def test_a_group_is_scheduled_in_one_event_and_a_second_restart_with_its_wait(
    clock: VirtualClock, events: list[Any]
) -> None:
    supervisor = Supervisor.start(strategy="one_for_all", max_restarts=9)
    start(supervisor)
    start(supervisor, "b")
    crash_and_mend(clock)
    eventually(lambda: told(events).count("child restarted") == 2)
    crash_and_mend(clock)
    first, second = (event for event in of(events) if event["event"] == "restart scheduled")
    assert (first["children"], first["seconds"]) == (["a", "b"], 0.0)
    assert second["children"] == ["a", "b"]
    assert 0.0 < second["seconds"] <= 0.1
    supervisor.stop()
    assert told(events)[0] == "supervisor started"
    assert told(events)[-1] == "supervisor stopped"
