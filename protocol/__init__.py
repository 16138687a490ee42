"""What crosses a boundary: messages, replies, errors, paths, data and the wire's types. Pure data."""

from tinkex.protocol import messages, replies, wire
from tinkex.protocol._api_key import ApiKey
from tinkex.protocol._check_data import check_data
from tinkex.protocol._child_spec import ChildSpec
from tinkex.protocol._config import AdamParams, LoraConfig
from tinkex.protocol._datum import Datum
from tinkex.protocol._errors import ErrorCategory, ErrorKind, TinkexError, validation
from tinkex.protocol._message_codec import decode_message, decode_result, encode_message, encode_result
from tinkex.protocol._model_input import EncodedTextChunk, ModelInput
from tinkex.protocol._path import TinkerPath
from tinkex.protocol._queue_state import QueueState, QueueStateChange
from tinkex.protocol._request import Request
from tinkex.protocol._result import Err, Ok, Result
from tinkex.protocol._tensor import TensorData

__all__ = [
    "AdamParams",
    "ApiKey",
    "ChildSpec",
    "Datum",
    "EncodedTextChunk",
    "Err",
    "ErrorCategory",
    "ErrorKind",
    "LoraConfig",
    "ModelInput",
    "Ok",
    "QueueState",
    "QueueStateChange",
    "Request",
    "Result",
    "TensorData",
    "TinkerPath",
    "TinkexError",
    "check_data",
    "decode_message",
    "decode_result",
    "encode_message",
    "encode_result",
    "messages",
    "replies",
    "validation",
    "wire",
]
