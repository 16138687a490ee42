"""A pass as protobuf, joined from the buffers of its tensors; the protobuf library is not needed to write.

What stands around a tensor's numbers depends on its name, type and shape alone, and is made once for all datums that
are alike. Maps are in the order of their keys' bytes, so that a request has the same bytes whenever it is written.
"""

import math
import struct
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Final

import numpy as np

from tinkex.protocol._blocks import blocks, joined
from tinkex.protocol._datum import Datum
from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._numbers import Dtype
from tinkex.protocol._tensor import ITEM_BYTES
from tinkex.protocol.wire._training import ForwardBackwardRequest, ForwardRequest

if sys.byteorder != "little":  # pragma: no cover - no machine with torch wheels is
    raise ImportError("the protobuf wire is written for little-endian machines")

Piece = bytes | memoryview

MIN_INT32: Final = -(2**31)
MAX_INT32: Final = 2**31 - 1

# Fields as they stand before their values: number * 8 + 2 where a length follows, + 0 a varint, + 1 a double.
_MODEL_ID, _SEQ_ID, _DATUM, _LOSS, _FORWARD_ONLY = b"\x0a", b"\x10", b"\x1a", b"\x22", b"\x30\x01"
_CONFIG, _CONFIG_V2, _NUMBER, _TEXT = b"\x2a", b"\x3a", b"\x09", b"\x12"
_KEY, _VALUE, _VALUE_DOUBLE = b"\x0a", b"\x12", b"\x11"
_CHUNK, _INPUT = b"\x0a", b"\x12"
_ENCODED_TEXT, _TOKENS = b"\x0a", b"\x0a"
_DENSE, _SHAPE = b"\x0a", b"\x22"
_DTYPES: Final[Mapping[Dtype, bytes]] = {"float32": b"\x18\x01", "int64": b"\x18\x02"}


def pass_pieces(request: ForwardBackwardRequest | ForwardRequest) -> list[Piece]:
    """Return the protobuf body of ``/forward_backward`` in pieces, to be sent behind each other.

    The buffers of tensors are among them as they are; tokens are copied, as the wire has them in 32 bits.

    Raises:
        TinkexError: kind ``validation``: a token, number or name that the wire does not have.
    """
    forward = isinstance(request, ForwardRequest)
    body = request.forward_input if isinstance(request, ForwardRequest) else request.forward_backward_input
    pieces: list[Piece] = [_head(request.model_id, request.seq_id)]
    _add_data(pieces, body.data)
    pieces.append(_tail(body.loss_fn, body.loss_fn_config or {}, forward_only=forward))
    return pieces


def encode_pass(request: ForwardBackwardRequest | ForwardRequest) -> bytes:
    """Return a pass as the protobuf body of ``/forward_backward``; raises as ``pass_pieces`` does."""
    return b"".join(pass_pieces(request))


def _head(model_id: str, seq_id: int) -> bytes:
    if not MIN_INT32 <= seq_id <= MAX_INT32:
        raise validation(f"seq_id must be a number of 32 bits, not {seq_id}", field="seq_id")
    name = _utf8("model_id", model_id)
    return (_sized(_MODEL_ID, name) if name else b"") + (_SEQ_ID + _varint(seq_id) if seq_id else b"")


def _tail(loss_fn: str, config: Mapping[str, float | str], *, forward_only: bool) -> bytes:
    name = _utf8("loss_fn", loss_fn)
    entries = sorted((_utf8("loss_fn_config", key), value) for key, value in config.items())
    parts = [_sized(_LOSS, name)] if name else []
    parts += [
        _sized(_CONFIG, _sized(_KEY, key) + _double(_VALUE_DOUBLE, value))
        for key, value in entries
        if not isinstance(value, str)
    ]
    parts += [_FORWARD_ONLY] if forward_only else []
    parts += [_sized(_CONFIG_V2, _sized(_KEY, key) + _sized(_VALUE, _config_value(value))) for key, value in entries]
    return b"".join(parts)


def _config_value(value: float | str) -> bytes:
    return _sized(_TEXT, _utf8("loss_fn_config", value)) if isinstance(value, str) else _double(_NUMBER, value)


