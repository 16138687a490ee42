"""Protobuf bytes to and from results of sampling. Imports NumPy and the protobuf library, as ``protobuf`` does."""

from typing import Final

import numpy as np
from google.protobuf.message import DecodeError

from tinkex.protocol._errors import TinkexError
from tinkex.protocol._tensor import TensorData
from tinkex.protocol.wire._proto import tinkex_wire_pb2 as pb
from tinkex.protocol.wire._sampling import SampledSequence, SampleResult, TopK

_REASONS: Final = {"stop": pb.STOP_REASON_STOP, "length": pb.STOP_REASON_LENGTH}
_WORDS: Final = {code: word for word, code in _REASONS.items()}

_EMPTY: Final = (0, -99999.0)
"""Token and logprob of a cell without a value; a row that begins with one is None."""


def encode_sample(result: SampleResult) -> bytes:
    """Return a result of sampling as protobuf."""
    message = pb.SampleResponse()
    for sequence in result.sequences:
        added = message.sequences.add()
        added.stop_reason = _REASONS[sequence.stop_reason]
        added.tokens = np.array(sequence.tokens, np.int32).tobytes()
        if sequence.logprobs is not None:
            added.logprobs = np.array(sequence.logprobs, np.float32).tobytes()
        if sequence.topk_sampled_logprobs is not None:
            _write_topk(added.topk_sampled_logprobs, sequence.topk_sampled_logprobs)
    if result.prompt_logprobs is not None:
        # None becomes NaN.
        message.prompt_logprobs = np.array(result.prompt_logprobs, np.float32).tobytes()
    if result.topk_prompt_logprobs is not None:
        _write_topk(message.topk_prompt_logprobs, result.topk_prompt_logprobs)
    if result.target_prompt_logprobs is not None:
        message.target_prompt_logprobs.dense = bytes(result.target_prompt_logprobs.buffer)
        message.target_prompt_logprobs.dtype = pb.DTYPE_FLOAT32
        message.target_prompt_logprobs.shape.extend(result.target_prompt_logprobs.shape)
    return message.SerializeToString()


def decode_sample(body: bytes) -> SampleResult:
    """Read a result of sampling.

    Raises:
        TinkexError: kind ``protocol``.
    """
    message = pb.SampleResponse()
    try:
        message.ParseFromString(body)
        target = message.target_prompt_logprobs
        return SampleResult(
            sequences=[_read_sequence(sequence) for sequence in message.sequences],
            prompt_logprobs=_read_prompt(message.prompt_logprobs) if message.HasField("prompt_logprobs") else None,
            topk_prompt_logprobs=_read_topk(message.topk_prompt_logprobs)
            if message.HasField("topk_prompt_logprobs")
            else None,
            target_prompt_logprobs=TensorData.from_buffer(target.dense, "float32", list(target.shape))
            if message.HasField("target_prompt_logprobs")
            else None,
        )
    except (DecodeError, KeyError, TinkexError, ValueError) as error:
        reason = f"unknown stop reason {error}" if isinstance(error, KeyError) else str(error)
        raise TinkexError(f"SampleResponse cannot be read: {reason}", kind="protocol", category="server") from error


def _read_sequence(message: pb.SampledSequence) -> SampledSequence:
    return SampledSequence(
        stop_reason=_WORDS[message.stop_reason],
        tokens=np.frombuffer(message.tokens, np.int32).tolist(),
        logprobs=np.frombuffer(message.logprobs, np.float32).tolist() if message.logprobs else None,
        topk_sampled_logprobs=_read_topk(message.topk_sampled_logprobs)
        if message.HasField("topk_sampled_logprobs")
        else None,
    )


def _read_prompt(raw: bytes) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in np.frombuffer(raw, np.float32)]


def _write_topk(message: pb.TopkLogprobs, rows: TopK) -> None:
    width = max((len(row) for row in rows if row is not None), default=0)
    cells = [cell for row in rows for cell in _padded(row or [], width)]
    message.token_ids = np.array([token for token, _ in cells], np.int32).tobytes()
    message.logprobs = np.array([logprob for _, logprob in cells], np.float32).tobytes()
    message.k, message.length = width, len(rows)


def _padded(row: list[tuple[int, float]], width: int) -> list[tuple[int, float]]:
    return row + [_EMPTY] * (width - len(row))


def _read_topk(message: pb.TopkLogprobs) -> TopK:
    tokens = np.frombuffer(message.token_ids, np.int32).reshape(message.length, message.k)
    logprobs = np.frombuffer(message.logprobs, np.float32).reshape(message.length, message.k)
    rows: TopK = []
    for row_tokens, row_logprobs in zip(tokens.tolist(), logprobs.tolist(), strict=True):
        cells = [cell for cell in zip(row_tokens, row_logprobs, strict=True) if cell != _EMPTY]
        rows.append(cells or None)
    return rows
