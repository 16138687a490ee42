"""The protobuf wire: golden bytes, round trips, and bodies that lie."""

import contextlib
import itertools
import struct

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tinkex.protocol import Datum, EncodedTextChunk, ModelInput, TensorData, TinkexError, wire
from tinkex.protocol.wire import protobuf
from tinkex.protocol.wire._proto import tinkex_wire_pb2 as pb

REQUEST = bytes.fromhex(
    "0a0e736573732d313a747261696e3a3010011a640a100a0e0a0c01000000020000000300000012300a0d7461726765745f746f6b656e73121f"
    "0a180200000000000000030000000000000004000000000000001802220103121e0a077765696768747312130a0c000000000000803f000080"
    "3f1801220103220d63726f73735f656e74726f7079"
)
OUTPUT = bytes.fromhex(
    "0a0f546f7263684c6f737352657475726e1242123e0a086c6f6770726f627312320a14000080bf000000c0000040c0000080c00000a0c01218"
    "00000000000000000c000000000000001400000000000000180118021a130a086c6f73733a73756d110000000000000c40"
)


def test_a_recorded_request_is_read() -> None:
    request = protobuf.decode_pass(REQUEST)
    assert isinstance(request, wire.ForwardBackwardRequest)
    assert (request.model_id, request.seq_id) == ("sess-1:train:0", 1)
    body = request.forward_backward_input
    assert (body.loss_fn, body.loss_fn_config) == ("cross_entropy", None)
    (datum,) = body.data
    assert datum.model_input.to_ints() == [1, 2, 3]
    assert datum.loss_fn_inputs["target_tokens"] == TensorData([2, 3, 4])
    assert datum.loss_fn_inputs["weights"] == TensorData([0.0, 1.0, 1.0])


def test_a_request_is_written_as_it_was_recorded_but_for_the_order_of_maps() -> None:
    written = protobuf.encode_pass(protobuf.decode_pass(REQUEST))
    assert sorted(written) == sorted(REQUEST)
    assert protobuf.decode_pass(written) == protobuf.decode_pass(REQUEST)


def test_a_result_that_the_official_decoder_takes_is_read_and_written() -> None:
    result = protobuf.decode_result(OUTPUT)
    assert result.loss_fn_output_type == "TorchLossReturn"
    assert [output["logprobs"].tolist() for output in result.loss_fn_outputs] == [[-1.0, -2.0, -3.0], [-4.0, -5.0]]
    assert result.metrics == {"loss:sum": 3.5}
    assert protobuf.decode_result(protobuf.encode_result(result)) == result


FLOATS = st.floats(width=32, allow_nan=False)
TENSORS = st.one_of(
    st.lists(FLOATS, max_size=6).map(lambda values: TensorData(values, "float32")),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6).map(lambda values: TensorData(values, "int64")),
    st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=4).map(
        lambda rows: TensorData([list(row) for row in rows], "float32")
    ),
)
NAMES = st.text(max_size=8)
DATUMS = st.builds(
    Datum,
    st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5).map(EncodedTextChunk), max_size=3).map(ModelInput),
    st.dictionaries(NAMES, TENSORS, max_size=3),
)
CONFIGS = st.none() | st.dictionaries(NAMES, st.floats(allow_nan=False) | NAMES, min_size=1, max_size=3)
INPUTS = st.builds(wire.ForwardBackwardInput, st.lists(DATUMS, max_size=3), NAMES, CONFIGS)
SEQ_IDS = st.integers(-(2**31), 2**31 - 1)


@given(
    st.builds(wire.ForwardBackwardRequest, INPUTS, NAMES, SEQ_IDS)
    | st.builds(wire.ForwardRequest, INPUTS, NAMES, SEQ_IDS)
)
def test_what_was_written_is_read_again(request: wire.ForwardBackwardRequest | wire.ForwardRequest) -> None:
    assert protobuf.decode_pass(protobuf.encode_pass(request)) == request


@given(
    st.builds(
        wire.ForwardBackwardResult,
        st.sampled_from(["TorchLossReturn", "ArrayRecord"]),
        st.lists(st.dictionaries(NAMES, TENSORS, min_size=1, max_size=2), max_size=5),
        st.dictionaries(NAMES, st.floats(allow_nan=False), max_size=2),
    )
)
def test_results_come_back_whatever_their_shapes(result: wire.ForwardBackwardResult) -> None:
    assert protobuf.decode_result(protobuf.encode_result(result)) == result


def test_numbers_that_are_none_survive() -> None:
    values = [float("nan"), float("inf"), -float("inf")]
    result = wire.ForwardBackwardResult("a", [{"logprobs": TensorData(values)}], {"loss:sum": float("nan")})
    read = protobuf.decode_result(protobuf.encode_result(result))
    assert str(read.loss_fn_outputs[0]["logprobs"].tolist()) == str(values)
    assert str(read.metrics) == "{'loss:sum': nan}"


def test_the_newer_config_wins_and_the_older_one_counts_alone() -> None:
    message = pb.ForwardBackwardRequest(model_id="m", seq_id=1, loss_fn_config={"beta": 0.5})
    assert config_of(message) == {"beta": 0.5}
    message.loss_fn_config_v2["loss_id"].text = "abc"
    assert config_of(message) == {"loss_id": "abc"}


