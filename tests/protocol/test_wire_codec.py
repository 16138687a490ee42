import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_protocol import datum, datums, float32s, float_tensors, int_tensors, lines_run, texts
from tinkex.protocol import Datum, ModelInput, TensorData, TinkexError, replies, wire

metrics = st.dictionaries(texts, st.floats(allow_nan=False) | st.just(math.nan), max_size=4)


def same(a: dict[str, float], b: dict[str, float]) -> bool:
    return list(a) == list(b) and all(
        x == y or (math.isnan(x) and math.isnan(y)) for x, y in zip(a.values(), b.values(), strict=True)
    )


def canonical(tensor: TensorData) -> TensorData:
    """The tensor with one NaN for all, as JSON has only one."""
    values = tensor.to_numpy()
    return TensorData(np.where(np.isnan(values), np.float32("nan"), values)) if tensor.dtype == "float32" else tensor


@given(st.lists(datums(), max_size=3), texts, st.none() | st.dictionaries(texts, st.floats(-1e30, 1e30) | texts))
def test_a_request_comes_back_as_it_went(data: list[Datum], loss_fn: str, config: Any) -> None:
    clean = [
        Datum(one.model_input, {key: canonical(tensor) for key, tensor in one.loss_fn_inputs.items()}) for one in data
    ]
    sent = wire.ForwardBackwardRequest(wire.ForwardBackwardInput(clean, loss_fn, config), "m", 1)
    assert wire.decode(wire.encode(sent), wire.ForwardBackwardRequest) == sent


@given(st.lists(st.dictionaries(texts, float_tensors() | int_tensors(), max_size=2), max_size=3), metrics)
def test_a_result_comes_back_as_it_went(outputs: list[dict[str, TensorData]], numbers: dict[str, float]) -> None:
    clean = [{key: canonical(tensor) for key, tensor in output.items()} for output in outputs]
    back = wire.decode(wire.encode(wire.ForwardBackwardResult("R", clean, numbers)), wire.ForwardBackwardResult)
    assert back.loss_fn_outputs == clean
    assert same(back.metrics, numbers)
    step = wire.decode(wire.encode(wire.OptimStepResult(numbers)), wire.OptimStepResult)
    assert step.metrics is not None
    assert same(step.metrics, numbers)


@given(st.lists(float32s, min_size=1))
def test_what_goes_out_is_strict_json(values: list[float]) -> None:
    def refuse(word: str) -> Any:
        raise AssertionError(word)

    body = wire.encode(wire.ForwardBackwardResult("R", [{"x": TensorData(values, "float32")}], {"m": values[0]}))
    assert b"null" not in body
    json.loads(body, parse_constant=refuse)


def test_numbers_that_json_lacks_are_words() -> None:
    tensor = TensorData([math.nan, math.inf, -math.inf, 1.5])
    assert wire.encode(tensor) == b'{"data":["NaN","Infinity","-Infinity",1.5],"dtype":"float32","shape":[4]}'
    assert wire.encode(wire.OptimStepResult({"a": math.nan, "b": -math.inf, "c": 1.0})) == (
        b'{"metrics":{"a":"NaN","b":"-Infinity","c":1.0},"type":"optim_step"}'
    )


def test_words_and_null_are_read_as_numbers() -> None:
    body = b'{"data":["NaN",null,"Infinity","-Infinity",2,0.5],"dtype":"float32"}'
    values = wire.decode(body, TensorData).tolist()
    assert math.isnan(values[0])
    assert math.isnan(values[1])
    assert values[2:] == [math.inf, -math.inf, 2.0, 0.5]
    step = wire.decode(b'{"metrics":{"a":null,"b":"Infinity","c":1}}', wire.OptimStepResult)
    assert step.metrics is not None
    assert math.isnan(step.metrics["a"])
    assert (step.metrics["b"], step.metrics["c"]) == (math.inf, 1.0)


