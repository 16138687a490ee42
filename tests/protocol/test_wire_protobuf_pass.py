"""A pass is written as the protobuf library would write it, byte for byte; what the wire does not have is refused."""

import math
import subprocess
import sys
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from bodies import batch, with_messages
from support_protocol import float_tensors, int_tensors, texts
from tinkex.protocol import Datum, EncodedTextChunk, ModelInput, TensorData, TinkexError, wire
from tinkex.protocol import _blocks as blocks
from tinkex.protocol.wire import protobuf
from tinkex.protocol.wire._proto import tinkex_wire_pb2 as pb
from tinkex.protocol.wire.protobuf_pass import encode_pass, pass_pieces

Pass = wire.ForwardBackwardRequest | wire.ForwardRequest

SHAPES = st.lists(st.integers(0, 3), max_size=3)
SHAPED = st.tuples(SHAPES, st.sampled_from(["float32", "int64"])).map(
    lambda drawn: TensorData([0] * math.prod(drawn[0]), drawn[1], drawn[0])  # type: ignore[arg-type]
)
TENSORS = float_tensors() | int_tensors() | SHAPED
INT32 = st.integers(-(2**31), 2**31 - 1)
CHUNKS = st.lists(INT32, max_size=40).map(EncodedTextChunk)
DATUMS = st.builds(Datum, st.lists(CHUNKS, max_size=3).map(ModelInput), st.dictionaries(texts, TENSORS, max_size=4))
CONFIGS = st.none() | st.dictionaries(texts, st.floats() | texts | st.integers(-(2**60), 2**60), max_size=3)
INPUTS = st.builds(wire.ForwardBackwardInput, st.lists(DATUMS, max_size=4), texts, CONFIGS)
PASSES = st.builds(wire.ForwardBackwardRequest, INPUTS, texts, INT32) | st.builds(
    wire.ForwardRequest, INPUTS, texts, INT32
)


def body_of(request: Pass) -> wire.ForwardBackwardInput:
    return request.forward_input if isinstance(request, wire.ForwardRequest) else request.forward_backward_input


def one(datum: Datum, **changes: Any) -> wire.ForwardBackwardRequest:
    fields: dict[str, Any] = {"model_id": "m", "seq_id": 1, "loss_fn": "x", "loss_fn_config": None, **changes}
    body = wire.ForwardBackwardInput([datum], fields["loss_fn"], fields["loss_fn_config"])
    return wire.ForwardBackwardRequest(body, fields["model_id"], fields["seq_id"])


@given(PASSES)
def test_the_library_reads_what_it_would_have_written(request: Pass) -> None:
    written, expected = encode_pass(request), with_messages(request)
    read = pb.ForwardBackwardRequest.FromString(written)
    # NaN does not equal itself, so the comparison is of bytes that the library writes of either.
    assert read.SerializeToString(deterministic=True) == expected
    assert len(written) == len(expected)
    assert encode_pass(request) == written
    assert b"".join(pass_pieces(request)) == written


@given(PASSES)
def test_the_bytes_are_those_of_the_library_where_no_name_begins_another(request: Pass) -> None:
    body = body_of(request)
    maps = [body.loss_fn_config or {}, *(datum.loss_fn_inputs for datum in body.data)]
    if not any(begins_another(list(names)) for names in maps):
        assert encode_pass(request) == with_messages(request)


def begins_another(names: list[str]) -> bool:
    """Whether the library's order, longer names first, differs from the order of bytes."""
    return any(a != b and b.startswith(a) for a in names for b in names)


@pytest.mark.parametrize("shape", [(1, 1), (3, 127), (3, 128), (2, 4096), (2, 40_000), (300, 200), (1, 70_000)])
def test_the_bytes_are_those_of_the_library_at_sizes_up_to_and_beyond_a_block(shape: tuple[int, int]) -> None:
    request = batch(*shape).request
    assert encode_pass(request) == with_messages(request)


