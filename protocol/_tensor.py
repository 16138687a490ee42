"""Numbers of one type, as one buffer from the caller to the socket."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, Union, cast, get_args

from tinkex.protocol._errors import validation
from tinkex.protocol._numbers import CODES, Dtype, read_array, read_list

if TYPE_CHECKING:
    import numpy as np

TensorInput: TypeAlias = Union["TensorData", Sequence[Any], "np.ndarray[Any, Any]", Any]
"""A tensor, (nested) lists of numbers, a NumPy array or a torch tensor."""

_DTYPES: Final = get_args(Dtype)
ITEM_BYTES: Final[Mapping[Dtype, int]] = {"float32": 4, "int64": 8}


class TensorData:
    """An immutable tensor of ``float32`` or ``int64``, held as one C-contiguous read-only buffer.

    A read-only, C-contiguous NumPy array of the right type is taken as it is, without a copy; anything else is copied
    once. NumPy is imported only for arrays, torch never.

    Args:
        data: numbers in (nested) lists or tuples, a NumPy array, a torch tensor, or another ``TensorData``.
        dtype: None takes ``int64`` for integers and ``float32`` for everything else.
        shape: None takes the shape of ``data``; otherwise of the same size.

    Raises:
        TinkexError: kind ``validation``: ragged lists, numbers that are none or do not fit, another size than
            ``shape`` says.
    """

    __slots__ = ("_buffer", "_dtype", "_shape")

    _buffer: memoryview
    _dtype: Dtype
    _shape: tuple[int, ...]

    def __init__(self, data: TensorInput, dtype: Dtype | None = None, shape: Sequence[int] | None = None) -> None:
        if dtype is not None and dtype not in _DTYPES:
            raise validation(f"dtype must be one of {', '.join(_DTYPES)}, not {dtype!r}")
        if isinstance(data, TensorData) and dtype in (None, data.dtype):
            buffer, kind, own = data.buffer, data.dtype, data.shape
        elif isinstance(data, list | tuple):
            buffer, kind, own = read_list(data, dtype)  # pyright: ignore[reportUnknownArgumentType]
        else:
            buffer, kind, own = read_array(data.to_numpy() if isinstance(data, TensorData) else data, dtype)
        self._buffer = buffer
        self._dtype = kind
        self._shape = own if shape is None else _reshaped(own, shape)

    @classmethod
    def from_buffer(cls, buffer: bytes | memoryview, dtype: Dtype, shape: Sequence[int] | None = None) -> Self:
        """Wrap C-ordered bytes in the machine's byte order, without a copy; None for ``shape`` is one dimension.

        Raises:
            TinkexError: kind ``validation``, where the bytes are not as many as ``shape`` says.
        """
        view = memoryview(buffer).toreadonly().cast("B") if len(buffer) else memoryview(b"")
        count, rest = divmod(len(view), ITEM_BYTES[dtype])
        if rest:
            raise validation(f"{len(view)} bytes are no whole number of {dtype} values")
        self = cls.__new__(cls)
        self._buffer = view
        self._dtype = dtype
        self._shape = (count,) if shape is None else _reshaped((count,), shape)
        return self

    @classmethod
    def split(cls, buffer: bytes, dtype: Dtype, lengths: Sequence[int], trailing: tuple[int, ...] = ()) -> list[Self]:
        """Wrap the tensors that lie behind each other in ``buffer``, without a copy.

        Args:
            buffer: C-ordered bytes in the machine's byte order.
            dtype: of all of them.
            lengths: the bytes of each, whole numbers of rows, as many together as ``buffer`` has; not checked.
            trailing: the shape of a row.
        """
        view = memoryview(buffer)
        row = ITEM_BYTES[dtype] * prod(trailing)
        new = cls.__new__
        tensors: list[Self] = []
        begin, last, shape = 0, 0, (0, *trailing)
        for length in lengths:
            if length != last:
                last, shape = length, (length // row, *trailing)
            self = new(cls)
            self._buffer = view[begin : begin + length]
            self._dtype = dtype
            self._shape = shape
            tensors.append(self)
            begin += length
        return tensors

    @property
    def buffer(self) -> memoryview:
        """The values in C order: read-only bytes."""
        return self._buffer

    @property
    def dtype(self) -> Dtype:
        """``float32`` or ``int64``."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each dimension."""
        return self._shape

    def tolist(self) -> list[Any]:
        """Return the values as a flat list of floats or ints, in C order."""
        return self._buffer.cast(CODES[self._dtype]).tolist()

    def to_numpy(self) -> "np.ndarray[Any, Any]":
        """Return the values as a shaped read-only array over the same memory."""
        import numpy as np  # noqa: PLC0415 - only when first needed

        return np.frombuffer(self._buffer, dtype=self._dtype).reshape(self._shape)

    def __len__(self) -> int:
        return len(self._buffer) // ITEM_BYTES[self._dtype]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorData):
            return NotImplemented
        return (self._dtype, self._shape, self._buffer) == (other._dtype, other._shape, other._buffer)

    def __hash__(self) -> int:
        return hash((self._dtype, self._shape, bytes(self._buffer)))

    def __repr__(self) -> str:
        return f"TensorData({self._dtype}, shape={self._shape})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_buffer, (bytes(self._buffer), self._dtype, self._shape)


def _reshaped(own: tuple[int, ...], shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list | tuple) or not all(
        type(size) is int and size >= 0 for size in cast("list[Any]", shape)
    ):
        raise validation(f"shape must be a list of whole numbers of at least 0, not {shape!r}")
    wanted: tuple[int, ...] = tuple(cast("list[int]", shape))
    if prod(wanted) != prod(own):
        raise validation(f"shape {list(wanted)} asks for {prod(wanted)} values, but there are {prod(own)}")
    return wanted
