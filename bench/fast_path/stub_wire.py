"""How the stub reads a pass and writes its result: by hand, as little of it as an answer needs."""

from collections.abc import Iterator
from functools import lru_cache
from struct import pack
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from fast_path.values import digest_of, logprobs_of, loss_of

Buffer = memoryview | bytes
_PROTO_TYPES: Final = {1: np.float32, 2: np.int64}


class Pass(NamedTuple):
    """What the stub needs of a pass to answer it."""

    model_id: str
    seq_id: int
    lengths: tuple[int, ...]
    """Tokens of each datum."""


class _Tensor(msgspec.Struct):
    shape: list[int] | None = None


class _FullTensor(msgspec.Struct):
    data: list[float]


class _Chunk(msgspec.Struct):
    tokens: list[int]


class _Input(msgspec.Struct):
    chunks: list[_Chunk]


class _Datum(msgspec.Struct):
    loss_fn_inputs: dict[str, _Tensor]


class _FullDatum(msgspec.Struct):
    model_input: _Input
    loss_fn_inputs: dict[str, _FullTensor]


class _Data(msgspec.Struct):
    data: list[_Datum]


class _FullData(msgspec.Struct):
    data: list[_FullDatum]


class _Request(msgspec.Struct):
    forward_backward_input: _Data
    model_id: str
    seq_id: int


class _FullRequest(msgspec.Struct):
    forward_backward_input: _FullData
    model_id: str
    seq_id: int


_read_request: Final = msgspec.json.Decoder(_Request).decode
_read_full_request: Final = msgspec.json.Decoder(_FullRequest).decode


def fields_of(data: Buffer) -> Iterator[tuple[int, Any]]:
    """Return each field of a protobuf message: its number, and its bytes or its whole number.

    Raises:
        ValueError: it is none.
    """
    view = memoryview(data)
    at, end = 0, len(view)
    while at < end:
        tag, at = _varint(view, at)
        kind = tag & 7
        if kind == 2:
            size, at = _varint(view, at)
            if at + size > end:
                raise ValueError("a field reaches beyond its message")
            yield tag >> 3, view[at : at + size]
            at += size
        elif kind == 0:
            value, at = _varint(view, at)
            yield tag >> 3, value
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            yield tag >> 3, view[at : at + size]
            at += size
        else:
            raise ValueError(f"a field of wire type {kind}")


def read_protobuf(body: Buffer) -> Pass:
    """Read a pass in protobuf, passing over its numbers."""
    model_id, seq_id, lengths = "", 0, list[int]()
    for number, value in fields_of(body):
        if number == 3:
            lengths.append(sum(len(tokens) for tokens in _chunks(value)) // 4)
        elif number == 1:
            model_id = str(value, "utf-8")
        elif number == 2:
            seq_id = value
    return Pass(model_id, seq_id, tuple(lengths))


def read_json(body: Buffer) -> Pass:
    """Read a pass in JSON, passing over its numbers where they have a shape."""
    request = _read_request(body)
    shapes = [datum.loss_fn_inputs["target_tokens"].shape for datum in request.forward_backward_input.data]
    if None in shapes:
        full = _read_full_request(body).forward_backward_input.data
        lengths = [len(datum.loss_fn_inputs["target_tokens"].data) for datum in full]
    else:
        lengths = [shape[0] for shape in shapes if shape is not None]
    return Pass(request.model_id, request.seq_id, tuple(lengths))


def protobuf_digest(body: Buffer) -> str:
    """Return the digest of the data of a pass in protobuf."""
    return digest_of(_protobuf_datum(value) for number, value in fields_of(body) if number == 3)


def json_digest(body: Buffer) -> str:
    """Return the digest of the data of a pass in JSON."""
    data = _read_full_request(body).forward_backward_input.data
    return digest_of(
        (
            [token for chunk in datum.model_input.chunks for token in chunk.tokens],
            [int(target) for target in datum.loss_fn_inputs["target_tokens"].data],
            datum.loss_fn_inputs["weights"].data,
        )
        for datum in data
    )


def protobuf_result(seq_id: int, lengths: tuple[int, ...]) -> bytes:
    """Return the result of a pass in protobuf."""
    metric = field(1, b"loss:sum") + b"\x11" + pack("<d", loss_of(seq_id))
    return _protobuf_outputs(lengths) + field(3, metric)


def json_result(seq_id: int, lengths: tuple[int, ...]) -> bytes:
    """Return the result of a pass in JSON."""
    return _json_outputs(lengths) + b'"metrics":{"loss:sum":%a}}' % loss_of(seq_id)


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _chunks(datum: Buffer) -> Iterator[memoryview]:
    for number, chunk in fields_of(datum):
        if number == 1:
            for kind, text in fields_of(chunk):
                if kind != 1:
                    raise ValueError("a chunk that is no text")
                yield from (tokens for field, tokens in fields_of(text) if field == 1)


def _protobuf_datum(datum: Buffer) -> tuple[Any, Any, Any]:
    tokens = np.concatenate([np.frombuffer(chunk, np.int32) for chunk in _chunks(datum)])
    tensors = dict[str, Any]()
    for number, entry in fields_of(datum):
        if number == 2:
            parts = dict(fields_of(entry))
            tensor = dict(fields_of(parts[2]))
            tensors[str(parts[1], "utf-8")] = np.frombuffer(tensor[1], _PROTO_TYPES[tensor[3]])
    return tokens, tensors["target_tokens"], tensors["weights"]


def field(number: int, data: bytes) -> bytes:
    """Return a protobuf field of bytes."""
    size, head = len(data), bytearray([number << 3 | 2])
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + data


@lru_cache(64)
def _protobuf_outputs(lengths: tuple[int, ...]) -> bytes:
    arrays = [logprobs_of(place, length) for place, length in enumerate(lengths)]
    offsets = np.cumsum([0, *(array.nbytes for array in arrays)], dtype=np.int64)
    batched = field(1, b"".join(array.tobytes() for array in arrays)) + field(2, offsets.tobytes()) + b"\x18\x01"
    record = field(1, b"ArrayRecord") + field(2, field(1, b"logprobs") + field(2, batched))
    count = bytearray()
    left = len(lengths)
    while left >= 0x80:
        count.append(left & 0x7F | 0x80)
        left >>= 7
    count.append(left)
    return field(1, b"ArrayRecord") + field(2, record + b"\x18" + bytes(count))


@lru_cache(64)
def _json_outputs(lengths: tuple[int, ...]) -> bytes:
    outputs = [
        {"logprobs": {"data": logprobs_of(place, length).tolist(), "dtype": "float32", "shape": [length]}}
        for place, length in enumerate(lengths)
    ]
    return b'{"loss_fn_output_type":"ArrayRecord","loss_fn_outputs":%b,' % msgspec.json.encode(outputs)
