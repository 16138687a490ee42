"""Messages and results that leave the process, as bytes."""

import math
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_protocol import datum, float_tensors, int_tensors
from tinkex.actors import GenServer
from tinkex.protocol import (
    AdamParams,
    ChildSpec,
    Datum,
    Err,
    ModelInput,
    Ok,
    Request,
    TensorData,
    TinkexError,
    decode_message,
    decode_result,
    encode_message,
    encode_result,
    messages,
    replies,
    validation,
    wire,
)

PATH = "tinker://run:train:0/weights/ckpt"
TOKEN = "hush-hush-secret"


def refused(work: Any, *arguments: Any) -> TinkexError:
    with pytest.raises(TinkexError) as caught:
        work(*arguments)
    return caught.value


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_a_batch_comes_back_bit_for_bit(weights: list[float]) -> None:
    tokens = list(range(len(weights)))
    one = Datum(ModelInput.from_ints(tokens), {"target_tokens": tokens, "weights": weights})
    sent = messages.ForwardBackward([one, one], "cross_entropy", {"beta": 0.1}, await_timeout=1.5)
    assert decode_message(encode_message(sent)) == sent


@given(st.lists(st.dictionaries(st.text("abc", max_size=3), float_tensors() | int_tensors(), max_size=2), max_size=3))
def test_numbers_that_json_lacks_survive_in_a_result(outputs: list[dict[str, TensorData]]) -> None:
    metrics = {"a": math.inf, "b": -math.inf, "c": 1.5}
    sent = Ok(replies.ForwardBackwardOutput("R", outputs, metrics))
    back = decode_result(encode_result(sent)).unwrap()
    assert back.metrics == metrics
    for there, here in zip(back.loss_fn_outputs, outputs, strict=True):
        for key in here:
            assert there[key].dtype == here[key].dtype
            assert np.array_equal(there[key].to_numpy(), here[key].to_numpy(), equal_nan=here[key].dtype == "float32")


def test_nan_in_a_metric_survives() -> None:
    body = encode_result(Ok(replies.OptimStepOutput({"norm": math.nan})))
    assert body == b'{"ok":{"type":"OptimStepOutput","fields":{"metrics":{"norm":"NaN"}}}}'
    assert math.isnan(decode_result(body).unwrap().metrics["norm"])


def test_none_is_told_from_what_is_missing() -> None:
    for sent in (messages.SetCheckpointTtl(PATH, None), messages.SetCheckpointTtl(PATH, 5)):
        assert decode_message(encode_message(sent)) == sent
    child = replies.ChildInfo("id", None, "Worker", "permanent", alive=False)
    report = replies.LeakReport([replies.LeaseReport(None, None, "expiring", 1.5, "why")])
    for value in (child, report):
        assert decode_result(encode_result(Ok(value))) == Ok(value)


def test_an_error_comes_back_equal_with_its_golden_bytes() -> None:
    error = TinkexError(
        "busy", kind="api_status", category="server", status=429, retry_after=1.5, data={"seq_id": 3, "path": None}
    )
    body = encode_result(Err(error))
    assert body == (
        b'{"error":{"message":"busy","kind":"api_status","category":"server","status":429,"retry_after":1.5,'
        b'"data":{"seq_id":3,"path":null}}}'
    )
    assert decode_result(body) == Err(error)
    assert decode_result(body[:-2] + b',"new_field":{}},"new_field":1}') == Err(error)
    assert decode_result(b'{"error":{"message":"m","kind":"validation","category":"user"}}') == Err(validation("m"))


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (b"", "protocol"),
        (b"{}", "protocol"),
        (b"[]", "protocol"),
        (b"null", "protocol"),
        (b"\xff\xfe", "protocol"),
        (b'{"type":null,"fields":{}}', "protocol"),
        (b'{"type":"SaveState"}', "protocol"),
        (b'{"type":"SaveState","fields":3}', "protocol"),
        (b'{"type":"SaveState","fields":{}}', "protocol"),
        (b'{"type":"SaveState","fields":{"name":3}}', "protocol"),
        (b'{"type":"SaveState","fields":{"name":"\xff"}}', "protocol"),
        (b'{"type":"SaveState","fields":{"name":"a/b"}}', "validation"),
        (b'{"type":"SaveState","fields":{"name":"a","key":"k"}}', "validation"),
        (b'{"type":"SavedState","fields":{"path":"a"}}', "protocol"),
        (b'{"type":"StartChild","fields":{"spec":{"id":"a","actor_class":"os.system"}}}', "protocol"),
        (b'{"type":"__all__","fields":{}}', "protocol"),
        (b'{"type":"OptimStep","fields":{"adam_params":{"learning_rate":"NaN"}}}', "protocol"),
        (b'{"type":"OptimStep","fields":{"adam_params":{"learning_rate":-1}}}', "validation"),
        (b'{"type":"Forward","fields":{"data":' + b"[" * 100_000, "protocol"),
    ],
    ids=lambda value: value[:60] if isinstance(value, bytes) else value,
)
def test_bytes_that_are_no_message_are_one_typed_error(message: bytes, kind: str) -> None:
    error = refused(decode_message, message)
    assert error.kind == kind
    assert error.__cause__ is None
    assert len(error.message) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b'{"ok":null}',
        b'{"ok":3}',
        b'{"ok":{"type":"SavedState","fields":{}}}',
        b'{"ok":{"type":"SaveState","fields":{"name":"a"}}}',
        b'{"ok":{"type":"SavedState","fields":{"path":"p"}},"error":{}}',
        b'{"error":[]}',
        b'{"error":{}}',
        b'{"error":{"message":"m","kind":"no such","category":"user"}}',
        b'{"error":{"message":"m","kind":["validation"],"category":"user"}}',
    ],
)
def test_bytes_that_are_no_result_are_one_typed_error(body: bytes) -> None:
    assert refused(decode_result, body).kind == "protocol"


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_raise_anything_else(body: bytes) -> None:
    for read in (decode_message, decode_result):
        assert refused(read, body).kind == "protocol"


