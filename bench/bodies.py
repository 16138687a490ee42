"""What the bodies of passes cost the client, beside named rivals in the same run: ``python bench/bodies.py [rounds]``.

Every figure is the median over rounds that alternate between ours and the rival, in milliseconds of one thread's
processor time. The rivals are what the same bodies cost with the protobuf library's message objects, and with msgspec
over plain lists; both are written as their documentation shows.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from tinkex.actors._training._chunks import chunk_data
from tinkex.actors._training._heap import expect_large
from tinkex.protocol import Datum, ModelInput, TensorData, check_data, wire
from tinkex.protocol.wire import zstd
from tinkex.protocol.wire._proto import tinkex_wire_pb2 as pb
from tinkex.protocol.wire.protobuf import decode_result, encode_pass, encode_result

ROUNDS: Final = 15
SHAPES: Final = ((64, 2048), (4, 256), (1024, 128))
"""Datums, and tokens of each."""

VOCABULARY: Final = 150_000
LOSS: Final = "cross_entropy"
_KINDS: Final = (("tokens as frequent as words", True), ("tokens without a pattern", False))

Arrays = tuple[Any, Any, Any]
Pass = wire.ForwardBackwardRequest


class Figure(NamedTuple):
    """One line of the table."""

    shape: tuple[int, int]
    name: str
    ours: float
    rival: str = ""
    theirs: float | None = None

    @property
    def ratio(self) -> float | None:
        """How many times as much the rival costs."""
        return None if self.theirs is None else self.theirs / self.ours


class Batch(NamedTuple):
    """The same examples in each form that users have them in, and what a server answers."""

    arrays: list[Arrays]
    lists: list[tuple[list[int], list[int], list[float]]]
    request: Pass
    result: wire.ForwardBackwardResult

    @property
    def data(self) -> list[Datum]:
        return self.request.forward_backward_input.data


def batch(datums: int, tokens: int, *, words: bool = False) -> Batch:
    """Make examples as of a fine-tuning: tokens, and a mask of weights that begins with zeros.

    Args:
        datums: how many.
        tokens: of each.
        words: whether tokens are as frequent as words are (the n-th most frequent one has a share of n ** -1.2), and
            not all alike.
    """
    chance = np.random.default_rng(0)
    places = chance.permutation(VOCABULARY)
    arrays: list[Arrays] = []
    for _ in range(datums):
        drawn = chance.zipf(1.2, tokens + 1) % VOCABULARY if words else chance.integers(0, VOCABULARY, tokens + 1)
        stream = places[drawn]
        weights = np.ones(tokens, np.float32)
        weights[: tokens // 3] = 0.0
        arrays.append((stream[:-1], stream[1:], weights))
    lists = [(inputs.tolist(), targets.tolist(), weights.tolist()) for inputs, targets, weights in arrays]
    outputs = [
        {name: TensorData(chance.normal(size=tokens).astype(np.float32)) for name in ("logprobs", "elementwise_loss")}
        for _ in range(datums)
    ]
    return Batch(
        arrays,
        lists,
        Pass(wire.ForwardBackwardInput(build(arrays), LOSS), "session:train:0", 7),
        wire.ForwardBackwardResult("TorchLossReturn", outputs, {"loss:sum": 1.5}),
    )


def build(rows: list[Any]) -> list[Datum]:
    """Make datums of arrays or lists."""
    return [
        Datum(ModelInput.from_ints(inputs), {"target_tokens": targets, "weights": weights})
        for inputs, targets, weights in rows
    ]


def with_messages(request: Pass | wire.ForwardRequest) -> bytes:
    """Write a pass with the protobuf library's message objects; maps in the order of their keys."""
    forward = isinstance(request, wire.ForwardRequest)
    body = request.forward_input if isinstance(request, wire.ForwardRequest) else request.forward_backward_input
    message = pb.ForwardBackwardRequest(
        model_id=request.model_id, seq_id=request.seq_id, loss_fn=body.loss_fn, forward_only=forward
    )
    for datum in body.data:
        added = message.data.add()
        for chunk in datum.model_input.chunks:
            added.model_input.add().encoded_text.tokens = chunk.tokens.to_numpy().astype(np.int32).tobytes()
        for name, tensor in datum.loss_fn_inputs.items():
            written = added.loss_fn_inputs[name]
            written.dense = bytes(tensor.buffer)
            written.dtype = pb.DTYPE_FLOAT32 if tensor.dtype == "float32" else pb.DTYPE_INT64
            written.shape.extend(tensor.shape)
    for name, value in (body.loss_fn_config or {}).items():
        if isinstance(value, str):
            message.loss_fn_config_v2[name].text = value
        else:
            message.loss_fn_config[name] = value
            message.loss_fn_config_v2[name].number = value
    return message.SerializeToString(deterministic=True)


