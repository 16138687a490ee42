"""The bytes of every body on the wire."""

import json
from typing import Any, cast

import msgspec
import pytest

from support_protocol import datum
from tinkex.protocol import AdamParams, LoraConfig, TensorData, TinkexError, wire

PASS = wire.ForwardBackwardInput([datum()], "cross_entropy")
PASS_JSON = (
    '{"data":[{"model_input":{"chunks":[{"tokens":[1,2,3],"type":"encoded_text"}]},'
    '"loss_fn_inputs":{"target_tokens":{"data":[2,3,4],"dtype":"int64","shape":[3]},'
    '"weights":{"data":[0.0,1.0,1.0],"dtype":"float32","shape":[3]}}}],"loss_fn":"cross_entropy"}'
)
CHECKPOINT = wire.WireCheckpoint("weights/x", "training", "2026-11-24T03:00:00Z", "tinker://run/weights/x")
CHECKPOINT_JSON = (
    '{"checkpoint_id":"weights/x","checkpoint_type":"training","time":"2026-11-24T03:00:00Z",'
    '"tinker_path":"tinker://run/weights/x","public":false}'
)

GOLDEN: list[tuple[msgspec.Struct, str]] = [
    (wire.ClientConfigRequest("0.38.0"), '{"sdk_version":"0.38.0"}'),
    (
        wire.ClientConfigReply(),
        (
            '{"pjwt_auth_enabled":false,"parallel_fwdbwd_chunks":true,"proto_compress_fwdbwd":false,'
            '"fwdbwd_max_chunk_len":1024,"fwdbwd_max_chunk_bytes_count":5000000,'
            '"billing_exception_max_pause_duration_sec":3600,"create_model_via_load_weights":false}'
        ),
    ),
    (
        wire.CreateSessionRequest(["b", "a"], {"k": "v"}, "0.38.0", "proj-1"),
        '{"tags":["b","a"],"user_metadata":{"k":"v"},"sdk_version":"0.38.0","project_id":"proj-1","type":"create_session"}',
    ),
    (wire.CreateSessionReply("sess-1"), '{"session_id":"sess-1","type":"create_session"}'),
    (wire.SessionHeartbeatRequest("sess-1"), '{"session_id":"sess-1","type":"session_heartbeat"}'),
    (wire.SessionHeartbeatReply(), '{"type":"session_heartbeat"}'),
    (wire.FinishReason("errored"), '{"type":"errored"}'),
    (wire.FinishSessionRequest(wire.FinishReason("success")), '{"reason":{"type":"success"},"detail":null}'),
    (wire.SessionsReply(["sess-1"]), '{"sessions":["sess-1"]}'),
    (wire.SessionReply(["run"]), '{"training_run_ids":["run"],"sampler_ids":[]}'),
    (
        wire.CreateModelRequest("sess-1", 0, "base", LoraConfig(8)),
        (
            '{"session_id":"sess-1","model_seq_id":0,"base_model":"base",'
            '"lora_config":{"rank":8,"train_mlp":true,"train_attn":true,"train_unembed":true},"type":"create_model"}'
        ),
    ),
    (wire.CreateModelResult("sess-1:train:0"), '{"model_id":"sess-1:train:0","type":"create_model"}'),
    (wire.GetInfoRequest("m"), '{"model_id":"m","type":"get_info"}'),
    (wire.ModelData(model_name="base"), '{"model_name":"base"}'),
    (
        wire.GetInfoReply("m", wire.ModelData("llama", "base", "tok"), is_lora=True, lora_rank=8, model_name="base"),
        (
            '{"model_id":"m","model_data":{"arch":"llama","model_name":"base","tokenizer_id":"tok"},"is_lora":true,'
            '"lora_rank":8,"model_name":"base","type":"get_info"}'
        ),
    ),
    (wire.UnloadModelRequest("m"), '{"model_id":"m","type":"unload_model"}'),
    (wire.UnloadModelResult("m"), '{"model_id":"m","type":"unload_model"}'),
    (wire.SupportedModel("base", 1024), '{"model_name":"base","max_context_length":1024}'),
    (
        wire.CapabilitiesReply([wire.SupportedModel("base"), wire.SupportedModel()]),
        '{"supported_models":[{"model_name":"base"},{}]}',
    ),
    (PASS, PASS_JSON),
    (wire.ForwardRequest(PASS, "m", 1), f'{{"forward_input":{PASS_JSON},"model_id":"m","seq_id":1}}'),
    (
        wire.ForwardBackwardRequest(PASS, "sess-1:train:0", 1),
        f'{{"forward_backward_input":{PASS_JSON},"model_id":"sess-1:train:0","seq_id":1}}',
    ),
    (
        wire.ForwardBackwardResult("TorchLossReturn", [{"logprobs": TensorData([-1.25, -0.5])}], {"loss:sum": 1.75}),
        (
            '{"loss_fn_output_type":"TorchLossReturn","loss_fn_outputs":[{"logprobs":{"data":[-1.25,-0.5],"dtype":"float32",'
            '"shape":[2]}}],"metrics":{"loss:sum":1.75}}'
        ),
    ),
    (wire.Numbered("m", 4), '{"model_id":"m","seq_id":4}'),
    (
        wire.OptimStepRequest("m", 4, AdamParams()),
        (
            '{"model_id":"m","seq_id":4,"adam_params":{"learning_rate":0.0001,"beta1":0.9,"beta2":0.95,"eps":1e-12,'
            '"weight_decay":0.0,"grad_clip_norm":0.0},"type":"optim_step"}'
        ),
    ),
    (wire.OptimStepResult({"norm:mean": 0.5}), '{"metrics":{"norm:mean":0.5},"type":"optim_step"}'),
    (
        wire.SaveWeightsRequest("m", 5, "ckpt-1", user_metadata={"k": "v"}),
        '{"model_id":"m","seq_id":5,"path":"ckpt-1","overwrite":false,"user_metadata":{"k":"v"},"type":"save_weights"}',
    ),
    (wire.SaveWeightsResult("tinker://m/weights/x"), '{"path":"tinker://m/weights/x","type":"save_weights"}'),
    (
        wire.SaveWeightsForSamplerRequest("m", 6, "x", ttl_seconds=3600),
        '{"model_id":"m","seq_id":6,"path":"x","kind":"snapshot","ttl_seconds":3600,"type":"save_weights_for_sampler"}',
    ),
    (
        wire.SaveWeightsForSamplerResult(sampling_session_id="s"),
        '{"sampling_session_id":"s","type":"save_weights_for_sampler"}',
    ),
    (
        wire.LoadWeightsRequest("tinker://run/weights/x", session_id="sess-1", model_seq_id=1),
        '{"path":"tinker://run/weights/x","optimizer":false,"session_id":"sess-1","model_seq_id":1,"type":"load_weights"}',
    ),
    (wire.LoadWeightsResult(model_id="m"), '{"model_id":"m","type":"load_weights"}'),
    (wire.WeightsInfoRequest("tinker://run/weights/x"), '{"tinker_path":"tinker://run/weights/x"}'),
    (
        wire.WeightsInfoReply("base", is_lora=True, lora_rank=8),
        '{"base_model":"base","is_lora":true,"lora_rank":8,"train_unembed":true,"train_mlp":true,"train_attn":true}',
    ),
    (wire.TtlRequest(None), '{"ttl_seconds":null}'),
    (wire.Cursor(0, 20, 3), '{"offset":0,"limit":20,"total_count":3}'),
    (CHECKPOINT, CHECKPOINT_JSON),
    (
        wire.CheckpointsReply([CHECKPOINT], wire.Cursor(0, 20, 1)),
        f'{{"checkpoints":[{CHECKPOINT_JSON}],"cursor":{{"offset":0,"limit":20,"total_count":1}}}}',
    ),
    (
        wire.TrainingRun("run", "base", "me", is_lora=True, last_request_time="t", last_checkpoint=CHECKPOINT),
        (
            '{"training_run_id":"run","base_model":"base","model_owner":"me","is_lora":true,"last_request_time":"t",'
            f'"corrupted":false,"last_checkpoint":{CHECKPOINT_JSON}}}'
        ),
    ),
    (
        wire.TrainingRunsReply([], wire.Cursor()),
        '{"training_runs":[],"cursor":{"offset":0,"limit":0,"total_count":0}}',
    ),
    (wire.UntypedFuture("req-17", "m"), '{"request_id":"req-17","model_id":"m"}'),
    (wire.RetrieveFutureRequest("req-2"), '{"request_id":"req-2","allow_metadata_only":false}'),
    (wire.TryAgain("req-2"), '{"request_id":"req-2","queue_state":"active","type":"try_again"}'),
    (
        wire.FailedFuture.of("boom", "user"),
        '{"error":{"message":"boom","category":"user"},"category":"user","status":"failed"}',
    ),
    (wire.ErrorReply("no such model"), '{"detail":"no such model"}'),
]

ids = [type(body).__name__ for body, _ in GOLDEN]
golden = pytest.mark.parametrize(("body", "text"), GOLDEN, ids=ids)


def test_every_body_is_tried_here() -> None:
    assert set(ids) == set(wire.__all__) - {"encode", "decode"}


@golden
def test_a_body_has_exactly_these_bytes_and_is_read_from_them(body: msgspec.Struct, text: str) -> None:
    assert wire.encode(body).decode() == text
    assert wire.decode(text.encode(), type(body)) == body


@golden
def test_an_old_reader_passes_over_what_a_new_writer_adds(body: msgspec.Struct, text: str) -> None:
    def grow(value: Any) -> Any:
        if isinstance(value, dict):
            fields = cast("dict[str, Any]", value)
            open_maps = ("loss_fn_inputs", "loss_fn_outputs", "metrics", "user_metadata", "error")
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
    if not isinstance(body, wire.TtlRequest | wire.FinishSessionRequest):
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