def config_of(message: pb.ForwardBackwardRequest) -> object:
    request = protobuf.decode_pass(message.SerializeToString())
    assert isinstance(request, wire.ForwardBackwardRequest)
    return request.forward_backward_input.loss_fn_config


def test_unknown_fields_are_passed_over() -> None:
    assert protobuf.decode_pass(REQUEST + bytes.fromhex("fa0603616263")) == protobuf.decode_pass(REQUEST)


def sparse(rows: list[int], columns: list[int], values: list[float], shape: list[int]) -> bytes:
    message = pb.ForwardBackwardRequest(model_id="m", seq_id=1)
    tensor = message.data.add().loss_fn_inputs["weights"]
    tensor.dtype = pb.DTYPE_FLOAT32
    tensor.shape.extend(shape)
    tensor.sparse_csr.values = struct.pack(f"<{len(values)}f", *values)
    tensor.sparse_csr.crow_indices = struct.pack(f"<{len(rows)}q", *rows)
    tensor.sparse_csr.col_indices = struct.pack(f"<{len(columns)}q", *columns)
    return message.SerializeToString()


def test_a_sparse_tensor_is_read_dense() -> None:
    request = protobuf.decode_pass(sparse([0, 1, 1, 3], [2, 0, 3], [1.5, 2.5, 3.5], [3, 4]))
    assert isinstance(request, wire.ForwardBackwardRequest)
    dense = request.forward_backward_input.data[0].loss_fn_inputs["weights"]
    np.testing.assert_array_equal(dense.to_numpy(), [[0, 0, 1.5, 0], [0, 0, 0, 0], [2.5, 0, 0, 3.5]])


@pytest.mark.parametrize(
    ("rows", "columns", "values", "shape", "says"),
    [
        ([0, 1], [0], [1.0], [1], "two dimensions"),
        ([0, 1], [0], [1.0], [2, 2], "row indices"),
        ([0, 2], [0], [1.0], [1, 2], "row indices"),
        ([1, 1], [0], [1.0], [1, 2], "row indices"),
        ([0, 2, 1], [0], [1.0], [2, 2], "row indices"),
        ([0, 1], [2], [1.0], [1, 2], "column indices"),
        ([0, 1], [-1], [1.0], [1, 2], "column indices"),
        ([0, 1], [0, 1], [1.0], [1, 2], "column indices"),
        ([0, 1], [0], [1.0], [1, 1 << 40], "may stand for"),
        ([0, 1], [0], [1.0], [-1, 2], "two dimensions"),
        ([], [], [], [0, 2], "row indices"),
    ],
)
def test_a_sparse_tensor_that_lies_is_refused(
    rows: list[int], columns: list[int], values: list[float], shape: list[int], says: str
) -> None:
    with pytest.raises(TinkexError, match=says):
        protobuf.decode_pass(sparse(rows, columns, values, shape))


def lying(field: str) -> bytes:
    message = pb.ForwardBackwardRequest(model_id="m", seq_id=1)
    datum = message.data.add()
    if field == "image":
        datum.model_input.add().image.format = "png"
    elif field == "no chunk":
        datum.model_input.add()
    elif field == "tokens":
        datum.model_input.add().encoded_text.tokens = b"abc"
    else:
        tensor = datum.loss_fn_inputs["weights"]
        tensor.dtype = pb.DTYPE_UNSPECIFIED if field == "dtype" else pb.DTYPE_FLOAT32
        tensor.dense = b"abc" if field == "dense" else b"abcd"
        tensor.shape.append(7 if field == "shape" else 1)
    return message.SerializeToString()


@pytest.mark.parametrize("field", ["image", "no chunk", "tokens", "dtype", "dense", "shape"])
def test_a_datum_that_cannot_be_read_is_named(field: str) -> None:
    with pytest.raises(TinkexError, match=r"data\[0\]") as caught:
        protobuf.decode_pass(lying(field))
    assert caught.value.kind == "protocol"


@given(st.binary(max_size=60), st.integers(0, len(REQUEST)))
def test_any_bytes_are_read_or_refused(noise: bytes, at: int) -> None:
    for body in (noise, REQUEST[:at], REQUEST[:at] + noise):
        for read in (protobuf.decode_pass, protobuf.decode_result):
            with contextlib.suppress(TinkexError):
                read(body)


def record(**changes: object) -> bytes:
    message = pb.ForwardBackwardOutput.FromString(OUTPUT)
    (first,) = message.loss_fn_outputs
    if "num_datums" in changes:
        first.num_datums = int(str(changes["num_datums"]))
    if changes.get("no fields"):
        del first.fields["logprobs"]
    field = first.fields["logprobs"] if not changes.get("no fields") else pb.BatchedTensor()
    for name in ("data", "offsets", "dtype"):
        if name in changes:
            setattr(field, name, changes[name])
    field.trailing_shape.extend([3] if changes.get("trailing") else [])
    return message.SerializeToString()


