"""Protobuf bytes to and from the wire's types: passes and their results.

Kept apart from ``tinkex.protocol.wire``, because it imports NumPy and the protobuf library when somebody needs it. What
writes passes, ``protobuf_pass``, needs NumPy alone.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from tinkex.protocol._datum import Datum
from tinkex.protocol._errors import TinkexError
from tinkex.protocol._model_input import EncodedTextChunk, ModelInput
from tinkex.protocol._numbers import Dtype
from tinkex.protocol._tensor import ITEM_BYTES, TensorData
from tinkex.protocol.wire._proto import tinkex_wire_pb2 as pb
from tinkex.protocol.wire._sparse import densify
from tinkex.protocol.wire._training import (
    ForwardBackwardInput,
    ForwardBackwardRequest,
    ForwardBackwardResult,
    ForwardRequest,
    Numbered,
)
from tinkex.protocol.wire.protobuf_pass import encode_pass

__all__ = ["MAX_DATUMS", "decode_pass", "decode_result", "encode_pass", "encode_result", "numbered"]

_DTYPES: Final[dict[int, Dtype]] = {pb.DTYPE_FLOAT32: "float32", pb.DTYPE_INT64: "int64"}
_CODES: Final[dict[Dtype, pb.DType]] = {"float32": pb.DTYPE_FLOAT32, "int64": pb.DTYPE_INT64}

MAX_DATUMS: Final = 1 << 20
"""How many datums a record may speak of; a few bytes could otherwise ask for any amount of memory."""


def decode_pass(body: bytes) -> ForwardBackwardRequest | ForwardRequest:
    """Read the protobuf body of ``/forward_backward``.

    Raises:
        TinkexError: kind ``protocol``.
    """
    message = pb.ForwardBackwardRequest()
    try:
        message.ParseFromString(body)
        config = {name: _config_value(value) for name, value in message.loss_fn_config_v2.items()}
        given = ForwardBackwardInput(
            data=[_read_datum(index, datum) for index, datum in enumerate(message.data)],
            loss_fn=message.loss_fn,
            loss_fn_config=config or dict(message.loss_fn_config) or None,
        )
    except (DecodeError, ValueError) as error:
        raise _unreadable("ForwardBackwardRequest", error) from error
    kind = ForwardRequest if message.forward_only else ForwardBackwardRequest
    return kind(given, message.model_id, message.seq_id)


def numbered(body: bytes) -> Numbered:
    """Read which number of which model a pass has, whatever else is wrong with it.

    Raises:
        TinkexError: kind ``protocol``.
    """
    message = pb.ForwardBackwardRequest()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise _unreadable("ForwardBackwardRequest", error) from error
    return Numbered(message.model_id, message.seq_id)


def encode_result(result: ForwardBackwardResult) -> bytes:
    """Return a pass's result as protobuf; datums with the same fields and trailing shapes share a record."""
    message = pb.ForwardBackwardOutput(loss_fn_output_type=result.loss_fn_output_type, metrics=result.metrics)
    for _, outputs in groupby(result.loss_fn_outputs, key=_layout):
        _write_record(message.loss_fn_outputs.add(), list(outputs), result.loss_fn_output_type)
    return message.SerializeToString()


def decode_result(body: bytes) -> ForwardBackwardResult:
    """Read a pass's result.

    Raises:
        TinkexError: kind ``protocol``.
    """
    message = pb.ForwardBackwardOutput()
    try:
        message.ParseFromString(body)
        outputs = [output for record in message.loss_fn_outputs for output in _read_record(record)]
    except (DecodeError, TinkexError, ValueError) as error:
        raise _unreadable("ForwardBackwardOutput", error) from error
    kind = message.loss_fn_output_type.rpartition(":")[2]
    return ForwardBackwardResult(kind or "ArrayRecord", outputs, dict(message.metrics))


def _read_datum(index: int, message: pb.Datum) -> Datum:
    try:
        chunks = [_read_chunk(chunk) for chunk in message.model_input]
        inputs = {name: _read_tensor(tensor) for name, tensor in message.loss_fn_inputs.items()}
        return Datum(ModelInput(chunks), inputs)
    except TinkexError as error:
        raise ValueError(f"data[{index}]: {error.message}") from error
    except ValueError as error:
        raise ValueError(f"data[{index}]: {error}") from error


