"""The protobuf wire of sampling: golden bytes, round trips, and bodies that lie."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.protocol import TensorData, TinkexError, wire
from tinkex.protocol.wire._proto import tinkex_wire_pb2 as pb
from tinkex.protocol.wire.protobuf_sample import decode_sample, encode_sample

SAMPLE = bytes.fromhex("0a16080112080b0000000c0000001a08000000bf000080be12080000c07f000080bf")
"""One sequence that ended by length, tokens 11 and 12, and the prompt's logprobs NaN and -1."""

RESULT = wire.SampleResult([wire.SampledSequence("length", [11, 12], [-0.5, -0.25])], [None, -1.0])

tokens = st.integers(0, 2**31 - 1)
logprobs = st.floats(-90_000.0, 0.0, width=32)
"""Above the one that means none."""


def test_the_golden_bytes_are_written_and_read() -> None:
    assert encode_sample(RESULT) == SAMPLE
    assert decode_sample(SAMPLE) == RESULT


@st.composite
def rows(draw: st.DrawFn, length: int) -> wire.TopK:
    width = draw(st.integers(1, 4))
    cells = st.lists(st.tuples(tokens, logprobs), min_size=width, max_size=width)
    return draw(st.lists(st.none() | cells, min_size=length, max_size=length))


@st.composite
def results(draw: st.DrawFn) -> wire.SampleResult:
    sequences: list[wire.SampledSequence] = []
    for _ in range(draw(st.integers(0, 3))):
        drawn = draw(st.lists(tokens, min_size=1, max_size=5))
        scores = draw(st.none() | st.lists(logprobs, min_size=len(drawn), max_size=len(drawn)))
        likeliest = draw(st.none() | rows(len(drawn)))
        sequences.append(wire.SampledSequence(draw(st.sampled_from(["stop", "length"])), drawn, scores, likeliest))
    length = draw(st.integers(1, 5))
    prompt = draw(st.none() | st.lists(st.none() | logprobs, min_size=length, max_size=length))
    targets = draw(st.none() | st.lists(logprobs, min_size=2, max_size=2))
    tensor = None if targets is None else TensorData(targets, "float32", [1, 2])
    return wire.SampleResult(sequences, prompt, draw(st.none() | rows(length)), tensor)


@given(results())
def test_what_is_written_is_read(result: wire.SampleResult) -> None:
    read = decode_sample(encode_sample(result))
    assert read.sequences == result.sequences
    assert read.prompt_logprobs == result.prompt_logprobs
    assert read.topk_prompt_logprobs == result.topk_prompt_logprobs
    assert read.target_prompt_logprobs == result.target_prompt_logprobs


def test_a_row_with_fewer_tokens_is_filled_up() -> None:
    """As the wire says: token 0 with logprob -99999, which no reader takes for a value."""
    result = wire.SampleResult([], topk_prompt_logprobs=[None, [(5, -1.0), (6, -2.0)], [(7, -3.0)]])
    message = pb.SampleResponse()
    message.ParseFromString(encode_sample(result))
    assert (message.topk_prompt_logprobs.k, message.topk_prompt_logprobs.length) == (2, 3)
    assert decode_sample(encode_sample(result)).topk_prompt_logprobs == result.topk_prompt_logprobs


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\x0a\xff", "SampleResponse"),
        (pb.SampleResponse(sequences=[pb.SampledSequence(tokens=b"123")]).SerializeToString(), "SampleResponse"),
        (pb.SampleResponse(prompt_logprobs=b"12345").SerializeToString(), "SampleResponse"),
        (
            pb.SampleResponse(topk_prompt_logprobs=pb.TopkLogprobs(k=3, length=1)).SerializeToString(),
            "cannot reshape",
        ),
        (b"\x0a\x02\x08\x07", "unknown stop reason 7"),
    ],
)
def test_a_body_that_lies_is_refused(body: bytes, says: str) -> None:
    with pytest.raises(TinkexError, match=says) as caught:
        decode_sample(body)
    assert caught.value.kind == "protocol"


def test_undefined_is_nan_on_the_wire() -> None:
    message = pb.SampleResponse()
    message.ParseFromString(encode_sample(RESULT))
    assert math.isnan(memoryview(message.prompt_logprobs).cast("f")[0])
