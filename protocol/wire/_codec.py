"""JSON bytes to and from the wire's types."""

import math
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

import msgspec

from tinkex.protocol._datum import Datum
from tinkex.protocol._errors import TinkexError
from tinkex.protocol._model_input import CHUNK_TYPE, EncodedTextChunk
from tinkex.protocol._tensor import ITEM_BYTES, TensorData
from tinkex.protocol.wire._base import Body
from tinkex.protocol.wire._mend import METRICS, is_word, mend, read_words
from tinkex.protocol.wire._repeats import MIN_VALUES, runs, written
from tinkex.protocol.wire._sparse import densify

T = TypeVar("T")

_SIMPLE: Final = frozenset({str, int, float, bool})
_BARE_WORD: Final = re.compile(rb"-?(?:NaN|Infinity)")
_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_AT_PATH: Final = re.compile(r" - at `([^`]*)`")


def encode(body: object, *, nulls: bool = False) -> bytes:
    """Return ``body`` as compact JSON in UTF-8.

    Fields that are None are left out, except in bodies where null means something, and where ``nulls`` asks for them.
    Tensors are ``{"data", "dtype", "shape"}``; numbers in them and in metrics that are not finite are ``"NaN"``,
    ``"Infinity"`` and ``"-Infinity"``.
    """
    return _ENCODER.encode(_plain(body, nulls))


