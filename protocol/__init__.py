"""What crosses a boundary: messages, replies, errors, paths, data and the wire's types. Pure data.

What a name needs is imported with its first use: a client does not pay for what only trainers and tools use.
"""

from typing import TYPE_CHECKING

from tinkex.protocol._lazily import lazily

if TYPE_CHECKING:
    from tinkex.protocol import messages, replies, wire
    from tinkex.protocol._api_key import ApiKey
    from tinkex.protocol._check_data import check_data
    from tinkex.protocol._child_spec import ChildSpec
    from tinkex.protocol._config import AdamParams, LoraConfig
    from tinkex.protocol._datum import Datum
    from tinkex.protocol._errors import ErrorCategory, ErrorKind, TinkexError, validation
    from tinkex.protocol._explain import explain
    from tinkex.protocol._manifest import Manifest, manifest_name
    from tinkex.protocol._message_codec import decode_message, decode_result, encode_message, encode_result
    from tinkex.protocol._model_input import EncodedTextChunk, ModelInput
    from tinkex.protocol._path import TinkerPath
    from tinkex.protocol._queue_state import QueueState, QueueStateChange
    from tinkex.protocol._recovery import Recovered, RecoveryFailed, RecoveryPolicy, RecoverySignal
    from tinkex.protocol._request import Request
    from tinkex.protocol._result import Err, Ok, Result
    from tinkex.protocol._run_status import RunState, RunStatus
    from tinkex.protocol._tensor import TensorData
    from tinkex.protocol._trainer_policies import (
        CheckpointPolicy,
        LossGuard,
        RebuildPolicy,
        RetentionPolicy,
        WatchdogPolicy,
    )

__all__ = [
    "AdamParams",
    "ApiKey",
    "CheckpointPolicy",
    "ChildSpec",
    "Datum",
    "EncodedTextChunk",
    "Err",
    "ErrorCategory",
    "ErrorKind",
    "LoraConfig",
    "LossGuard",
    "Manifest",
    "ModelInput",
    "Ok",
    "QueueState",
    "QueueStateChange",
    "RebuildPolicy",
    "Recovered",
    "RecoveryFailed",
    "RecoveryPolicy",
    "RecoverySignal",
    "Request",
    "Result",
    "RetentionPolicy",
    "RunState",
    "RunStatus",
    "TensorData",
    "TinkerPath",
    "TinkexError",
    "WatchdogPolicy",
    "check_data",
    "decode_message",
    "decode_result",
    "encode_message",
    "encode_result",
    "explain",
    "manifest_name",
    "messages",
    "replies",
    "validation",
    "wire",
]

if not TYPE_CHECKING:  # the checkers would believe that every name is there
    __getattr__ = lazily(
        __name__,
        {
            "_api_key": ["ApiKey"],
            "_check_data": ["check_data"],
            "_child_spec": ["ChildSpec"],
            "_config": ["AdamParams", "LoraConfig"],
            "_datum": ["Datum"],
            "_errors": ["ErrorCategory", "ErrorKind", "TinkexError", "validation"],
            "_explain": ["explain"],
            "_manifest": ["Manifest", "manifest_name"],
            "_message_codec": ["decode_message", "decode_result", "encode_message", "encode_result"],
            "_model_input": ["EncodedTextChunk", "ModelInput"],
            "_path": ["TinkerPath"],
            "_queue_state": ["QueueState", "QueueStateChange"],
            "_recovery": ["Recovered", "RecoveryFailed", "RecoveryPolicy", "RecoverySignal"],
            "_request": ["Request"],
            "_result": ["Err", "Ok", "Result"],
            "_run_status": ["RunState", "RunStatus"],
            "_tensor": ["TensorData"],
            "_trainer_policies": [
                "CheckpointPolicy",
                "LossGuard",
                "RebuildPolicy",
                "RetentionPolicy",
                "WatchdogPolicy",
            ],
        },
        modules=["messages", "replies", "wire"],
    )

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
