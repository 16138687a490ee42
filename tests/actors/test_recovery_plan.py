"""Recovery's decisions, over everything that can be drawn: pure functions, no server, no clock."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._recovery._recovery_plan import (
    Again,
    GiveUp,
    Older,
    Verdict,
    candidates,
    judge,
    next_step,
    pause,
    signal_of,
    without,
)
from tinkex.actors._training._vitals import Vitals
from tinkex.protocol import ErrorCategory, ErrorKind, RecoveryPolicy, TinkexError
from tinkex.protocol.wire import TrainingRun, WireCheckpoint


def make_policy(attempts: int, base: float, extra: float) -> RecoveryPolicy:
    return RecoveryPolicy(enabled=True, max_attempts=attempts, backoff_seconds=base, max_backoff_seconds=base + extra)


def make_error(
    kind: ErrorKind, category: ErrorCategory, status: int | None, outcome: str | None, step: str | None
) -> TinkexError:
    data = {name: value for name, value in (("outcome", outcome), ("step", step)) if value is not None}
    return TinkexError("no", kind=kind, category=category, status=status, data=data)


policies = st.builds(make_policy, st.integers(1, 50), st.floats(0.0, 100.0), st.floats(0.0, 1000.0))
errors = st.builds(
    make_error,
    st.sampled_from(get_args(ErrorKind)),
    st.sampled_from(get_args(ErrorCategory)),
    st.none() | st.sampled_from([400, 401, 402, 403, 404, 408, 409, 410, 422, 425, 429, 500, 503]),
    st.none() | st.sampled_from(["not_sent", "running", "unknown"]),
    st.none() | st.sampled_from(["checkpoint_info", "create_session", "create_model", "load_weights"]),
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def checkpoint(run: str, name: str, age: int, kind: str = "weights", category: str = "training") -> WireCheckpoint:
    return WireCheckpoint(
        checkpoint_id=f"{kind}/{name}",
        checkpoint_type=category,
        time=(START - timedelta(seconds=age)).isoformat(),
        tinker_path=f"tinker://{run}/{kind}/{name}",
    )


def run(last: WireCheckpoint | None, *, corrupted: bool = True) -> TrainingRun:
    return TrainingRun("run", "m", "me", True, START.isoformat(), corrupted=corrupted, last_checkpoint=last)


# What a failure means


@given(errors, st.integers(1, 5), st.booleans())
def test_what_asking_again_can_mend_is_tried_again_and_nothing_else_is(
    error: TinkexError, failures: int, last: bool
) -> None:
    verdict = judge(error, failures=failures, last_attempt=last)
    if verdict == "again":
        passing = error.retryable or error.kind in ("await_timeout", "session_lost", "client_suspect")
        unknown = error.kind in ("api_connection", "api_timeout", "api_status", "request_failed")
        waited = error.kind == "conflict" and error.data.get("outcome") == "not_sent"
        assert passing or unknown or waited
    if error.kind in ("validation", "actor_dead", "actor_crashed", "cancelled", "protocol"):
        assert verdict != "again"
    if error.kind in ("api_status", "request_failed") and error.status in (400, 401, 403, 404, 410, 422):
        assert verdict != "again"


@pytest.mark.parametrize(
    ("error", "failures", "last", "verdict"),
    [
        ({"kind": "api_status", "status": 404, "category": "user"}, 1, False, "older"),
        ({"kind": "api_status", "status": 410, "category": "user"}, 1, False, "older"),
        ({"kind": "request_failed", "category": "user"}, 1, False, "older"),
        ({"kind": "request_failed", "category": "server"}, 1, False, "again"),
        ({"kind": "request_failed", "category": "server"}, 2, False, "older"),
        ({"kind": "request_failed", "category": "server"}, 1, True, "older"),
        ({"kind": "validation", "category": "user"}, 1, False, "older"),
        ({"kind": "api_status", "status": 401, "category": "user"}, 1, False, "stop"),
        ({"kind": "api_status", "status": 503, "category": "server"}, 9, True, "again"),
        ({"kind": "api_status", "status": 429, "category": "server"}, 1, False, "again"),
        ({"kind": "await_timeout", "category": "unknown"}, 1, False, "again"),
        ({"kind": "session_lost", "status": 404, "category": "server"}, 1, False, "again"),
        ({"kind": "actor_dead", "category": "unknown"}, 1, False, "stop"),
        ({"kind": "conflict", "category": "user", "data": {"outcome": "not_sent"}}, 1, False, "again"),
        ({"kind": "conflict", "category": "user"}, 1, False, "stop"),
        ({"kind": "api_status", "status": 422, "category": "user", "data": {"step": "create_model"}}, 1, False, "stop"),
    ],
)
def test_a_failure_means_what_the_table_says(error: Any, failures: int, last: bool, verdict: Verdict) -> None:
    assert judge(TinkexError("no", **error), failures=failures, last_attempt=last) == verdict


# What follows


@given(policies, st.sampled_from(get_args(Verdict)), st.booleans(), st.integers(), st.none() | st.floats(0.0, 300.0))
def test_a_loss_has_at_most_its_attempts_and_each_wait_is_within_its_bound(
    policy: RecoveryPolicy, verdict: Verdict, older: bool, seed: int, hint: float | None
) -> None:
    rng = random.Random(seed)
    attempts = 1
    while isinstance(step := next_step(policy, attempts, verdict, older, rng, hint), Again):
        bound = min(policy.max_backoff_seconds, policy.backoff_seconds * 2.0 ** (attempts - 1))
        assert (hint or 0.0) <= step.seconds <= max(bound, hint or 0.0)
        attempts += 1
        assert attempts <= policy.max_attempts
    if verdict == "again":
        assert attempts == policy.max_attempts
        assert isinstance(step, GiveUp)
    else:
        assert isinstance(step, Older if verdict == "older" and older else GiveUp)


def test_waits_are_spread_over_all_of_their_range() -> None:
    policy = RecoveryPolicy(backoff_seconds=5.0, max_backoff_seconds=60.0)
    rng = random.Random(1)
    for attempt, bound in ((1, 5.0), (2, 10.0), (5, 60.0), (500, 60.0)):
        drawn = [pause(policy, attempt, rng) for _ in range(500)]
        assert min(drawn) < bound * 0.05
        assert bound * 0.95 < max(drawn) <= bound


# Which checkpoint

ages = st.lists(st.integers(0, 1000), unique=True, max_size=8)


@given(ages, ages, st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_the_newest_own_checkpoint_comes_first_then_older_ones_then_those_it_came_from(
    own: list[int], parents: list[int], rng: random.Random, with_last: bool, loaded: bool
) -> None:
    listed = [checkpoint("run", f"c{age}", age) for age in own]
    ancestors = [checkpoint("parent", f"p{age}", age) for age in parents]
    last = min(own, default=None) if with_last else None
    known_age = rng.choice(parents) if loaded and parents else None
    known = f"tinker://parent/weights/p{known_age}" if known_age is not None else None
    rng.shuffle(listed)
    rng.shuffle(ancestors)
    paths = candidates(run(checkpoint("run", f"c{last}", last) if last is not None else None), listed, known, ancestors)
    expected = [f"tinker://run/weights/c{age}" for age in sorted(own)]
    if known_age is not None:
        expected += [f"tinker://parent/weights/p{age}" for age in sorted(parents) if age >= known_age]
    assert paths == expected
    assert without(paths, paths[:1]) == paths[1:]


def test_what_cannot_be_trained_on_is_no_candidate_and_what_the_server_forgot_is_still_known() -> None:
    odd = [
        checkpoint("run", "s", 0, "sampler_weights", "sampler"),
        checkpoint("run", "e", 1, "external_weights", "external"),
        WireCheckpoint("weights/x", "training", "no time", "no path"),
        WireCheckpoint("weights/old", "training", "no time", "tinker://run/weights/old"),
        checkpoint("run", "t", 5),
    ]
    assert candidates(None, odd, None) == ["tinker://run/weights/t", "tinker://run/weights/old"]
    assert candidates(None, [], "tinker://run/weights/saved") == ["tinker://run/weights/saved"]
    assert candidates(None, [], None) == []


# What is a loss


@pytest.mark.parametrize("recover_suspect", [False, True])
def test_a_loss_is_a_lost_session_and_only_if_asked_for_a_suspicion(recover_suspect: bool) -> None:
    policy = RecoveryPolicy(recover_suspect=recover_suspect)
    assert signal_of(Vitals("session_lost", "m"), policy) == "session_lost"
    assert signal_of(Vitals("suspect", "m"), policy) == ("suspect" if recover_suspect else None)
    for state in ("starting", "ready", "unloading", "unloaded", "stopping"):
        assert signal_of(Vitals(state, "m"), policy) is None