class Own(Request[int], frozen=True):
    number: int = 0


class Worker(GenServer[Any]):
    pass


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (messages.StartChild(ChildSpec("id", Worker)), "only this process has"),
        (Own(), "only a message of tinkex.protocol.messages has bytes, not Own"),
        (replies.SavedState("p"), "not SavedState"),
        ({"type": "Status"}, "not dict"),
        (messages.SaveState("a/b"), "name is 1 to 255"),
        (messages.ForwardBackward([datum(weights=[math.nan, 0.0, 0.0])]), "has nan"),
        (
            messages.Forward([Datum(datum().model_input, {"\ud800": TensorData([1.0])})], "own_loss"),
            "must have a printable name",
        ),
    ],
)
def test_what_has_no_bytes_is_refused_with_the_reason(message: Any, says: str) -> None:
    error = refused(encode_message, message)
    assert (error.kind, error.category) == ("validation", "user")
    assert says in error.message


def test_a_ref_and_values_that_json_lacks_are_refused_in_a_result() -> None:
    ref = Worker.start()
    try:
        assert "only a reply" in refused(encode_result, Ok(ref)).message
    finally:
        ref.stop()
    assert refused(encode_result, Ok(None)).kind == "validation"
    assert refused(encode_result, Err(validation("m", thing=object()))).kind == "validation"


def test_an_access_token_travels_and_is_never_printed() -> None:
    sent = messages.CreateTrainingClientFromState(PATH, weights_access_token=TOKEN)
    body = encode_message(sent)
    assert TOKEN.encode() in body
    back: Any = decode_message(body)
    assert back.weights_access_token == TOKEN
    assert TOKEN not in f"{back} {back!r} {back.check()}"
    for broken in (
        body[:-1],
        body + b"}",
        body.replace(b'"optimizer":false', b'"optimizer":3'),
        body.replace(b'"path"', b'"paths"'),
        body.replace(b"weights/", b"models/"),
        body.replace(TOKEN.encode(), TOKEN.encode() + b"\\n"),
        body.replace(TOKEN.encode(), TOKEN.encode() + b"\xff"),
        body.replace(f'"{TOKEN}"'.encode(), f'["{TOKEN}"]'.encode()),
    ):
        error = refused(decode_message, broken)
        assert TOKEN not in f"{error} {error!r} {error.to_dict()}"


def test_numbers_and_text_of_subclasses_are_written_as_what_they_are() -> None:
    """A schedule gives numpy.float64, a config numpy.str_ and read-only mappings; the checks let them pass."""
    step = messages.OptimStep(AdamParams(np.float64(0.5)))
    assert step.check() is None
    assert decode_message(encode_message(step)) == messages.OptimStep(AdamParams(0.5))
    named = messages.SaveState(np.str_("ckpt"), user_metadata={np.str_("k"): np.str_("v")})
    assert decode_message(encode_message(named)) == messages.SaveState("ckpt", user_metadata={"k": "v"})
    config = types.MappingProxyType({"beta": np.float64(0.5)})
    passed = messages.Forward([datum()], "cross_entropy", config)
    assert passed.check() is None
    assert decode_message(encode_message(passed)) == messages.Forward([datum()], "cross_entropy", {"beta": 0.5})
    assert wire.encode({"whole": type("Whole", (int,), {})(3)}) == b'{"whole":3}'


def test_a_bare_name_is_never_looked_up_beyond_the_messages() -> None:
    for name in ("Any", "Request", "__builtins__", "__loader__", "ApiKey"):
        assert refused(decode_message, f'{{"type":"{name}","fields":{{}}}}'.encode()).kind == "protocol"
