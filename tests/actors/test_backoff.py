"""How long to wait: the arithmetic of repeats."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tinkex.actors._transport import full_jitter, retry_after
from tinkex.actors._transport._backoff import CAP_SECONDS, FLOOR_SECONDS


@given(st.integers(0, 10_000), st.integers())
def test_jitter_is_never_zero_and_never_above_the_cap(failures: int, seed: int) -> None:
    assert FLOOR_SECONDS <= full_jitter(failures, random.Random(seed)) <= CAP_SECONDS


def test_the_bound_doubles_with_each_failure() -> None:
    longest = [max(full_jitter(failures, random.Random(seed)) for seed in range(300)) for failures in (1, 2, 3)]
    assert longest[0] <= 0.5 < longest[1] <= 1.0 < longest[2] <= 2.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:30 GMT"}, 20.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "1e9"}, 300.0),
    ],
)
def test_a_servers_hint_is_read_and_cut_to_sense(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=10.0) == seconds
