"""Splitting a call, and joining its results."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tinkex.actors._training._chunks import MAX_BYTES, MAX_DATUMS, chunk_data, combine, estimate_bytes
from tinkex.protocol import Datum, ModelInput, TensorData
from tinkex.protocol.replies import ForwardBackwardOutput


def datum(length: int) -> Datum:
    tokens = [1] * length
    return Datum(ModelInput.from_ints(tokens), {"target_tokens": tokens, "weights": [1.0] * length})


def output(count: int, **metrics: float) -> ForwardBackwardOutput:
    outputs = [{"logprobs": TensorData([float(index)])} for index in range(count)]
    return ForwardBackwardOutput(
        "TorchLossReturn", outputs, {name.replace("_", ":"): metrics[name] for name in metrics}
    )


SMALL, LARGE = datum(4), datum(100_000)
HUGE = datum(200_000)


@given(st.lists(st.sampled_from([SMALL, LARGE, HUGE]), max_size=30))
def test_chunks_hold_all_datums_in_order_within_the_limits(data: list[Datum]) -> None:
    chunks = chunk_data(data)
    assert [item for chunk in chunks for item in chunk] == data
    for chunk in chunks:
        assert 1 <= len(chunk) <= MAX_DATUMS
        assert len(chunk) == 1 or sum(map(estimate_bytes, chunk)) <= MAX_BYTES


def test_a_chunk_holds_at_most_1024_datums() -> None:
    assert [len(chunk) for chunk in chunk_data([SMALL] * 2050)] == [1024, 1024, 2]


def test_a_first_datum_above_the_limit_goes_alone_with_no_empty_chunk_before_it() -> None:
    assert chunk_data([HUGE, SMALL]) == [[HUGE], [SMALL]]


def test_one_result_is_passed_on_as_it_is() -> None:
    only = output(2, loss_sum=1.0)
    assert combine([only]) is only


def test_outputs_are_joined_in_order_and_metrics_reduced_by_their_rule() -> None:
    joined = combine(
        [
            output(
                1, loss_sum=1.0, a_mean=1.0, b_max=1.0, c_min=1.0, d_slack=1.0, e_unique=1.0, f_hash2=3.0, g_odd=1.0
            ),
            output(
                3, loss_sum=2.0, a_mean=5.0, b_max=9.0, c_min=9.0, d_slack=5.0, e_unique=2.0, f_hash2=4.0, g_odd=1.0
            ),
        ]
    )
    assert len(joined.loss_fn_outputs) == 4
    assert joined.metrics == pytest.approx(
        {
            "loss:sum": 3.0,
            "a:mean": 4.0,
            "b:max": 9.0,
            "c:min": 1.0,
            "d:slack": 1.0,
            "e:unique": 1.0,
            "e:unique_1": 2.0,
            "f:hash2": 7.0,
        }
    )


def test_a_metric_that_a_chunk_lacks_is_left_out_and_no_weight_is_no_division() -> None:
    assert combine([output(0, a_mean=2.0, b_sum=1.0), output(0, a_mean=4.0)]).metrics == {"a:mean": 0.0}


def test_a_hash_that_is_no_number_is_left_out() -> None:
    results = [ForwardBackwardOutput("t", [{}], {"x:hash2": value, "y:sum": 1.0}) for value in (1.0, float("nan"))]
    assert combine(results).metrics == {"y:sum": 2.0}
