"""The bytes of every body on the wire."""

import json
from typing import Any, cast

import msgspec
import pytest

from support_wire_bodies import CHECKPOINT, CHECKPOINT_JSON, GOLDEN
from tinkex.protocol import AdamParams, LoraConfig, TinkexError, wire
from tinkex.protocol.wire._base import Body

ids = [type(body).__name__ for body, _ in GOLDEN]
golden = pytest.mark.parametrize(("body", "text"), GOLDEN, ids=ids)


def test_every_body_is_tried_here() -> None:
    assert set(ids) == set(wire.__all__) - {"TopK", "encode", "decode"}


@golden
def test_a_body_has_exactly_these_bytes_and_is_read_from_them(body: msgspec.Struct, text: str) -> None:
    assert wire.encode(body).decode() == text
    assert wire.decode(text.encode(), type(body)) == body


@golden
def test_an_old_reader_passes_over_what_a_new_writer_adds(body: msgspec.Struct, text: str) -> None:
    def grow(value: Any) -> Any:
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            open_maps = ("loss_fn_inputs", "loss_fn_outputs", "metrics", "user_metadata", "error", "urls")
            grown = {key: item if key in open_maps else grow(item) for key, item in fields.items()}
            return {**grown, "new_field": {"a": [None, 1.5]}}
        return [grow(item) for item in cast("list[object]", value)] if isinstance(value, list) else value

    assert wire.decode(json.dumps(grow(json.loads(text))).encode(), type(body)) == body


@golden
def test_a_new_reader_fills_in_what_an_old_writer_lacks(body: msgspec.Struct, text: str) -> None:
    """Missing optional fields and explicit nulls are the same: the default."""
    fields = json.loads(text)
    for field in msgspec.structs.fields(body):
        if field.required:
            continue
        without = {name: value for name, value in fields.items() if name != field.name}
        expected = wire.decode(json.dumps(without).encode(), type(body))
        with_null = wire.decode(json.dumps({**without, field.name: None}).encode(), type(body))
        assert with_null == expected


@golden
def test_a_required_field_that_is_missing_or_null_is_named(body: msgspec.Struct, text: str) -> None:
    fields = json.loads(text)
    for field in msgspec.structs.fields(body):
        if not field.required or isinstance(body, wire.TtlRequest):
            continue
        for broken in ({k: v for k, v in fields.items() if k != field.name}, {**fields, field.name: None}):
            with pytest.raises(TinkexError, match=field.name) as caught:
                wire.decode(json.dumps(broken).encode(), type(body))
            assert (caught.value.kind, caught.value.category) == ("protocol", "server")


@golden
def test_requests_and_replies_omit_nulls_where_null_means_nothing(body: msgspec.Struct, text: str) -> None:
    assert isinstance(body, Body)
    if not body.SENDS_NULL and not isinstance(body, wire.SampleResult):
        assert "null" not in text
    assert " " not in text.replace("no such model", "")


@golden
def test_bodies_are_frozen_and_documented(body: msgspec.Struct, text: str) -> None:
    assert type(body).__doc__
    assert text
    with pytest.raises(AttributeError):
        setattr(body, body.__struct_fields__[0], None)


def test_nulls_inside_structs_inside_structs_take_the_default() -> None:
    text = (
        b'{"session_id":"s","model_seq_id":0,"base_model":"b","user_metadata":null,'
        b'"lora_config":{"rank":8,"seed":null,"train_mlp":null,"train_attn":null},"type":null}'
    )
    assert wire.decode(text, wire.CreateModelRequest) == wire.CreateModelRequest("s", 0, "b", LoraConfig(8))
    listed = b'{"checkpoints":[' + CHECKPOINT_JSON.replace("false", "null").encode() + b'],"cursor":null}'
    assert wire.decode(listed, wire.CheckpointsReply) == wire.CheckpointsReply([CHECKPOINT])
    run = GOLDEN[ids.index("TrainingRun")]
    assert wire.decode(run[1].replace("false", "null").encode(), wire.TrainingRun) == run[0]


def test_nulls_in_open_maps_stay() -> None:
    text = b'{"tags":null,"user_metadata":{"k":null},"sdk_version":null}'
    assert wire.decode(text, wire.CreateSessionRequest) == wire.CreateSessionRequest([], {"k": None}, "")


def test_a_null_does_not_hide_another_fault() -> None:
    with pytest.raises(TinkexError, match=r"lora_config\.rank") as caught:
        wire.decode(
            b'{"session_id":"s","model_seq_id":0,"base_model":"b","lora_config":{"rank":"8","train_mlp":null}}',
            wire.CreateModelRequest,
        )
    assert caught.value.data["json_path"] == "$.lora_config.rank"


def test_adam_fields_that_are_missing_get_their_defaults() -> None:
    read = wire.decode(b'{"model_id":"m","seq_id":1,"adam_params":{"learning_rate":1}}', wire.OptimStepRequest)
    assert read.adam_params == AdamParams(learning_rate=1.0)
    assert wire.decode(b'{"model_id":"m","seq_id":1}', wire.OptimStepRequest).adam_params == AdamParams()


def test_a_load_is_addressed_by_model_or_by_session() -> None:
    creating = wire.LoadWeightsRequest("p", session_id="s", model_seq_id=1, weights_access_token="hush")
    loading = wire.LoadWeightsRequest("p", optimizer=True, model_id="m", seq_id=1)
    assert (creating.creates, loading.creates) == (True, False)
    assert b"hush" in wire.encode(creating)
    assert "hush" not in repr(creating)
    assert repr(loading) == "LoadWeightsRequest(model_id='m', seq_id=1, path='p', optimizer=True)"


@pytest.mark.parametrize(
    ("text", "message", "category"),
    [
        ('{"error":"boom","category":"user"}', "boom", "user"),
        ('{"error":"boom"}', "boom", "unknown"),
        ('{"error":"boom","category":null}', "boom", "unknown"),
        ('{"error":"boom","category":"Server"}', "boom", "server"),
        ('{"error":"boom","category":"them"}', "boom", "unknown"),
        ('{"error":{"message":"boom","category":"user"},"status":"failed"}', "boom", "user"),
        ('{"error":{"message":"boom"},"category":"server"}', "boom", "server"),
        ('{"error":{}}', "no reason given", "unknown"),
    ],
)
def test_failures_are_read_in_all_their_forms(text: str, message: str, category: str) -> None:
    failed = wire.decode(text.encode(), wire.FailedFuture)
    assert (failed.message, failed.error_category) == (message, category)


@pytest.mark.parametrize("status", ["success", "errored", "interrupted"])
def test_a_session_ends_in_one_of_three_ways(status: Any) -> None:
    body = wire.FinishSessionRequest(wire.FinishReason(status), "why")
    assert wire.decode(wire.encode(body), wire.FinishSessionRequest) == body
    with pytest.raises(TinkexError, match=r"reason\.type"):
        wire.decode(b'{"reason":{"type":"bored"}}', wire.FinishSessionRequest)


def test_a_config_may_hold_numbers_and_text() -> None:
    text = b'{"data":[],"loss_fn":"custom","loss_fn_config":{"beta":0.5,"loss_id":"a"}}'
    read = wire.decode(text, wire.ForwardBackwardInput)
    assert read.loss_fn_config == {"beta": 0.5, "loss_id": "a"}
    assert wire.encode(read) == text