def test_actor_replies_are_read_as_kindly_as_bodies() -> None:
    """Unknown fields are passed over, nulls are defaults, words are numbers."""
    text = (
        b'{"tinker_path":"p","checkpoint_id":"weights/x","checkpoint_type":"training","time":"t","public":null,"new":1}'
    )
    assert wire.decode(text, replies.Checkpoint) == replies.Checkpoint("p", "weights/x", "training", "t")
    step = wire.decode(b'{"metrics":{"a":"-Infinity"},"new":[]}', replies.OptimStepOutput)
    assert step == replies.OptimStepOutput({"a": -math.inf})
    assert wire.encode(step) == b'{"metrics":{"a":"-Infinity"}}'
    status = wire.decode(b'{"actor":"a","state":"s","operations":null}', replies.ActorStatus)
    assert status == replies.ActorStatus("a", "s")


@pytest.mark.parametrize(("shape", "expected"), [(None, (4,)), ([4], (4,)), ([2, 2], (2, 2)), ([1, 4, 1], (1, 4, 1))])
def test_a_missing_or_null_shape_is_one_dimension(shape: Any, expected: tuple[int, ...]) -> None:
    fields: dict[str, Any] = {"data": [1, 2, 3, 4], "dtype": "int64", "shape": shape}
    assert wire.decode(json.dumps(fields).encode(), TensorData).shape == expected
    del fields["shape"]
    assert wire.decode(json.dumps(fields).encode(), TensorData).shape == (4,)


PREFIX = '{"forward_input":{"data":[{"model_input":{"chunks":[{"tokens":[1],"type":"encoded_text"}]},"loss_fn_inputs":'
SUFFIX = '}],"loss_fn":"x"},"model_id":"m","seq_id":1}'


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        ("3", "Expected `object`, got `int`"),
        ("null", "Expected `object`, got `NoneType`"),
        ("{}", "a tensor has data"),
        ('{"data":[1]}', "a tensor has data"),
        ('{"data":[1],"dtype":"int32"}', "a tensor has data"),
        ('{"data":[1],"dtype":["int64"]}', "a tensor has data"),
        ('{"data":1,"dtype":"int64"}', "a tensor has data"),
        ('{"data":[[1],[2]],"dtype":"int64"}', "one flat list"),
        ('{"data":[1,[2]],"dtype":"int64"}', "ragged"),
        ('{"data":[null,[2]],"dtype":"float32"}', "ragged"),
        ('{"data":[1,2],"dtype":"int64","shape":[3]}', "shape"),
        ('{"data":[1,2],"dtype":"int64","shape":2}', "shape"),
        ('{"data":[1,2],"dtype":"int64","shape":[-1,-2]}', "shape"),
        ('{"data":[1,2],"dtype":"int64","shape":["2"]}', "shape"),
        ('{"data":[1.5],"dtype":"int64"}', "whole numbers"),
        ('{"data":[null],"dtype":"int64"}', "numbers, not NoneType"),
        ('{"data":["NaN"],"dtype":"int64"}', "numbers, not str"),
        ('{"data":["nan"],"dtype":"float32"}', "numbers, not str"),
        ('{"data":["NaN","1.5"],"dtype":"float32"}', "numbers, not str"),
        ('{"data":[true],"dtype":"float32"}', "numbers, not bool"),
        ('{"data":[null,true],"dtype":"float32"}', "numbers, not bool"),
        ('{"data":[{}],"dtype":"float32"}', "numbers, not dict"),
        ('{"data":[1e39],"dtype":"float32"}', "too large"),
        ('{"data":[9223372036854775808],"dtype":"int64"}', "too large"),
        ('{"data":[1],"dtype":"int64","shape":[1,1],"sparse_crow_indices":[0,1]}', "sparse"),
        ('{"data":[1],"dtype":"int64","sparse_col_indices":[0]}', "sparse"),
        (
            '{"data":[1],"dtype":"int64","shape":[1.5,1],"sparse_crow_indices":[0,1],"sparse_col_indices":[0]}',
            "two dim",
        ),
        (
            '{"data":[1],"dtype":"int64","shape":[1,1],"sparse_crow_indices":[0,2],"sparse_col_indices":[0]}',
            "row indices",
        ),
        ('{"data":[1],"dtype":"int64","shape":[1,1],"sparse_crow_indices":[0,1],"sparse_col_indices":["a"]}', "a"),
    ],
)
def test_a_bad_tensor_is_refused_with_its_place(tensor: str, why: str) -> None:
    with pytest.raises(TinkexError, match=why) as caught:
        wire.decode(f'{PREFIX}{{"w":{tensor}}}{SUFFIX}'.encode(), wire.ForwardRequest)
    assert (caught.value.kind, caught.value.category) == ("protocol", "server")
    assert caught.value.data["json_path"] == "$.forward_input.data[0].loss_fn_inputs[...]"


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        ('{"type":"image","data":"","format":"png"}', "type 'image' is not supported"),
        ('{"type":"image","tokens":[1]}', "type 'image' is not supported"),
        ('{"type":["a"],"tokens":[1]}', "is not supported"),
        ("{}", "type None is not supported"),
        ('{"type":"encoded_text"}', "with tokens"),
        ('{"tokens":null}', "tokens: "),
        ('{"tokens":"abc"}', "tokens: .*not str"),
        ('{"tokens":[1.5]}', "tokens: "),
        ('{"tokens":[[1]]}', "tokens must be one list"),
        ("[1]", "Expected `object`, got `list`"),
    ],
)
def test_a_bad_chunk_is_refused_with_its_place(chunk: str, why: str) -> None:
    with pytest.raises(TinkexError, match=why) as caught:
        wire.decode(f'{{"chunks":[{{"tokens":[1]}},{chunk}]}}'.encode(), ModelInput)
    assert caught.value.data["json_path"] == "$.chunks[1]"