def decode(body: bytes, into: type[T]) -> T:
    """Read JSON as a value of type ``into``.

    Unknown fields are passed over. A null takes the field's default where null is no value of it, and NaN in a float
    tensor or a metric.

    Raises:
        TinkexError: kind ``protocol``, category ``server``; ``data["json_path"]`` says where, if that is known.
    """
    try:
        try:
            value: T = _decoder(cast("Any", into)).decode(body)
        except msgspec.ValidationError as error:
            value = _decode_mended(body, into, error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(body, into, error) from error
    return value


def _decode_mended(body: bytes, into: type[T], error: msgspec.ValidationError) -> T:
    value: Any = msgspec.json.decode(body)
    if mend(value, into):
        return msgspec.convert(value, into, dec_hook=_read)
    raise error


@lru_cache(maxsize=256)
def _decoder(into: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(into, dec_hook=_read)


def _unreadable(body: bytes, into: Any, error: Exception) -> TinkexError:
    name = getattr(into, "__name__", str(into))
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    data: dict[str, Any] = {}
    place, byte = _AT_PATH.search(reason), _AT_BYTE.search(reason)
    if place is not None:
        data["json_path"] = place[1]
    if byte is not None:
        # A sign is read before the word behind it is found to be none.
        word = _BARE_WORD.match(body, max(int(byte[1]) - 1, 0)) or _BARE_WORD.match(body, int(byte[1]))
        if word is not None:
            literal = word[0].decode()
            reason = f'bare {literal} at byte {word.start()} is no JSON; write it as the string "{literal}"'
    return TinkexError(f"{name} cannot be read: {reason}", kind="protocol", category="server", data=data)


def _plain(value: Any, nulls: bool) -> Any:
    """Return structs as dicts without their Nones, unless ``nulls``; a Datum has none and is left as it is."""
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_plain(item, nulls) for item in items] if items and _has_nones(items[0]) else items
    if not _has_nones(value):
        return value
    written = nulls or (isinstance(value, Body) and value.SENDS_NULL)
    fields: dict[str, Any] = {}
    for name in value.__struct_fields__:
        item = getattr(value, name)
        if type(item) in _SIMPLE:
            fields[name] = item
        elif _are_metrics(name, item):
            fields[name] = _spelt_metrics(cast("dict[str, Any]", item))
        elif written or item is not None:
            fields[name] = _plain(item, nulls)
    return fields


def _has_nones(value: object) -> bool:
    return isinstance(value, msgspec.Struct) and not isinstance(value, Datum)


def _are_metrics(name: str, value: object) -> bool:
    return name == METRICS and isinstance(value, dict)


def _spelt_metrics(metrics: dict[str, float]) -> dict[str, Any]:
    return {name: _spelt(value) for name, value in metrics.items()}


def _spelt(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _write(value: Any) -> Any:
    if isinstance(value, TensorData):
        return {"data": _numbers(value), "dtype": value.dtype, "shape": value.shape}
    if isinstance(value, EncodedTextChunk):
        return {"tokens": value.tokens.tolist(), "type": CHUNK_TYPE}
    # Subclasses, such as numpy.float64 from a schedule of learning rates: the checks let them pass.
    for kind in (float, int):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise NotImplementedError(f"{type(value).__name__} is no type of the wire")


def _numbers(tensor: TensorData) -> list[Any] | msgspec.Raw:
    if tensor.dtype == "float32" and len(tensor) >= MIN_VALUES:
        found = runs(bytes(tensor.buffer), ITEM_BYTES["float32"])
        if found is not None:
            number = tensor.buffer.cast("f")
            return msgspec.Raw(written(found, lambda index: msgspec.json.encode(_spelt(number[index]))))
    values = tensor.tolist()
    # Any infinity or NaN makes the sum one; float32 values are too small for their sum to overflow a double.
    if tensor.dtype == "int64" or math.isfinite(sum(values)):
        return values
    return [_spelt(value) for value in values]


def _read(kind: type, value: Any) -> Any:
    reader = _READERS.get(kind)
    if reader is None:
        raise NotImplementedError(f"{kind} is no type of the wire")
    if not isinstance(value, dict):
        raise TypeError(f"Expected `object`, got `{type(value).__name__}`")
    return reader(cast("dict[str, Any]", value))


def _read_tensor(fields: dict[str, Any]) -> TensorData:
    data, dtype, shape = (fields.get(name) for name in ("data", "dtype", "shape"))
    if not isinstance(data, list) or dtype not in ("float32", "int64"):
        raise ValueError("a tensor has data (a flat list) and dtype (float32 or int64)")
    values = cast("list[object]", data)
    if values and isinstance(values[0], list):
        raise ValueError("a tensor's data is one flat list; its shape stands in shape")
    rows, columns = fields.get("sparse_crow_indices"), fields.get("sparse_col_indices")
    try:
        if rows is not None or columns is not None:
            return _read_sparse(TensorData(values, dtype), rows, columns, shape)
        try:
            return TensorData(values, dtype, shape)
        except TinkexError:
            if dtype == "int64" or not any(map(is_word, values)):
                raise
            return TensorData(read_words(values), dtype, shape)
    except TinkexError as error:
        raise ValueError(error.message) from None


def _read_sparse(values: TensorData, rows: Any, columns: Any, shape: Any) -> TensorData:
    if rows is None or columns is None:
        raise ValueError("a sparse tensor has both sparse_crow_indices and sparse_col_indices")
    if not isinstance(shape, list) or not all(isinstance(size, int) for size in cast("list[object]", shape)):
        raise ValueError("a sparse tensor has a shape of two dimensions")
    return densify(values, TensorData(rows, "int64"), TensorData(columns, "int64"), cast("list[int]", shape))


def _read_chunk(fields: dict[str, Any]) -> EncodedTextChunk:
    kind = fields.get("type")
    if kind not in (None, CHUNK_TYPE) or "tokens" not in fields:
        raise ValueError(f"a chunk of type {kind!r} is not supported; only {CHUNK_TYPE!r} with tokens is")
    try:
        return EncodedTextChunk(fields["tokens"])
    except TinkexError as error:
        raise ValueError(error.message) from None


_READERS: Final[Mapping[type, Callable[[dict[str, Any]], Any]]] = {
    TensorData: _read_tensor,
    EncodedTextChunk: _read_chunk,
}
_ENCODER: Final = msgspec.json.Encoder(enc_hook=_write)
