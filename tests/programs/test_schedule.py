"""The learning rate follows from the update's number, as the schedule's words say."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_programs import SCHEDULES
from tinkex.actors._programs._schedule import Schedule
from tinkex.protocol import AdamParams, TinkexError


def rates(schedule: Schedule, updates: int | None, count: int) -> list[float]:
    return [schedule.learning_rate_at(update, updates) for update in range(count)]


@pytest.mark.parametrize(
    ("fields", "updates", "wanted"),
    [
        ({}, None, [1.0, 1.0, 1.0]),
        ({"warmup_updates": 4}, None, [0.25, 0.5, 0.75, 1.0, 1.0]),
        ({"warmup_updates": 1}, None, [1.0, 1.0]),
        ({"kind": "linear"}, 4, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        ({"kind": "linear", "final_fraction": 0.2, "warmup_updates": 2}, 6, [0.5, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2]),
        ({"kind": "linear", "decay_updates": 2, "final_fraction": 0.5}, 100, [1.0, 0.75, 0.5, 0.5]),
        ({"kind": "cosine"}, 4, [1.0, 0.8535533905932737, 0.5, 0.1464466094067262, 0.0, 0.0]),
        ({"kind": "cosine", "final_fraction": 1.0}, 2, [1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_the_rate_rises_stays_and_falls_as_told(
    fields: dict[str, Any], updates: int | None, wanted: list[float]
) -> None:
    schedule = Schedule(learning_rate=1.0, **fields)
    assert schedule.check_for(updates) is None
    assert rates(schedule, updates, len(wanted)) == pytest.approx(wanted, abs=1e-12)


@given(SCHEDULES, st.integers(3, 50))
def test_the_rate_stays_between_its_bounds_and_never_rises_once_it_fell(schedule: Schedule, updates: int) -> None:
    found = rates(schedule, updates, 60)
    lowest = 0.0 if schedule.kind == "constant" else schedule.learning_rate * schedule.final_fraction
    behind = found[schedule.warmup_updates :]
    assert all(0.0 <= rate <= schedule.learning_rate for rate in found)
    assert all(rate >= lowest * 0.999999 for rate in behind)
    assert behind == sorted(behind, reverse=True)
    assert behind[0] == schedule.learning_rate


def test_the_optimizers_other_parameters_are_passed_on() -> None:
    schedule = Schedule(
        learning_rate=1.0, beta1=0.5, beta2=0.6, eps=1e-5, weight_decay=0.1, grad_clip_norm=2.0, warmup_updates=2
    )
    assert schedule.adam_params(0) == AdamParams(0.5, 0.5, 0.6, 1e-5, 0.1, 2.0)
    assert Schedule().adam_params(9) == AdamParams()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"kind": "exponential"}, "kind must be one of constant, linear, cosine, not 'exponential'"),
        ({"kind": ["cosine"]}, "kind must be one of"),
        ({"warmup_updates": -1}, "warmup_updates"),
        ({"warmup_updates": 1.5}, "warmup_updates"),
        ({"decay_updates": 0}, "decay_updates"),
        ({"final_fraction": 1.5}, "final_fraction must be at most 1"),
        ({"final_fraction": -0.5}, "final_fraction"),
        ({"beta2": 1.0}, "beta2"),
        ({"eps": 0.0}, "eps"),
        ({"weight_decay": -1.0}, "weight_decay"),
        ({"grad_clip_norm": "1"}, "grad_clip_norm"),
        ({"kind": "linear", "warmup_updates": 5, "decay_updates": 5}, "ends after 5 updates"),
    ],
)
def test_a_field_that_is_wrong_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(TinkexError, match=says) as raised:
        Schedule(**fields)
    assert raised.value.kind == "validation"


def test_a_run_that_a_schedule_does_not_fit_is_refused() -> None:
    endless = Schedule(kind="cosine").check_for(None)
    assert endless is not None
    assert "must know where it ends" in str(endless)
    assert Schedule(kind="cosine", decay_updates=5).check_for(None) is None
    assert Schedule(kind="constant", warmup_updates=100).check_for(10) is None
    short = Schedule(kind="linear", warmup_updates=10).check_for(10)
    assert short is not None
    assert "warmup_updates is 10" in str(short)


@given(SCHEDULES, st.integers(3, 9), SCHEDULES, st.integers(3, 9))
def test_equal_settings_are_equal_parameters(one: Schedule, long: int, other: Schedule, longer: int) -> None:
    if one.settings(long) == other.settings(longer):
        common = range(min(long, longer))
        assert [one.adam_params(n, long) for n in common] == [other.adam_params(n, longer) for n in common]