@pytest.mark.parametrize(
    "chunk", ['{"tokens":[1,2]}', '{"tokens":[1,2],"type":null}', '{"type":"encoded_text","tokens":[1,2]}']
)
def test_a_chunk_of_text_needs_no_type(chunk: str) -> None:
    assert wire.decode(f'{{"chunks":[{chunk}]}}'.encode(), ModelInput) == ModelInput.from_ints([1, 2])


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("place", ['{"metrics":{"a":%s}}', '{"metrics":{"a":1.0,"b": %s}}', "%s"])
def test_bare_words_are_refused_by_name(word: str, place: str) -> None:
    with pytest.raises(TinkexError, match=f'bare {word} at byte \\d+ is no JSON; write it as the string "{word}"'):
        wire.decode((place % word).encode(), wire.OptimStepResult)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"<html>", "malformed"),
        (b'{"metrics":nan}', "malformed"),
        (b"{} {}", "trailing"),
        (b"\xef\xbb\xbf{}", "malformed"),
        (b'{"type":"\xff"}', "utf-8"),
        (b'{"type":"\\ud800"}', "truncated"),
        (b"[]", "Expected `object`, got `array`"),
        (b"null", "Expected `object`, got `null`"),
        (b'{"metrics":{"a":1e999}}', "out of range"),
        (b'{"metrics":{"a":"x"}}', r"Expected `float`, got `str` - at `\$\.metrics"),
        (b'{"metrics":{"a":"NaN","b":"x"}}', r"Expected `float`, got `str` - at `\$\.metrics"),
        (b'{"x":' + b"[" * 100_000, "nested too deeply"),
        (b'{"type":null,"x":' + b"[" * 100_000, "nested too deeply"),
        (b'{"type":null,"y":"\xff"}', "utf-8"),
    ],
)
def test_what_cannot_be_read_is_one_error_with_the_reason(body: bytes, why: str) -> None:
    with pytest.raises(TinkexError, match=why) as caught:
        wire.decode(body, wire.OptimStepResult)
    error = caught.value
    assert (error.kind, error.category) == ("protocol", "server")
    assert str(error).startswith("OptimStepResult cannot be read: ")
    assert error.__cause__ is not None


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    for into in (wire.ForwardBackwardRequest, wire.OptimStepResult, dict[str, Any]):
        try:
            wire.decode(body, into)
        except TinkexError as error:
            assert error.kind == "protocol"  # noqa: PT017 - both ways are right


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "dtype", "shape", "metrics", "model_id", "seq_id", "loss_fn", "type", "x"]), inner
        )
    ),
    max_leaves=10,
)