def test_chunks_of_all_sizes_stand_in_their_order_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    sizes = [0, 1, 7, 8, 9, 0, 0, 20, 3, 3, 3, 8, 0]
    tokens = iter(range(10**6))
    data = [
        Datum(ModelInput([EncodedTextChunk([next(tokens) for _ in range(size)]) for size in (size, 2)]), {})
        for size in sizes
    ]
    request = wire.ForwardBackwardRequest(wire.ForwardBackwardInput(data, "x"), "m", 1)
    assert encode_pass(request) == with_messages(request)


def test_tensors_are_sent_from_where_they_lie() -> None:
    weights = TensorData(np.ones(1000, np.float32))
    pieces = pass_pieces(one(Datum(ModelInput.from_ints([1]), {"weights": weights})))
    assert any(piece is weights.buffer for piece in pieces)


@pytest.mark.parametrize("token", [2**31, -(2**31) - 1, 2**32, 2**63 - 1, -(2**63)])
def test_a_token_beyond_32_bits_is_refused_by_its_place_instead_of_wrapped(token: int) -> None:
    good = Datum(ModelInput.from_ints([1, 2]), {})
    bad = Datum(ModelInput([EncodedTextChunk([1]), EncodedTextChunk([-5, token, 3])]), {})
    request = wire.ForwardBackwardRequest(wire.ForwardBackwardInput([good, bad], "x"), "m", 1)
    with pytest.raises(
        TinkexError, match=rf"data\[1\]\.model_input\.chunks\[1\]\.tokens has the token {token}, beyond"
    ):
        encode_pass(request)


def test_targets_are_int64_and_carry_any_number() -> None:
    targets = TensorData([2**31, -(2**63), 2**63 - 1])
    read = protobuf.decode_pass(encode_pass(one(Datum(ModelInput.from_ints([1, 2, 3]), {"target_tokens": targets}))))
    assert body_of(read).data[0].loss_fn_inputs["target_tokens"] == targets


def test_nan_and_infinity_keep_their_bits() -> None:
    bits = np.array([0x7FC00000, 0x7F800001, 0xFFC12345, 0x7F800000, 0xFF800000, 0x80000000], np.uint32)
    tensor = TensorData(bits.view(np.float32))
    config = {"a": math.nan, "b": -math.inf}
    read = protobuf.decode_pass(encode_pass(one(Datum(ModelInput([]), {"w": tensor}), loss_fn_config=config)))
    assert bytes(body_of(read).data[0].loss_fn_inputs["w"].buffer) == bits.tobytes()
    assert str(sorted((body_of(read).loss_fn_config or {}).items())) == "[('a', nan), ('b', -inf)]"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"seq_id": 2**31}, "seq_id must be a number of 32 bits, not 2147483648"),
        ({"seq_id": -(2**31) - 1}, "seq_id must be"),
        ({"model_id": "a\ud800"}, "model_id has text that cannot be written"),
        ({"loss_fn": "\udfff"}, "loss_fn has text that cannot be written"),
        ({"loss_fn_config": {"\ud800": 1.0}}, "loss_fn_config has text"),
        ({"loss_fn_config": {"a": "\ud800"}}, "loss_fn_config has text"),
        ({"loss_fn_config": {"a": 10**400}}, "loss_fn_config has a value that is no double"),
    ],
)
def test_what_the_wire_does_not_have_is_refused_in_words(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(TinkexError, match=why) as caught:
        encode_pass(one(Datum(ModelInput([]), {}), **changes))
    assert (caught.value.kind, caught.value.category) == ("validation", "user")


def test_an_input_with_a_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(TinkexError, match="loss_fn_inputs has text that cannot be written"):
        encode_pass(one(Datum(ModelInput([]), {"a\ud800": TensorData([1.0])})))


def test_writing_needs_no_protobuf_library() -> None:
    code = """
import sys
from tinkex.protocol import Datum, ModelInput, wire
from tinkex.protocol.wire.protobuf_pass import encode_pass
data = [Datum(ModelInput.from_ints([1, 2]), {"target_tokens": [2, 3], "weights": [0.5, 1.0]})]
encode_pass(wire.ForwardBackwardRequest(wire.ForwardBackwardInput(data, "cross_entropy", {"beta": 1.0}), "m", 1))
print([name for name in sys.modules if name.startswith("google")])
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
