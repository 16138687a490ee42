"""One example: what the model reads, and what the loss needs beside it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from msgspec.structs import force_setattr

from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._model_input import ModelInput
from tinkex.protocol._numbers import Dtype
from tinkex.protocol._tensor import TensorData, TensorInput

LIST_DTYPES: Final[Mapping[str, Dtype]] = {
    "target_tokens": "int64",
    "weights": "float32",
    "advantages": "float32",
    "logprobs": "float32",
    "clip_low_threshold": "float32",
    "clip_high_threshold": "float32",
}
"""The type that lists and arrays get under a known key; under other keys an array's own type is kept."""


class Datum(msgspec.Struct, frozen=True):
    """One example of a batch.

    ``loss_fn_inputs`` may be given as ``TensorData``, arrays or lists; each is a ``TensorData`` afterwards. A list is
    of the type that its key has (``target_tokens`` int64; ``weights``, ``advantages``, ``logprobs``,
    ``clip_low_threshold`` and ``clip_high_threshold`` float32); under another key it must be an array.

    Raises:
        TinkexError: kind ``validation``, naming the field.
    """

    model_input: ModelInput
    loss_fn_inputs: dict[str, TensorData]

    if TYPE_CHECKING:

        def __init__(self, model_input: ModelInput, loss_fn_inputs: Mapping[str, TensorInput]) -> None: ...

    def __post_init__(self) -> None:
        model_input, inputs = cast("Any", self.model_input), cast("Any", self.loss_fn_inputs)
        if not isinstance(model_input, ModelInput):
            raise validation(f"model_input must be a ModelInput, not {type(model_input).__name__}")
        if not isinstance(inputs, dict | Mapping):  # a dict is found to be one sooner
            raise validation(f"loss_fn_inputs must be a dict of tensors, not {type(inputs).__name__}")
        tensors: dict[str, TensorData] = {}
        for name, value in cast("Mapping[object, Any]", inputs).items():
            if not isinstance(name, str):
                raise validation(f"loss_fn_inputs must have keys of text, not {name!r}")
            tensors[name] = value if type(value) is TensorData else _tensor(name, value)
        force_setattr(self, "loss_fn_inputs", tensors)


def _tensor(name: str, value: Any) -> TensorData:
    if isinstance(value, TensorData):
        return value
    dtype = LIST_DTYPES.get(name)
    if dtype is None and isinstance(value, list | tuple):
        raise validation(f"loss_fn_inputs[{name!r}]: a list has no type here; pass a TensorData or an array")
    try:
        return TensorData(value, dtype)
    except TinkexError as error:
        raise validation(f"loss_fn_inputs[{name!r}]: {error.message}") from error