@given(json_trees, json_trees)
def test_no_json_raises_anything_else(tree: Any, inner: Any) -> None:
    bodies = [tree, {"forward_backward_input": tree, "model_id": "m", "seq_id": 1}, {"metrics": tree}]
    bodies.append({"forward_backward_input": {"data": [inner], "loss_fn": "x"}, "model_id": tree, "seq_id": 1})
    for body in bodies:
        for into in (wire.ForwardBackwardRequest, wire.OptimStepResult, wire.CheckpointsReply, TensorData):
            try:
                wire.decode(json.dumps(body).encode(), into)
            except TinkexError as error:
                assert error.kind == "protocol"  # noqa: PT017 - both ways are right


def test_plain_types_are_read_too() -> None:
    assert wire.decode(b'{"request_id":"r","x":null}', dict[str, Any]) == {"request_id": "r", "x": None}
    assert wire.decode(b'[{"detail":"a"}]', list[wire.ErrorReply]) == [wire.ErrorReply("a")]
    with pytest.raises(TinkexError, match="dict"):
        wire.decode(b"[]", dict[str, Any])


def test_other_values_are_written_as_they_are_and_unknown_ones_refused() -> None:
    assert (
        wire.encode({"a": None, "b": [TensorData([1])]}) == b'{"a":null,"b":[{"data":[1],"dtype":"int64","shape":[1]}]}'
    )
    assert wire.encode([wire.OptimStepResult(), wire.ErrorReply("x")]) == b'[{"type":"optim_step"},{"detail":"x"}]'
    assert wire.encode([]) == b"[]"
    with pytest.raises(NotImplementedError, match="object is no type of the wire"):
        wire.encode(object())
    with pytest.raises(NotImplementedError, match="range"):
        wire.decode(b"[1]", list[range])


def test_tokens_and_sequence_numbers_are_exact_to_64_bits() -> None:
    big = 638222123000000001
    body = wire.encode(wire.SaveWeightsRequest("m", big, "x"))
    assert wire.decode(body, wire.SaveWeightsRequest).seq_id == big
    assert wire.decode(wire.encode(TensorData([2**63 - 1, -(2**63)])), TensorData).tolist() == [2**63 - 1, -(2**63)]


def test_no_python_code_runs_per_number() -> None:
    """A request of 10,000 tokens takes as many lines as one of 100, both ways; ``test_wire_repeats`` sees to masks."""

    def work(count: int) -> int:
        tokens = list(range(count))
        one = Datum(ModelInput.from_ints(tokens), {"target_tokens": tokens, "weights": [0.1 * n for n in tokens]})
        request = wire.ForwardBackwardRequest(wire.ForwardBackwardInput([one], "cross_entropy"), "m", 1)
        return lines_run(lambda: wire.decode(wire.encode(request), wire.ForwardBackwardRequest))

    work(100)
    assert work(100) == work(10_000) > 0


def test_a_float_keeps_all_its_bits() -> None:
    tensor = TensorData(np.array([0.1, 1 / 3, 1e-45, 3.4028235e38], dtype=np.float32))
    assert wire.decode(wire.encode(tensor), TensorData) == tensor
    assert wire.decode(wire.encode(datum()), Datum) == datum()
