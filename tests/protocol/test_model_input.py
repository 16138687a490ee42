import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_protocol import int64s
from tinkex.protocol import EncodedTextChunk, ModelInput, TensorData, TinkexError


@given(st.lists(int64s))
def test_tokens_go_in_and_come_out(tokens: list[int]) -> None:
    model_input = ModelInput.from_ints(tokens)
    assert model_input.to_ints() == tokens
    assert model_input.length == len(tokens)


@given(st.lists(st.lists(st.integers(0, 99)), max_size=4))
def test_chunks_follow_one_another(parts: list[list[int]]) -> None:
    model_input = ModelInput([EncodedTextChunk(part) for part in parts])
    assert model_input.to_ints() == [token for part in parts for token in part]
    assert model_input.length == sum(map(len, parts))


def test_arrays_are_tokens_too() -> None:
    assert ModelInput.from_ints(np.array([1, 2], dtype=np.int32)).to_ints() == [1, 2]
    assert ModelInput.from_ints(TensorData([1, 2])).to_ints() == [1, 2]
    assert ModelInput.from_ints((1, 2)).to_ints() == [1, 2]


def test_a_chunk_exposes_its_tokens_as_a_tensor() -> None:
    chunk = EncodedTextChunk([1, 2, 3])
    assert chunk.tokens == TensorData([1, 2, 3])
    assert chunk.length == 3


@pytest.mark.parametrize("tokens", [[1.5], ["a"], [[1], [2]], None, 3, "text", [True], [2**63], np.array([1.0])])
def test_what_is_no_list_of_ints_is_refused(tokens: Any) -> None:
    with pytest.raises(TinkexError, match="tokens") as caught:
        ModelInput.from_ints(tokens)
    assert caught.value.kind == "validation"


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ([1, 2, 3], r"chunks\[0\] is int"),
        ([EncodedTextChunk([1]), b"png"], r"chunks\[1\] is bytes; .* no images"),
        (None, "list of EncodedTextChunk, not NoneType"),
        ("abc", "not str"),
        (EncodedTextChunk([1]), "not EncodedTextChunk"),
    ],
)
def test_only_chunks_of_text_are_taken(chunks: Any, why: str) -> None:
    with pytest.raises(TinkexError, match=why):
        ModelInput(chunks)


def test_inputs_and_chunks_are_values() -> None:
    model_input = ModelInput.from_ints([1, 2])
    assert model_input == ModelInput.from_ints([1, 2])
    assert model_input != ModelInput.from_ints([1, 3])
    assert hash(model_input) == hash(ModelInput.from_ints([1, 2]))
    for twin in (copy.copy(model_input), copy.deepcopy(model_input), pickle.loads(pickle.dumps(model_input))):
        assert twin == model_input
    chunk = model_input.chunks[0]
    assert copy.copy(chunk) is chunk
    assert copy.deepcopy(chunk) is chunk
    assert chunk != [1, 2]
    assert repr(chunk) == "EncodedTextChunk(2 tokens)"


def test_the_givers_list_of_chunks_is_not_kept() -> None:
    chunks = [EncodedTextChunk([1])]
    model_input = ModelInput(chunks)
    chunks.clear()
    assert model_input.length == 1
