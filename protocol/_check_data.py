"""Can a loss be computed from this data? Decided here, before anything is sent."""

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from tinkex.protocol._blocks import blocks, joined
from tinkex.protocol._checks import check_text, is_finite_number, shown
from tinkex.protocol._datum import LIST_DTYPES, Datum
from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._tensor import TensorData

MAX_TOKEN: Final = 2**31 - 1
"""The wire's binary form carries tokens in 32 bits."""


class _Inputs(msgspec.Struct, frozen=True):
    required: tuple[str, ...]
    optional: tuple[str, ...]


_POLICY: Final = _Inputs(
    ("target_tokens", "logprobs", "advantages"), ("weights", "clip_low_threshold", "clip_high_threshold")
)
LOSS_INPUTS: Final[Mapping[str, _Inputs]] = {
    "cross_entropy": _Inputs(("target_tokens", "weights"), ()),
    "importance_sampling": _POLICY,
    "ppo": _POLICY,
    "cispo": _POLICY,
    "dro": _POLICY,
}
"""What each loss reads; a loss that is not named here is left to the server."""


def check_data(data: object, loss_fn: object, loss_fn_config: object = None) -> TinkexError | None:
    """Return what is wrong with the arguments of a forward or backward pass, or None. Pure; vectorised.

    The error names the place, such as ``data[3].loss_fn_inputs['weights']``.
    """
    error = check_text("loss_fn", loss_fn) or _check_config(loss_fn_config)
    if error is not None:
        return error
    if not isinstance(data, list | tuple):
        return validation(f"data must be a list of Datum, not {shown(data)}", field="data")
    entries = cast("list[object] | tuple[object, ...]", data)
    if not entries:
        return validation("data is empty", field="data")
    inputs = LOSS_INPUTS.get(cast("str", loss_fn))
    if inputs is not None and _all_good(entries, inputs):
        return None
    for index, datum in enumerate(entries):
        if not isinstance(datum, Datum):
            return validation(f"data[{index}] must be a Datum, not {shown(datum)}", field=f"data[{index}]")
        problem = _datum_problem(datum, cast("str", loss_fn), inputs)
        if problem is not None:
            field = f"data[{index}].{problem[0]}"
            return validation(f"{field} {problem[1]}", field=field)
    return None


def _check_config(config: object) -> TinkexError | None:
    if config is None:
        return None
    if not isinstance(config, Mapping):
        return validation(f"loss_fn_config must be a dict of numbers, not {shown(config)}", field="loss_fn_config")
    for name, value in cast("Mapping[object, object]", config).items():
        if not isinstance(name, str) or not name.isprintable():
            return validation(f"loss_fn_config must have keys of text, not {shown(name)}", field="loss_fn_config")
        if not is_finite_number(value):
            field = f"loss_fn_config[{name!r}]"
            return validation(f"{field} must be a finite number, not {shown(value)}", field=field)
    return None


def _all_good(entries: "list[object] | tuple[object, ...]", inputs: _Inputs) -> bool:
    """Whether nothing is wrong with any datum, seen without looking at each singly; what is wrong is not said."""
    required, known = frozenset(inputs.required), frozenset(inputs.required + inputs.optional)
    tokens: list[memoryview] = []
    floats: list[memoryview] = []
    for datum in entries:
        if not isinstance(datum, Datum):
            return False
        given = datum.loss_fn_inputs
        if not required <= given.keys() <= known:
            return False
        shape = given["target_tokens"].shape
        length = 0
        for chunk in datum.model_input.chunks:
            length += chunk.length
            tokens.append(chunk.tokens.buffer)
        if not length or not shape or shape[0] != length:
            return False
        for name, tensor in given.items():
            dtype = tensor.dtype
            if tensor.shape != shape or dtype != LIST_DTYPES[name]:
                return False
            (tokens if dtype == "int64" else floats).append(tensor.buffer)
    return _are_tokens(tokens) and _are_finite(floats)


def _are_tokens(buffers: list[memoryview]) -> bool:
    import numpy as np  # noqa: PLC0415 - only when first needed

    # Without its sign a negative number is larger than any token.
    return all(np.frombuffer(joined(run), np.uint64).max(initial=0) <= MAX_TOKEN for run in blocks(buffers))


def _are_finite(buffers: list[memoryview]) -> bool:
    import numpy as np  # noqa: PLC0415 - only when first needed

    return all(np.isfinite(np.frombuffer(joined(run), np.float32)).all() for run in blocks(buffers))


_Problem = tuple[str, str]


def _datum_problem(datum: Datum, loss_fn: str, inputs: _Inputs | None) -> _Problem | None:
    length = datum.model_input.length
    if length == 0:
        return "model_input", "has no tokens"
    for chunk_index, chunk in enumerate(datum.model_input.chunks):
        problem = _tokens_problem(chunk.tokens)
        if problem is not None:
            return f"model_input.chunks[{chunk_index}].tokens", problem
    if inputs is not None:
        misnamed = _names_problem(datum, loss_fn, inputs)
        if misnamed is not None:
            return misnamed
    for name, tensor in datum.loss_fn_inputs.items():
        if not name.isprintable():
            return f"loss_fn_inputs[{name!r}]", "must have a printable name"
        fault = _tensor_problem(name, tensor) or (None if inputs is None else _shape_problem(datum, name, length))
        if fault is not None:
            return f"loss_fn_inputs[{name!r}]", fault
    return None


def _names_problem(datum: Datum, loss_fn: str, inputs: _Inputs) -> _Problem | None:
    for name in inputs.required:
        if name not in datum.loss_fn_inputs:
            return f"loss_fn_inputs[{name!r}]", f"is missing; {loss_fn} needs {', '.join(inputs.required)}"
    for name in datum.loss_fn_inputs:
        if name not in inputs.required and name not in inputs.optional:
            known = ", ".join(inputs.required + inputs.optional)
            return f"loss_fn_inputs[{name!r}]", f"is not read by {loss_fn}, which knows {known}"
    return None


def _tensor_problem(name: str, tensor: TensorData) -> str | None:
    dtype = LIST_DTYPES.get(name)
    if dtype is not None and tensor.dtype != dtype:
        return f"must be {dtype}, not {tensor.dtype}"
    if name == "target_tokens":
        return _tokens_problem(tensor)
    return _finite_problem(tensor) if tensor.dtype == "float32" else None


def _shape_problem(datum: Datum, name: str, length: int) -> str | None:
    shape = datum.loss_fn_inputs[name].shape
    if not shape or shape[0] != length:
        return f"has shape {list(shape)}, but model_input has {length} tokens"
    targets = datum.loss_fn_inputs["target_tokens"].shape
    if shape != targets:
        return f"has shape {list(shape)}, but target_tokens has {list(targets)}"
    return None


def _tokens_problem(tensor: TensorData) -> str | None:
    if not len(tensor):
        return None
    values: Any = tensor.to_numpy()
    low, high = int(values.min()), int(values.max())
    if low < 0:
        return f"has the negative token {low}"
    return f"has the token {high}, beyond 32 bits" if high > MAX_TOKEN else None


def _finite_problem(tensor: TensorData) -> str | None:
    import numpy as np  # noqa: PLC0415 - only when first needed

    values = tensor.to_numpy().reshape(-1)
    finite = np.isfinite(values)
    if bool(finite.all()):
        return None
    where = int(finite.argmin())
    return f"has {values[where]} at index {where}; it must be finite"