def _read_chunk(message: pb.Chunk) -> EncodedTextChunk:
    kind = message.WhichOneof("chunk")
    if kind != "encoded_text":
        raise ValueError(f"a chunk of type {kind!r} is not supported; only 'encoded_text' is")
    tokens = message.encoded_text.tokens
    if len(tokens) % 4:
        raise ValueError(f"{len(tokens)} bytes are no whole number of int32 tokens")
    return EncodedTextChunk(np.frombuffer(tokens, np.int32).astype(np.int64))


def _read_tensor(message: pb.Tensor) -> TensorData:
    dtype = _DTYPES.get(message.dtype)
    if dtype is None:
        raise ValueError(f"a tensor's dtype is float32 or int64, not {message.dtype}")
    shape = list(message.shape)
    if message.WhichOneof("encoding") == "sparse_csr":
        sparse = message.sparse_csr
        return densify(
            TensorData.from_buffer(sparse.values, dtype),
            TensorData.from_buffer(sparse.crow_indices, "int64"),
            TensorData.from_buffer(sparse.col_indices, "int64"),
            shape,
        )
    return TensorData.from_buffer(message.dense, dtype, shape or None)


def _config_value(value: pb.LossConfigValue) -> float | str:
    return value.text if value.WhichOneof("value") == "text" else value.number


def _layout(output: dict[str, TensorData]) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(name, tensor.dtype, tensor.shape[1:]) for name, tensor in output.items()]


def _write_record(message: pb.ArrayRecord, outputs: Sequence[dict[str, TensorData]], type_tag: str) -> None:
    message.type_tag = type_tag
    message.num_datums = len(outputs)
    for name, first in outputs[0].items():
        field = message.fields[name]
        buffers = [output[name].buffer for output in outputs]
        field.data = b"".join(buffers)
        field.offsets = np.cumsum([0, *map(len, buffers)], dtype=np.int64).tobytes()
        field.dtype = _CODES[first.dtype]
        field.trailing_shape.extend(first.shape[1:])


def _read_record(message: pb.ArrayRecord) -> Iterable[dict[str, TensorData]]:
    columns = {name: _read_batched(field) for name, field in message.fields.items()}
    count = message.num_datums or next((len(column) for column in columns.values()), 0)
    if any(len(column) != count for column in columns.values()) or not 0 <= count <= MAX_DATUMS:
        raise ValueError("a record's fields are not as many as its datums")
    if not columns:
        return [{} for _ in range(count)]
    names = tuple(columns)
    return [dict(zip(names, row, strict=False)) for row in zip(*columns.values(), strict=False)]


def _read_batched(message: pb.BatchedTensor) -> list[TensorData]:
    data, ends = message.data, TensorData.from_buffer(message.offsets, "int64").tolist()
    lengths = [end - begin for begin, end in pairwise(ends)]
    if not ends or ends[0] != 0 or ends[-1] != len(data) or min(lengths, default=0) < 0:
        raise ValueError("a batched tensor's offsets do not fit its data")
    trailing = tuple(message.trailing_shape)
    dtype = _DTYPES.get(message.dtype)
    row = 0 if dtype is None or min(trailing, default=0) < 0 else ITEM_BYTES[dtype] * math.prod(trailing)
    if dtype is not None and row and math.gcd(*lengths) % row == 0:
        return TensorData.split(data, dtype, lengths, trailing)
    view = memoryview(data)
    return [_shaped(_wide(view[begin:end], message.dtype), trailing) for begin, end in pairwise(ends)]


def _wide(data: memoryview, dtype: int) -> TensorData:
    known = _DTYPES.get(dtype)
    if known is not None:
        return TensorData.from_buffer(data, known)
    if dtype == pb.DTYPE_INT32:
        return TensorData(np.frombuffer(data, np.int32).astype(np.int64))
    if dtype == pb.DTYPE_BFLOAT16:
        return TensorData((np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32))
    raise ValueError(f"a batched tensor's dtype is not {dtype}")


def _shaped(tensor: TensorData, trailing: tuple[int, ...]) -> TensorData:
    if not trailing:
        return tensor
    width = math.prod(trailing)
    rows = len(tensor) // width if width else 0
    return TensorData.from_buffer(tensor.buffer, tensor.dtype, [rows, *trailing])


def _unreadable(name: str, error: Exception) -> TinkexError:
    reason = error.message if isinstance(error, TinkexError) else str(error)
    return TinkexError(f"{name} cannot be read: {reason}", kind="protocol", category="server")
