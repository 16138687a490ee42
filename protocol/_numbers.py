"""From lists and arrays of numbers to one read-only buffer. No loop of Python code over single numbers."""

import math
import struct
import sys
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn, cast

import msgspec

from tinkex.protocol._errors import validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

Dtype = Literal["float32", "int64"]

CODES: Final[dict[Dtype, Literal["f", "q"]]] = {"float32": "f", "int64": "q"}
"""The buffer formats of the two types, in the machine's byte order."""

_PACKING: Final[dict[Dtype, str]] = {"float32": "=", "int64": "@"}
_INTS: Final = list[int]
_FLOATS: Final = list[float]
_MAX_DEPTH: Final = 32
_NESTING: Final = frozenset({list, tuple})
_EMPTY: Final = memoryview(b"")


class Numbers(NamedTuple):
    """A read-only buffer of bytes, what it holds, and its shape."""

    buffer: memoryview
    dtype: Dtype
    shape: tuple[int, ...]


def read_list(data: "Sequence[Any]", dtype: Dtype | None) -> Numbers:
    """Read (nested) lists or tuples of ints and floats.

    Raises:
        TinkexError: kind ``validation``.
    """
    quick = _read_flat(data, dtype)
    if quick is not None:
        return quick
    flat, shape, kinds = _flatten(data)
    if not kinds <= {int, float}:
        flat = _plain(flat, kinds)
        kinds = set(map(type, flat))
    if dtype is None:
        dtype = "int64" if kinds == {int} else "float32"
    if dtype == "int64" and float in kinds:
        raise validation("int64 data must be whole numbers without a decimal point")
    try:
        values = array(CODES[dtype], flat)
    except OverflowError:
        _refuse_size(dtype)
    if dtype == "float32":
        _check_overflow(flat, values)
    return Numbers(_freeze(values), dtype, shape)


def _read_flat(data: "Sequence[Any]", dtype: Dtype | None) -> Numbers | None:
    """Read one flat list of ints and floats that fit; None where it is anything else, which is looked at singly."""
    if not data:
        return None
    if dtype != "float32":
        ints = _all_of(data, _INTS)
        if ints is not None or dtype == "int64":
            return None if ints is None else _packed(ints, "int64")
    floats = _all_of(data, _FLOATS)
    return None if floats is None else _packed(floats, "float32")


def _all_of(data: "Sequence[Any]", kind: Any) -> list[Any] | None:
    # msgspec looks at each type in a fifth of the time that set(map(type, data)) takes.
    try:
        return cast("list[Any]", msgspec.convert(data, kind))
    except msgspec.ValidationError:
        return None


def _packed(numbers: list[Any], dtype: Dtype) -> Numbers | None:
    # struct writes numbers in a third of the time that an array takes; in "=" it refuses what is too large for "f".
    try:
        buffer = struct.pack(f"{_PACKING[dtype]}{len(numbers)}{CODES[dtype]}", *numbers)
    except (struct.error, OverflowError):
        return None
    return Numbers(memoryview(buffer), dtype, (len(numbers),))


def read_array(data: Any, dtype: Dtype | None) -> Numbers:
    """Read a NumPy array, a torch tensor, or anything else that NumPy reads as an array of numbers.

    Raises:
        TinkexError: kind ``validation``.
    """
    source = data if _is_plain_array(data) else _as_numpy(data)
    if dtype is None:
        dtype = "float32" if source.dtype.kind == "f" else "int64"
    kind = source.dtype.kind
    if kind not in "fiu" or (dtype == "int64" and kind == "f"):
        raise validation(f"an array of {source.dtype} cannot be a tensor of {dtype}; convert it first")
    return Numbers(_own(source, dtype), dtype, source.shape)


