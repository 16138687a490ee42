import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.protocol import AdamParams, LoraConfig


@given(st.integers(1, 1024), st.none() | st.integers(0, 2**63 - 1), st.booleans(), st.booleans(), st.booleans())
def test_a_good_adapter_passes_unless_it_trains_nothing(
    rank: int, seed: int | None, mlp: bool, attn: bool, unembed: bool
) -> None:
    error = LoraConfig(rank, seed, mlp, attn, unembed).check()
    assert (error is None) == (mlp or attn or unembed)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"rank": 0}, "rank must be a whole number from 1 to 1024, not 0"),
        ({"rank": -1}, "rank must be"),
        ({"rank": 1025}, "rank must be"),
        ({"rank": 8.0}, "rank must be .* not 8.0"),
        ({"rank": True}, "rank must be .* not True"),
        ({"rank": "8"}, "rank must be"),
        ({"rank": None}, "rank must be"),
        ({"seed": -1}, "seed must be"),
        ({"seed": 1.5}, "seed must be"),
        ({"seed": False}, "seed must be"),
        ({"seed": 2**63}, "seed must be"),
        ({"train_mlp": 1}, "train_mlp must be True or False, not 1"),
        ({"train_attn": None}, "train_attn must be True or False, not None"),
        ({"train_unembed": "yes"}, "train_unembed must be True or False"),
        ({"train_mlp": False, "train_attn": False, "train_unembed": False}, "nothing would be trained"),
    ],
)
def test_a_bad_adapter_is_refused_by_name(fields: dict[str, Any], why: str) -> None:
    error = LoraConfig(**fields).check()
    assert error is not None
    assert error.user_error
    assert re.search(why, error.message), error.message


def test_the_defaults_are_the_wires() -> None:
    assert LoraConfig() == LoraConfig(32, None, train_mlp=True, train_attn=True, train_unembed=True)
    assert AdamParams() == AdamParams(0.0001, 0.9, 0.95, 1e-12, 0.0, 0.0)
    assert LoraConfig().check() is None
    assert AdamParams().check() is None


@pytest.mark.parametrize(
    "params",
    [
        AdamParams(learning_rate=0.0),
        AdamParams(learning_rate=1),
        AdamParams(beta1=0.0, beta2=0.0),
        AdamParams(beta1=0.999999, beta2=0.999999),
        AdamParams(weight_decay=0.1, grad_clip_norm=1e9),
    ],
)
def test_good_steps_pass(params: AdamParams) -> None:
    assert params.check() is None


NOT_FINITE_NUMBERS: list[Any] = [math.nan, math.inf, -math.inf, "1e-4", None, True, 10**400, [0.1], 1j]


@pytest.mark.parametrize("name", ["learning_rate", "beta1", "beta2", "eps", "weight_decay", "grad_clip_norm"])
@pytest.mark.parametrize("value", [*NOT_FINITE_NUMBERS, -1e-9])
def test_each_field_of_a_step_is_a_finite_number_from_zero(name: str, value: Any) -> None:
    error = AdamParams(**{name: value}).check()
    assert error is not None
    assert error.message.startswith(f"{name} must be a finite number")
    assert error.data["field"] == name


@pytest.mark.parametrize("fields", [{"beta1": 1.0}, {"beta2": 1.5}, {"eps": 0.0}])
def test_steps_that_would_divide_by_zero_are_refused(fields: dict[str, float]) -> None:
    assert AdamParams(**fields).check() is not None