@pytest.mark.parametrize(
    "changes",
    [
        {"num_datums": 3},
        {"num_datums": 1 << 40, "no fields": True},
        {"offsets": b""},
        {"offsets": struct.pack("<3q", 4, 12, 20)},
        {"offsets": struct.pack("<3q", 0, 12, 24)},
        {"offsets": struct.pack("<3q", 0, 24, 20)},
        {"offsets": struct.pack("<3q", 0, 3, 20)},
        {"offsets": struct.pack("<3q", 0, -4, 20)},
        {"offsets": struct.pack("<4q", 0, 2**63 - 4, -(2**63), 20), "num_datums": 3},
        {"offsets": struct.pack("<4q", 0, 2**63 - 8, -(2**63) + 4, 20), "num_datums": 3},
        {"offsets": b"\0" * 23},
        {"num_datums": -1},
        {"dtype": 0},
        {"trailing": True},
    ],
)
def test_a_record_that_lies_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(TinkexError) as caught:
        protobuf.decode_result(record(**changes))
    assert caught.value.kind == "protocol"


INNER = st.lists(st.integers(0, 5).map(lambda number: 4 * number), max_size=4)
SPLITS = INNER.map(lambda inner: [0, *sorted(inner), 20]) | st.lists(st.integers(-4, 24), max_size=5)


@given(SPLITS, st.sampled_from([0, 1, 2, 3, 4]), st.lists(st.integers(-1, 3), max_size=2))
def test_a_batch_is_read_as_its_parts_are_read_alone(ends: list[int], dtype: int, trailing: list[int]) -> None:
    """Whatever offsets, type and trailing shape say, a part is the tensor of its bytes, or all are refused."""
    data = bytes(range(20))
    message = pb.ForwardBackwardOutput()
    field = message.loss_fn_outputs.add().fields["logprobs"]
    field.data, field.offsets, field.dtype = data, struct.pack(f"<{len(ends)}q", *ends), dtype  # type: ignore[assignment]
    field.trailing_shape.extend(trailing)
    body, expected = message.SerializeToString(), parts_of(data, ends, dtype, trailing)
    if expected is None:
        with pytest.raises(TinkexError, match="ForwardBackwardOutput cannot be read"):
            protobuf.decode_result(body)
        return
    read = [output["logprobs"] for output in protobuf.decode_result(body).loss_fn_outputs]
    assert read == expected
    assert all(part.buffer.readonly for part in read)


def parts_of(data: bytes, ends: list[int], dtype: int, trailing: list[int]) -> list[TensorData] | None:
    item = {1: 4, 2: 8, 3: 4, 4: 2}.get(dtype)
    row = (item or 0) * int(np.prod(trailing, dtype=int))
    lengths = np.diff(ends).tolist()
    if not ends or ends[0] != 0 or ends[-1] != len(data) or min(lengths, default=0) < 0:
        return None
    if item is None or min(trailing, default=0) < 0 or any(length % row if row else length for length in lengths):
        return None
    kinds: dict[int, str] = {1: "<f4", 2: "<i8", 3: "<i4", 4: "<u2"}
    parts = [np.frombuffer(data[begin:end], kinds[dtype]) for begin, end in itertools.pairwise(ends)]
    if dtype == 4:
        parts = [(part.astype(np.uint32) << 16).view(np.float32) for part in parts]
    shapes = [(length // row if row else 0, *trailing) for length in lengths]
    return [TensorData(part.reshape(shape)) for part, shape in zip(parts, shapes, strict=True)]


def test_results_lie_in_one_buffer_for_each_field() -> None:
    values = [TensorData(np.full(100, index, np.float32)) for index in range(50)]
    result = wire.ForwardBackwardResult("a", [{"logprobs": value, "again": value} for value in values], {})
    read = protobuf.decode_result(protobuf.encode_result(result))
    assert read == result
    for name in ("logprobs", "again"):
        assert len({id(output[name].buffer.obj) for output in read.loss_fn_outputs}) == 1
        assert all(output[name].to_numpy().flags.aligned for output in read.loss_fn_outputs)


def test_narrow_numbers_are_widened() -> None:
    halves = np.array([1.0, -2.5], np.float32).view(np.uint32) >> 16
    read = protobuf.decode_result(
        record(data=halves.astype(np.uint16).tobytes(), offsets=struct.pack("<3q", 0, 2, 4), dtype=pb.DTYPE_BFLOAT16)
    )
    assert [output["logprobs"].tolist() for output in read.loss_fn_outputs] == [[1.0], [-2.5]]
    ints = record(data=struct.pack("<2i", 7, -1), offsets=struct.pack("<3q", 0, 4, 8), dtype=pb.DTYPE_INT32)
    assert [output["logprobs"] for output in protobuf.decode_result(ints).loss_fn_outputs] == [
        TensorData([7]),
        TensorData([-1]),
    ]


def test_records_without_a_count_have_their_fields_count() -> None:
    assert len(protobuf.decode_result(record(num_datums=0)).loss_fn_outputs) == 2
    assert protobuf.decode_result(b"").loss_fn_output_type == "ArrayRecord"
