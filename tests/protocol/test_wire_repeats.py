"""Runs of equal numbers are written in JSON as if each number had been written."""

import math
from itertools import groupby
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_protocol import lines_run
from tinkex.protocol import Datum, ModelInput, TensorData, wire
from tinkex.protocol.wire._repeats import MAX_RUNS, MIN_VALUES, runs

NUMBERS = st.sampled_from([0.0, -0.0, 1.0, 0.1, 1e-45, 3.4e38, math.nan, math.inf, -math.inf])
RUNS = st.lists(st.tuples(NUMBERS, st.integers(1, 70)), max_size=MAX_RUNS + 2)


def spelt(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def plain(values: list[float], name: str) -> bytes:
    tensor = {"data": [spelt(value) for value in values], "dtype": "float32", "shape": [len(values)]}
    return msgspec.json.encode({"model_input": {"chunks": []}, "loss_fn_inputs": {name: tensor}})


@given(RUNS)
def test_the_text_is_that_of_each_number(drawn: list[tuple[float, int]]) -> None:
    values: list[float] = np.repeat(
        np.array([value for value, _ in drawn], np.float32), [count for _, count in drawn]
    ).tolist()
    datum = Datum(ModelInput([]), {"weights": TensorData(values, "float32")})
    assert wire.encode(datum) == plain(values, "weights")


@given(RUNS, st.sampled_from([4, 8]))
def test_runs_are_found_as_they_are(drawn: list[tuple[float, int]], width: int) -> None:
    kind: Any = np.float32 if width == 4 else np.float64
    values = np.repeat(np.array([value for value, _ in drawn], kind), [count for _, count in drawn])
    bits = values.view(np.int32 if width == 4 else np.int64).tolist()
    counts = [len(list(group)) for _, group in groupby(bits)]
    begins = np.cumsum([0, *counts]).tolist()
    found = runs(values.tobytes(), width)
    if found is not None:
        assert found == list(zip(begins, counts, strict=False))
    else:
        assert len(counts) > MAX_RUNS or (counts[0] == 1 and counts[-1] == 1)


@pytest.mark.parametrize("values", [[0.0] * 700 + [1.0] * 1300, [0.5] * 5000, [0.0, 0.0, *[1.0] * 999, 0.0]])
def test_a_mask_is_written_in_as_few_lines_whatever_its_length(values: list[float]) -> None:
    def work(times: int) -> int:
        datum = Datum(ModelInput([]), {"weights": TensorData([value for value in values for _ in range(times)])})
        return lines_run(lambda: wire.encode(datum))

    assert work(8) < work(1) + 100


def test_few_numbers_and_numbers_that_do_not_repeat_are_no_runs() -> None:
    assert runs(np.arange(100, dtype=np.float32).tobytes(), 4) is None
    assert runs(np.repeat(np.arange(9, dtype=np.float32), 2).tobytes(), 4) is None
    few = Datum(ModelInput([]), {"weights": TensorData([1.0] * (MIN_VALUES - 1))})
    assert wire.encode(few) == plain([1.0] * (MIN_VALUES - 1), "weights")
