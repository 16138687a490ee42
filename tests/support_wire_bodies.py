"""One of every body on the wire, and its bytes."""

import msgspec

from support_protocol import datum
from tinkex.protocol import AdamParams, LoraConfig, ModelInput, TensorData, wire

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
    (wire.DynamicConfigReply(sample_cancel_enabled=True), '{"refresh_interval_sec":300,"sample_cancel_enabled":true}'),
    (wire.ProjectRequest("proj-1"), '{"project_id":"proj-1"}'),
    (wire.TraceExportReply("failed", error="no"), '{"status":"failed","error":"no"}'),
    (wire.SessionOwner("user", ["u"]), '{"type":"user","owner_urns":["u"]}'),
    (
        wire.SessionStatus("client_finished", wire.FinishReason("success")),
        '{"type":"client_finished","reason":{"type":"success"}}',
    ),
    (
        wire.SessionCursor("2026-11-24T03:00:00Z", "sess-1"),
        '{"last_created_at":"2026-11-24T03:00:00Z","last_session_id":"sess-1"}',
    ),
    (
        wire.SearchSessionsRequest(project_ids=["p"], statuses=[wire.SessionStatus("active")]),
        (
            '{"project_ids":["p"],"user_metadata":{},"owner":{"type":"own","owner_urns":[]},'
            '"statuses":[{"type":"active"}],"limit":50}'
        ),
    ),
    (
        wire.FoundSession("sess-1", "t", "me", 2, status=wire.SessionStatus("active")),
        (
            '{"session_id":"sess-1","created_at":"t","owner":"me","checkpoints_count":2,"project_id":null,'
            '"status":{"type":"active"},"checkpoint_storage_bytes":0,"display_name":null,"user_metadata":null}'
        ),
    ),
    (wire.SearchSessionsReply([]), '{"sessions":[]}'),
    (
        wire.SaveWeightsExternalRequest("m", 3, "x"),
        '{"model_id":"m","seq_id":3,"path":"x","type":"save_weights_external"}',
    ),
    (
        wire.SaveWeightsExternalResult("tinker://m/external_weights/x", 9),
        '{"path":"tinker://m/external_weights/x","size_bytes":9,"type":"save_weights_external"}',
    ),
    (
        wire.ExternalWeightsUrlsReply({"a.json": "http://h/a"}, "t"),
        '{"urls":{"a.json":"http://h/a"},"expires":"t"}',
    ),
    (
        wire.CopyWeightsRequest("tinker://run/weights/x", destination_project_id="p"),
        '{"source_path":"tinker://run/weights/x","destination_project_id":"p"}',
    ),
    (wire.CopyWeightsReply("tinker://run/weights/x"), '{"tinker_path":"tinker://run/weights/x"}'),
    (
        wire.CreateSamplingSessionRequest("sess-1", 9, model_path="tinker://run/weights/x"),
        (
            '{"session_id":"sess-1","sampling_session_seq_id":9,"model_path":"tinker://run/weights/x",'
            '"type":"create_sampling_session"}'
        ),
    ),
    (
        wire.CreateSamplingSessionReply("sess-1:sample:9"),
        '{"sampling_session_id":"sess-1:sample:9","type":"create_sampling_session"}',
    ),
    (
        wire.JoinSamplingSessionRequest("sess-1:sample:9"),
        '{"sampling_session_id":"sess-1:sample:9","type":"join_sampling_session"}',
    ),
    (wire.JoinSamplingSessionReply(7), '{"client_counter":7}'),
    (wire.SamplerReply("s", "base"), '{"sampler_id":"s","base_model":"base","model_path":null}'),
    (
        wire.SamplingParams(max_tokens=2, stop=["x"]),
        '{"max_tokens":2,"stop":["x"],"temperature":1.0,"top_k":-1,"top_p":1.0}',
    ),
    (
        wire.SampleRequest(
            ModelInput.from_ints([1, 2, 3]),
            "sess-1:sample:9",
            638_222_123_000_000_000,
            2,
            wire.SamplingParams(max_tokens=2, stop=["x"]),
            prompt_logprobs=True,
        ),
        (
            '{"prompt":{"chunks":[{"tokens":[1,2,3],"type":"encoded_text"}]},"sampling_session_id":"sess-1:sample:9",'
            '"seq_id":638222123000000000,"num_samples":2,"sampling_params":{"max_tokens":2,"stop":["x"],"temperature":1.0,'
            '"top_k":-1,"top_p":1.0},"prompt_logprobs":true,"topk_prompt_logprobs":0,"topk_sample_logprobs":0,'
            '"prompt_alt_tokens_k":0,"type":"sample"}'
        ),
    ),
    (wire.SampleFuture("req-12", ["a", "b"]), '{"request_id":"req-12","sample_sequence_ids":["a","b"]}'),
    (wire.CancelFutureRequest("req-9"), '{"request_id":"req-9"}'),
    (
        wire.SampledSequence("length", [11, 12], [-0.5, -0.25]),
        '{"stop_reason":"length","tokens":[11,12],"logprobs":[-0.5,-0.25]}',
    ),
    (
        wire.SampleResult(
            [wire.SampledSequence("length", [11, 12], [-0.5, -0.25])], [None, -1.0], [None, [(5, -0.125), (9, -2.0)]]
        ),
        (
            '{"sequences":[{"stop_reason":"length","tokens":[11,12],"logprobs":[-0.5,-0.25]}],'
            '"prompt_logprobs":[null,-1.0],"topk_prompt_logprobs":[null,[[5,-0.125],[9,-2.0]]],"type":"sample"}'
        ),
    ),
]