def with_lists(request: Pass) -> bytes:
    """Write a pass in JSON from plain lists of numbers."""
    body = request.forward_backward_input
    data = [
        {
            "model_input": {
                "chunks": [
                    {"tokens": chunk.tokens.tolist(), "type": "encoded_text"} for chunk in datum.model_input.chunks
                ]
            },
            "loss_fn_inputs": {
                name: {"data": tensor.tolist(), "dtype": tensor.dtype, "shape": tensor.shape}
                for name, tensor in datum.loss_fn_inputs.items()
            },
        }
        for datum in body.data
    ]
    given = {"data": data, "loss_fn": body.loss_fn}
    return msgspec.json.encode(
        {"forward_backward_input": given, "model_id": request.model_id, "seq_id": request.seq_id}
    )


def read_messages(body: bytes) -> list[dict[str, Any]]:
    """Read a result with the protobuf library, into one array for each datum and field."""
    message = pb.ForwardBackwardOutput.FromString(body)
    outputs: list[dict[str, Any]] = []
    for record in message.loss_fn_outputs:
        columns = {name: _arrays(field) for name, field in record.fields.items()}
        outputs += [{name: column[row] for name, column in columns.items()} for row in range(record.num_datums)]
    return outputs


def _arrays(field: pb.BatchedTensor) -> list[Any]:
    whole = np.frombuffer(field.data, np.float32)
    return np.split(whole, np.frombuffer(field.offsets, np.int64)[1:-1] // 4)


def read_lists(body: bytes) -> list[dict[str, Any]]:
    """Read a result's JSON into one array for each datum and field."""
    return [
        {name: np.array(tensor["data"], np.float32) for name, tensor in output.items()}
        for output in msgspec.json.decode(body)["loss_fn_outputs"]
    ]


def measure(rounds: int, ours: Callable[[], object], theirs: Callable[[], object] | None = None) -> list[float]:
    """Return the median milliseconds of ours, and of the rival where there is one, after one round that warms both."""
    sides = [ours] if theirs is None else [ours, theirs]
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for side in (0, 1)[: len(sides)][:: 1 if number % 2 else -1]:
            gc.collect(0)
            start = time.thread_time()
            sides[side]()
            seconds[side].append(time.thread_time() - start)
    return [statistics.median(found[1:]) * 1e3 for found in seconds]


def figures(shape: tuple[int, int], rounds: int) -> list[Figure]:
    """Measure all that a call of ``shape`` costs before the socket and behind it."""
    one = batch(*shape)
    data, request = one.data, one.request
    body, answer, text = encode_pass(request), encode_result(one.result), wire.encode(one.result)
    expect_large(len(body))  # as the client does: the heap's habits are the same for ours and the rivals

    def figure(
        name: str, ours: Callable[[], object], rival: str = "", theirs: Callable[[], object] | None = None
    ) -> Figure:
        own, *other = measure(rounds, ours, theirs)
        return Figure(shape, name, own, rival, other[0] if other else None)

    return [
        figure("make datums of arrays", lambda: build(one.arrays)),
        figure("make datums of lists", lambda: build(one.lists)),
        figure("check the data", lambda: check_data(data, LOSS)),
        figure("split into requests", lambda: chunk_data(data)),
        figure("write protobuf", lambda: encode_pass(request), "messages", lambda: with_messages(request)),
        figure("write JSON", lambda: wire.encode(request), "msgspec", lambda: with_lists(request)),
        figure("read protobuf", lambda: decode_result(answer), "messages", lambda: read_messages(answer)),
        figure(
            "read JSON",
            lambda: wire.decode(text, wire.ForwardBackwardResult),
            "msgspec",
            lambda: read_lists(text),
        ),
        figure("write a zstd frame", lambda: zstd.compress(body)),
    ]


def sizes(shape: tuple[int, int]) -> str:
    """Say how large a pass of ``shape`` is in each form."""
    request = batch(*shape).request
    body = encode_pass(request)
    packed = ", ".join(f"{ratio(batch(*shape, words=words).request)} for {kind}" for kind, words in _KINDS)
    return (
        f"{shape[0]} x {shape[1]}: {len(body):,} bytes in protobuf, {len(wire.encode(request)):,} in JSON; "
        f"protobuf in zstd {packed}"
    )


def ratio(request: Pass) -> str:
    """Say how many times smaller zstd makes a pass."""
    body = encode_pass(request)
    frame = zstd.compress(body)
    return "not worth a frame" if frame is None else f"{len(body) / len(frame):.1f} to 1"


def table(found: list[Figure]) -> str:
    """Lay the figures out; a ratio above 1 is what the rival costs more."""
    lines = [f"{'datums x tokens':16} {'':24} {'ours, ms':>9} {'rival, ms':>10} {'ratio':>7}  rival"]
    lines += [
        f"{shape[0]:>6} x {shape[1]:<7} {name:24} {ours:9.3f} "
        + (f"{theirs:10.3f} {theirs / ours:7.1f}  {rival}" if theirs is not None else "")
        for shape, name, ours, rival, theirs in found
    ]
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(table([figure for shape in SHAPES for figure in figures(shape, turns)]))
    print()
    print("\n".join(map(sizes, SHAPES)))
