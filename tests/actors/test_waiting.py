"""What an open operation waits for: its states, its work without the pauses, and when it is overdue."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tinkex.actors._runtime._waiting import LEAST_SECONDS, PAUSES, Waiting, at_work, tell, waiting_as
from tinkex.actors._training._progress import PROGRESS_SECONDS, progress_seconds
from tinkex.actors.testing import VirtualClock

WORK = ("sending", "running", "backing_off", "circuit_open")
REST = ("queued", "suspect", *sorted(PAUSES))


def test_it_is_queued_at_first_and_since_is_when_its_state_began_not_its_reason() -> None:
    clock = VirtualClock()
    waiting = Waiting(clock, 60.0)
    assert (waiting.state, waiting.reason, waiting.asked) == ("queued", None, clock.time())
    clock.advance(3.0)
    waiting.heard("paused_capacity", "no room")
    began = clock.time()
    clock.advance(3.0)
    waiting.heard("paused_capacity", "still no room")
    assert (waiting.since, waiting.reason) == (began, "still no room")


@given(st.lists(st.tuples(st.sampled_from(WORK + REST), st.integers(0, 20)), max_size=20), st.integers(0, 20))
def test_only_the_states_of_work_count_and_only_once_it_is_its_turn(
    turns: list[tuple[str, int]], counts_from: int
) -> None:
    clock = VirtualClock()
    waiting = Waiting(clock, 50.0)
    expected = 0.0
    for place, (state, seconds) in enumerate(turns):
        if place == counts_from:
            waiting.count()
        waiting.heard(state)
        clock.advance(seconds)
        expected += seconds if place >= counts_from and state in WORK else 0.0
    assert waiting.worked == expected
    assert waiting.overdue == (expected >= 50.0)


def test_what_is_left_runs_out_while_it_works_and_stands_still_while_it_rests() -> None:
    clock = VirtualClock()
    waiting = Waiting(clock, 10.0)
    waiting.count()
    assert waiting.left is None
    waiting.heard("running")
    clock.advance(4.0)
    assert waiting.left == 6.0
    waiting.heard("paused_billing", "pay")
    clock.advance(1_000.0)
    assert (waiting.left, waiting.overdue) == (None, False)
    waiting.heard("running")
    clock.advance(6.0)
    assert waiting.overdue
    assert waiting.left == LEAST_SECONDS


def test_a_change_is_told_once_with_the_state_before() -> None:
    told: list[str] = []
    waiting = Waiting(VirtualClock(), 1.0, told.append)
    for state in ("sending", "sending", "running", "running"):
        waiting.heard(state)
    waiting.heard("running", "a reason")
    assert told == ["queued", "sending", "running"]


def test_a_coroutine_tells_whoever_submitted_it_and_nobody_otherwise() -> None:
    waiting = Waiting(VirtualClock(), 1.0)
    tell("running")
    with waiting_as(waiting):
        tell("backing_off", "503")
        at_work("load_weights")
    tell("running")
    at_work("elsewhere")
    assert (waiting.state, waiting.reason, waiting.step) == ("backing_off", "503", "load_weights")


@pytest.mark.parametrize("name", [*PROGRESS_SECONDS, "get_info"])
def test_each_kind_of_operation_has_a_deadline(name: str) -> None:
    assert progress_seconds(name) >= 120.0


@given(st.floats(0.0, 1e7), st.lists(st.floats(1e-3, 400.0), min_size=1, max_size=4))
def test_a_timer_for_when_it_is_overdue_always_lets_time_pass(start: float, spans: list[float]) -> None:
    """Where what is left is less than the clock can tell apart, a timer for it would fire for ever at one moment."""
    clock = VirtualClock(start)
    waiting = Waiting(clock, sum(spans))
    waiting.count()
    waiting.heard("running")
    for span in spans:
        clock.advance(span)
        left = waiting.left
        assert left is not None
        assert clock.monotonic() + left > clock.monotonic()
