"""Rows become data whose summed loss is the mean of a learned token, however they are divided."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._programs._examples import Example, digest_examples, make_micro_batches
from tinkex.protocol import TinkexError, check_data

WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 3.0])
ROWS = st.lists(st.integers(0, 300), min_size=1, max_size=6).flatmap(
    lambda tokens: st.builds(
        Example, st.just(tokens), st.none() | st.lists(WEIGHTS, min_size=len(tokens), max_size=len(tokens))
    )
)


def weights_of(micro_batches: Any) -> list[list[float]]:
    return [datum.loss_fn_inputs["weights"].tolist() for micro_batch in micro_batches for datum in micro_batch]


def test_a_row_predicts_each_next_token() -> None:
    (batch,) = make_micro_batches([Example([5, 6, 7, 8], [1.0, 0.0, 1.0, 1.0])], 1)
    (datum,) = batch
    assert datum.model_input.to_ints() == [5, 6, 7]
    assert datum.loss_fn_inputs["target_tokens"].tolist() == [6, 7, 8]
    assert datum.loss_fn_inputs["weights"].tolist() == [0.0, 0.5, 0.5]


@given(st.lists(ROWS, min_size=1, max_size=7), st.integers(1, 8), st.sampled_from([None, 2, 4]))
def test_the_weights_of_all_passes_of_an_update_add_up_to_one(
    examples: list[Example], size: int, max_tokens: int | None
) -> None:
    divided = make_micro_batches(examples, size, max_tokens)
    assert all(check_data(micro_batch, "cross_entropy") is None for micro_batch in divided)
    assert [len(micro_batch) for micro_batch in divided[:-1]] == [size] * (len(divided) - 1)
    weights = weights_of(divided)
    assert weights == weights_of(make_micro_batches(examples, 100, max_tokens)), "division changes no weight"
    learned = any(
        weight > 0
        for example in examples
        for weight in ([1.0] * len(example) if example.weights is None else example.weights.tolist())[1:max_tokens]
    )
    assert sum(map(sum, weights)) == pytest.approx(1.0 if learned else 0.0, abs=1e-5)


def test_tokens_beyond_the_most_are_cut_off_and_count_for_nothing() -> None:
    (batch,) = make_micro_batches([Example([1, 2, 3, 4]), Example([1, 2])], 2, 3)
    assert [datum.model_input.to_ints() for datum in batch] == [[1, 2], [1]]
    assert weights_of([batch]) == [[pytest.approx(1 / 3)] * 2, [pytest.approx(1 / 3)]]


def test_rows_that_teach_nothing_are_sent_and_change_nothing() -> None:
    nothing = [Example([9]), Example([1, 2, 3], [1.0, 0.0, 0.0])]
    assert weights_of(make_micro_batches(nothing, 2)) == [[0.0], [0.0, 0.0]]
    assert weights_of(make_micro_batches([*nothing, Example([1, 2])], 3)) == [[0.0], [0.0, 0.0], [1.0]]


def test_lists_and_arrays_make_the_same_row() -> None:
    listed = Example([1, 2], [0.0, 0.5])
    arrays = Example(np.array([1, 2]), np.array([0.0, 0.5]))
    assert listed == arrays
    assert digest_examples([listed]) == digest_examples([arrays])
    assert len(listed) == 2


@pytest.mark.parametrize(
    ("tokens", "weights", "says"),
    [
        ([], None, "tokens is empty"),
        ([1, 2], [1.0], "weights has 1 numbers for 2 tokens"),
        ([1, 2], [1.0, -1.0], "at least 0"),
        ([1, 2], [1.0, float("nan")], "at least 0"),
        ([1, 2], [1.0, float("inf")], "at least 0"),
        ([[1, 2]], None, "one list of numbers"),
        ([1.5], None, "tokens: "),
        ("ab", None, "tokens: "),
        ([1], [[1.0]], "one list of numbers"),
    ],
)
def test_a_row_that_is_none_is_refused(tokens: Any, weights: Any, says: str) -> None:
    with pytest.raises(TinkexError, match=says) as raised:
        Example(tokens, weights)
    assert raised.value.kind == "validation"


def test_the_digest_differs_where_what_is_trained_on_does() -> None:
    rows = [
        [Example([1, 2, 3])],
        [Example([1, 2]), Example([3])],
        [Example([1]), Example([2, 3])],
        [Example([3]), Example([1, 2])],
        [Example([1, 2, 4])],
        [Example([1, 2, 3], [1.0, 1.0, 0.0])],
        [Example([1, 2, 3], [1.0, 0.0, 1.0])],
        [],
    ]
    assert len({digest_examples(examples) for examples in rows}) == len(rows)
    assert digest_examples([Example([1, 2, 3])]) == digest_examples([Example([1, 2, 3], [0.0, 1.0, 1.0])]), (
        "the first token's weight counts for nothing"
    )
    assert digest_examples(rows[0]) == "a6ca71f99a232c20dd03bdf9de3f7eda", "the same on every machine"