def _own(source: "np.ndarray[Any, Any]", dtype: Dtype) -> memoryview:
    """Return the numbers as ``dtype`` in C order where nobody can write to them: the same memory if it may be."""
    import numpy as np  # noqa: PLC0415 - only when first needed

    if source.dtype == (np.float32 if dtype == "float32" else np.int64):
        flags = source.flags
        return _freeze(source) if flags.c_contiguous and not flags.writeable else memoryview(source.tobytes())
    if dtype == "int64" and source.dtype.kind == "u" and source.size and int(source.max()) >= 2**63:
        _refuse_size(dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        owned = np.array(source, dtype=dtype, order="C", copy=True)
    if dtype == "float32" and source.dtype.itemsize > 4 and bool((np.isinf(owned) & np.isfinite(source)).any()):  # noqa: PLR2004 - bytes
        _refuse_size(dtype)
    return _freeze(owned)


def _as_numpy(data: Any) -> "np.ndarray[Any, Any]":
    if _is_torch(data):
        return _from_torch(data)
    if isinstance(data, str | bytes | bytearray) or not (
        hasattr(data, "__array__") or isinstance(data, array | memoryview)
    ):
        raise validation(f"a tensor is made of lists of numbers, a NumPy array or a torch tensor, not {_name(data)}")
    import numpy as np  # noqa: PLC0415 - only when first needed

    if isinstance(data, np.ma.MaskedArray):
        raise validation("a masked array cannot be a tensor; fill it first")
    return np.asarray(data)


def _is_plain_array(data: Any) -> bool:
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(data) is getattr(numpy, "ndarray", None)


def _is_torch(data: Any) -> bool:
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(data).__mro__)


def _from_torch(tensor: Any) -> "np.ndarray[Any, Any]":
    if str(tensor.layout) != "torch.strided":
        raise validation(f"a torch tensor of layout {tensor.layout} cannot be a tensor; call to_dense() first")
    if tensor.is_floating_point() and str(tensor.dtype) not in {"torch.float16", "torch.float32", "torch.float64"}:
        tensor = tensor.detach().float()
    return cast("np.ndarray[Any, Any]", tensor.numpy(force=True))


def _flatten(data: "Sequence[Any]") -> "tuple[Sequence[Any], tuple[int, ...], set[type[Any]]]":
    flat: Sequence[Any] = data
    shape = [len(data)]
    while (kinds := set(map(type, flat))) & _NESTING:
        if not kinds <= _NESTING:
            raise validation("the lists are ragged: numbers stand beside lists")
        lengths = set(map(len, flat))
        if len(lengths) != 1:
            raise validation(f"the lists are ragged: their lengths are from {min(lengths)} to {max(lengths)}")
        if len(shape) == _MAX_DEPTH:
            raise validation(f"the lists are nested more than {_MAX_DEPTH} deep")
        shape.append(lengths.pop())
        flat = list(chain.from_iterable(flat))
    return flat, tuple(shape), kinds


def _plain(flat: "Sequence[Any]", kinds: set[type[Any]]) -> list[Any]:
    """Return NumPy's scalars and subclasses of int and float as plain ints and floats."""
    for kind in kinds:
        if issubclass(kind, bool) or not (issubclass(kind, int | float) or _is_numpy_number(kind)):
            raise validation(f"a tensor holds numbers, not {kind.__name__}")
    return [value.item() if hasattr(value, "item") else _plain_number(value) for value in flat]


def _is_numpy_number(kind: type[Any]) -> bool:
    return any(base.__module__ == "numpy" and base.__name__ in {"integer", "floating"} for base in kind.__mro__)


def _plain_number(value: float) -> int | float:
    return int(value) if isinstance(value, int) else float(value)


def _check_overflow(flat: "Sequence[Any]", values: "array[Any]") -> None:
    # Any infinity or NaN makes the sum one; float32 values are too small for their sum to overflow a double.
    if math.isfinite(sum(values)):
        return
    if any(math.isinf(value) and math.isfinite(given) for given, value in zip(flat, values, strict=True)):
        _refuse_size("float32")


def _freeze(values: "array[Any] | np.ndarray[Any, Any]") -> memoryview:
    flat: Any = values if isinstance(values, array) else values.reshape(-1)
    return memoryview(flat).toreadonly().cast("B") if len(flat) else _EMPTY


def _refuse_size(dtype: Dtype) -> NoReturn:
    raise validation(f"a number is too large for {dtype}")


def _name(data: object) -> str:
    return type(data).__name__
