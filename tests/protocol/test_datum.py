import math
import pickle
from typing import Any

import numpy as np
import pytest

from support_protocol import datum
from tinkex.protocol import Datum, ModelInput, TensorData, TinkexError

TOKENS = ModelInput.from_ints([1, 2, 3])


@pytest.mark.parametrize(
    ("key", "dtype"),
    [
        ("target_tokens", "int64"),
        ("weights", "float32"),
        ("advantages", "float32"),
        ("logprobs", "float32"),
        ("clip_low_threshold", "float32"),
        ("clip_high_threshold", "float32"),
    ],
)
def test_the_key_decides_the_type_of_a_list(key: str, dtype: str) -> None:
    built = Datum(TOKENS, {key: [1, 2, 3]})
    assert built.loss_fn_inputs[key].dtype == dtype
    assert built.loss_fn_inputs[key].tolist() == [1, 2, 3]


def test_arrays_and_tensors_are_taken_under_any_key() -> None:
    tensor = TensorData([1.0])
    built = Datum(TOKENS, {"mask": np.array([1, 0, 1]), "own": tensor, "weights": np.array([1, 1, 0])})
    assert built.loss_fn_inputs["own"] is tensor
    assert built.loss_fn_inputs["mask"].dtype == "int64"
    assert built.loss_fn_inputs["weights"].dtype == "float32"


def test_nan_is_no_matter_of_the_datum() -> None:
    assert math.isnan(Datum(TOKENS, {"weights": [math.nan]}).loss_fn_inputs["weights"].tolist()[0])


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"mask": [1, 0]}, r"loss_fn_inputs\['mask'\]: a list has no type here"),
        ({"weights": [[1], [1, 2]]}, r"loss_fn_inputs\['weights'\]: the lists are ragged"),
        ({"weights": None}, r"loss_fn_inputs\['weights'\]: .*not NoneType"),
        ({"weights": "abc"}, r"loss_fn_inputs\['weights'\]: .*not str"),
        ({"target_tokens": [1.5]}, r"loss_fn_inputs\['target_tokens'\]: int64 data must be whole"),
        ({"target_tokens": np.array([1.5])}, r"loss_fn_inputs\['target_tokens'\]: an array of float64"),
        ({3: [1]}, "keys of text, not 3"),
        ([1], "dict of tensors, not list"),
        (None, "dict of tensors, not NoneType"),
    ],
)
def test_a_bad_input_is_refused_by_name(inputs: Any, why: str) -> None:
    with pytest.raises(TinkexError, match=why) as caught:
        Datum(TOKENS, inputs)
    assert caught.value.kind == "validation"


@pytest.mark.parametrize("model_input", [None, [1, 2], "text"])
def test_the_model_input_is_one(model_input: Any) -> None:
    with pytest.raises(TinkexError, match="model_input must be a ModelInput"):
        Datum(model_input, {})


def test_a_datum_is_a_value_of_its_own() -> None:
    given = {"weights": TensorData([1.0])}
    built = Datum(TOKENS, given)
    given.clear()
    assert list(built.loss_fn_inputs) == ["weights"]
    assert datum() == datum()
    assert datum() != datum(weights=[1.0, 1.0, 1.0])
    assert pickle.loads(pickle.dumps(datum())) == datum()
    with pytest.raises(AttributeError):
        built.model_input = TOKENS  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]
