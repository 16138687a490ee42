"""Slow is not stuck: budgets come from what was seen, and pauses by the server never count."""

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._trainer._watchdog import REMEMBERED, Phase, Watchdog
from tinkex.protocol import WatchdogPolicy
from tinkex.protocol.replies import OperationStatus

PHASES: tuple[Phase, ...] = get_args(Phase)
POLICY = WatchdogPolicy(first_seconds=100.0, factor=4.0, least_seconds=10.0)

phases = st.sampled_from(PHASES)
spans = st.floats(0.0, 1e9)
policies = st.builds(
    WatchdogPolicy,
    first_seconds=st.floats(0.1, 1e6),
    factor=st.floats(1.0, 100.0),
    least_seconds=st.floats(0.1, 1e6),
)
operations = st.builds(
    OperationStatus,
    st.sampled_from(["forward_backward", "optim_step", "save_weights", "load_state", "get_info", "a new one"]),
    st.just("running"),
    seq_id=st.none() | st.integers(1, 9),
    worked=st.floats(0.0, 1e9),
)


def taught(policy: WatchdogPolicy, phase: Phase, seen: list[float]) -> Watchdog:
    watchdog = Watchdog(policy)
    for seconds in seen:
        watchdog.observe(phase, seconds)
    return watchdog


def test_a_phase_that_was_never_seen_has_the_first_budget_and_then_its_own() -> None:
    watchdog = taught(POLICY, "update", [1.0, 5.0, 2.0])
    assert [watchdog.budget(phase) for phase in PHASES] == [100.0, 20.0, 100.0, 100.0]
    assert taught(POLICY, "update", [0.001]).budget("update") == POLICY.least_seconds
    assert Watchdog(WatchdogPolicy(first_seconds=1.0, least_seconds=10.0)).budget("batch") == 10.0


def test_the_sentences() -> None:
    watchdog = taught(POLICY, "update", [5.0])
    assert watchdog.judge("update", 20.0) is None
    stall = watchdog.judge("update", 21.0)
    assert stall is not None
    assert stall.why == "no update was completed for 21 s; the slowest lately took 5.0 s, which allows 20 s"
    first = watchdog.judge("batch", 101.0)
    assert first is not None
    assert (first.phase, first.seconds, first.budget) == ("batch", 101.0, 100.0)
    assert first.why == "the program has made no batch for 101 s; 100 s is what one is given that was never seen to end"
    hung = OperationStatus("optim_step", "running", 7, worked=30.0, reason="no answer")
    stuck = watchdog.judge("update", 0.0, [hung])
    assert stuck is not None
    assert stuck.why == (
        "optim_step 7 has been at work for 30 s (no answer); the slowest lately took 5.0 s, which allows 20 s"
    )


def test_an_update_behind_a_save_has_the_time_for_that_too() -> None:
    watchdog = taught(POLICY, "update", [5.0])
    watchdog.observe("checkpoint", 30.0)
    saving = OperationStatus("save_weights", "running", 8, worked=100.0)
    assert watchdog.judge("update", 140.0, [saving]) is None
    assert watchdog.judge("update", 141.0, [saving]) is not None
    assert watchdog.judge("update", 21.0, []) is not None


def test_a_request_that_the_server_pauses_is_not_at_work_however_long_it_is_open() -> None:
    paused = OperationStatus("forward_backward", "paused_capacity", 3, asked=0.0, worked=1.0)
    assert taught(POLICY, "update", [5.0]).judge("update", 1.0, [paused]) is None


@given(policies, phases, st.lists(spans, min_size=1, max_size=80))
def test_a_budget_is_by_the_slowest_of_the_last_32_and_never_below_the_least(
    policy: WatchdogPolicy, phase: Phase, seen: list[float]
) -> None:
    watchdog = taught(policy, phase, seen)
    assert watchdog.budget(phase) == max(policy.least_seconds, policy.factor * max(seen[-REMEMBERED:]))
    for other in set(PHASES) - {phase}:
        assert watchdog.budget(other) == max(policy.first_seconds, policy.least_seconds)


@given(policies, phases, st.lists(spans, min_size=1, max_size=REMEMBERED), st.data())
def test_what_was_seen_to_end_is_never_a_stall(
    policy: WatchdogPolicy, phase: Phase, seen: list[float], data: st.DataObject
) -> None:
    watchdog = taught(policy, phase, seen)
    assert watchdog.judge(phase, data.draw(st.sampled_from(seen))) is None


@given(policies, phases, st.lists(spans, max_size=40), spans, spans, st.lists(operations, max_size=4))
def test_a_longer_wait_is_never_less_of_a_stall(
    policy: WatchdogPolicy, phase: Phase, seen: list[float], one: float, more: float, at_work: list[OperationStatus]
) -> None:
    watchdog = taught(policy, phase, seen)
    if watchdog.judge(phase, one, at_work) is not None:
        longer = watchdog.judge(phase, one + more, at_work)
        assert longer is not None
        assert longer.seconds > longer.budget
        assert longer.why.splitlines() == [longer.why]


@given(policies, phases, spans, st.lists(operations, max_size=4))
def test_one_that_is_switched_off_never_barks(
    policy: WatchdogPolicy, phase: Phase, seconds: float, at_work: list[OperationStatus]
) -> None:
    off = WatchdogPolicy(False, policy.look_seconds, policy.first_seconds, policy.factor, policy.least_seconds)
    assert Watchdog(off).judge(phase, seconds, at_work) is None


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0])
def test_what_is_no_span_teaches_nothing(wrong: float) -> None:
    assert taught(POLICY, "update", [wrong]).budget("update") == POLICY.first_seconds
    assert taught(POLICY, "update", [5.0]).judge("update", wrong if wrong != math.inf else 0.0) is None