def _add_data(pieces: list[Piece], data: Sequence[Datum]) -> None:
    tokens = iter(_narrowed(data))
    for datum in data:
        at, size = len(pieces), 0
        pieces.append(b"")  # the datum's own head, once its size is known
        for _ in datum.model_input.chunks:
            narrow = next(tokens)
            before = _before_tokens(len(narrow))
            pieces += (before, narrow)
            size += len(before) + len(narrow)
        inputs = datum.loss_fn_inputs
        for name in _in_order(*inputs):
            tensor = inputs[name]
            before, behind, whole = _around(name, tensor.dtype, tensor.shape)
            pieces += (before, tensor.buffer, behind)
            size += whole
        pieces[at] = _DATUM + _varint(size)


def _narrowed(data: Sequence[Datum]) -> list[memoryview]:
    """Return the tokens of each chunk of each datum, in order, in 32 bits."""
    wide = [chunk.tokens.buffer for datum in data for chunk in datum.model_input.chunks]
    narrow: list[memoryview] = []
    for run in blocks(wide):
        tokens = np.frombuffer(joined(run), np.int64)
        # Without its sign a negative number is large, too: the exact look is for what is no token at all.
        if tokens.view(np.uint64).max(initial=0) > MAX_INT32 and not _fit(tokens):
            raise _too_large(data)
        block = tokens.astype(np.int32).data.cast("B") if len(tokens) else memoryview(b"")
        begin = 0
        for buffer in run:
            end = begin + len(buffer) // 2
            narrow.append(block[begin:end])
            begin = end
    return narrow


def _fit(tokens: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> bool:
    return bool(tokens.min() >= MIN_INT32 and tokens.max() <= MAX_INT32)


def _too_large(data: Sequence[Datum]) -> TinkexError:
    for index, datum in enumerate(data):
        for place, chunk in enumerate(datum.model_input.chunks):
            tokens = chunk.tokens.to_numpy()
            if tokens.size and not _fit(tokens):
                token = tokens.max() if tokens.max() > MAX_INT32 else tokens.min()
                field = f"data[{index}].model_input.chunks[{place}].tokens"
                return validation(f"{field} has the token {token}, beyond 32 bits", field=field)
    return validation("a token is beyond 32 bits", field="data")  # pragma: no cover - a lent array changed meanwhile


@lru_cache(maxsize=256)
def _in_order(*names: str) -> list[str]:
    return sorted(names, key=partial(_utf8, "loss_fn_inputs"))


@lru_cache(maxsize=1024)
def _before_tokens(count: int) -> bytes:
    """Return what stands before the tokens of a chunk, of which there are ``count`` bytes."""
    tokens = _TOKENS + _varint(count) if count else b""
    text = _ENCODED_TEXT + _varint(len(tokens) + count) + tokens
    return _CHUNK + _varint(len(text) + count) + text


@lru_cache(maxsize=1024)
def _around(name: str, dtype: Dtype, shape: tuple[int, ...]) -> tuple[bytes, bytes, int]:
    """Return what stands before and behind a tensor's numbers, and how many bytes all three are together."""
    count = math.prod(shape) * ITEM_BYTES[dtype]
    dense = _DENSE + _varint(count)
    behind = _DTYPES[dtype] + (_sized(_SHAPE, b"".join(map(_varint, shape))) if shape else b"")
    value = _VALUE + _varint(len(dense) + count + len(behind)) + dense
    key = _sized(_KEY, _utf8("loss_fn_inputs", name))
    before = _INPUT + _varint(len(key) + len(value) + count + len(behind)) + key + value
    return before, behind, len(before) + count + len(behind)


def _sized(tag: bytes, value: bytes) -> bytes:
    return tag + _varint(len(value)) + value


def _double(tag: bytes, value: float) -> bytes:
    try:
        return tag + struct.pack("<d", value)
    except (OverflowError, struct.error) as error:
        raise validation(f"loss_fn_config has a value that is no double: {error}", field="loss_fn_config") from error


def _utf8(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise validation(f"{field} has text that cannot be written in UTF-8: {error.reason}", field=field) from error


def _varint(number: int) -> bytes:
    """Return ``number`` in groups of seven bits, the lowest first; a negative one as its 64 bits."""
    number &= 2**64 - 1
    written = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
