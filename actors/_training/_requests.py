"""From a training client's messages to the requests of the wire: pure."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

from tinkex.actors._training._chunks import chunk_data, combine, is_large
from tinkex.actors._training._operation import Operation, Part, ProtobufForm
from tinkex.protocol import Datum, TinkexError, wire
from tinkex.protocol.messages import Forward, ForwardBackward, LoadState, OptimStep, SaveState, SaveWeightsForSampler
from tinkex.protocol.replies import (
    ForwardBackwardOutput,
    LoadedState,
    OptimStepOutput,
    SavedSamplerWeights,
    SavedState,
)

NONCE_KEY: Final = "tinkex.request"
"""Key in a checkpoint's user_metadata that proves which call made it."""


def forward_backward(number: int, model_id: str, message: ForwardBackward) -> Operation:
    """Build the requests of a ``ForwardBackward``; its chunks take one number each."""

    def request(body: wire.ForwardBackwardInput, seq_id: int) -> wire.ForwardBackwardRequest:
        return wire.ForwardBackwardRequest(forward_backward_input=body, model_id=model_id, seq_id=seq_id)

    parts = _passes("/api/v1/forward_backward", message, request)
    return Operation(number, "forward_backward", parts, combine, makes_gradients=True)


def forward(number: int, model_id: str, message: Forward) -> Operation:
    """Build the requests of a ``Forward``."""

    def request(body: wire.ForwardBackwardInput, seq_id: int) -> wire.ForwardRequest:
        return wire.ForwardRequest(forward_input=body, model_id=model_id, seq_id=seq_id)

    return Operation(number, "forward", _passes("/api/v1/forward", message, request), combine)


def _passes(
    path: str,
    message: Forward | ForwardBackward,
    request: Callable[[wire.ForwardBackwardInput, int], wire.ForwardBackwardRequest | wire.ForwardRequest],
) -> list[Part]:
    config = _config(message.loss_fn_config)

    def part(chunk: list[Datum]) -> Part:
        body = wire.ForwardBackwardInput(data=chunk, loss_fn=message.loss_fn, loss_fn_config=config)

        def encode(seq_id: int) -> bytes:
            return wire.encode(request(body, seq_id))

        def encode_protobuf(seq_id: int) -> bytes:
            from tinkex.protocol.wire.protobuf_pass import encode_pass  # noqa: PLC0415 - it imports NumPy

            return encode_pass(request(body, seq_id))

        other = ProtobufForm(is_large(chunk), "/api/v1/forward_backward", encode_protobuf, _protobuf_output)
        return Part(path, encode, _output, other)

    return [part(chunk) for chunk in chunk_data(message.data)]


def optim_step(number: int, model_id: str, message: OptimStep) -> Operation:
    """Build the request of an ``OptimStep``."""

    def encode(seq_id: int) -> bytes:
        return wire.encode(wire.OptimStepRequest(model_id=model_id, seq_id=seq_id, adam_params=message.adam_params))

    def decode(body: bytes) -> OptimStepOutput:
        recognise("optim_step", body, "metrics")
        return OptimStepOutput(metrics=dict(wire.decode(body, wire.OptimStepResult).metrics or {}))

    part = Part("/api/v1/optim_step", encode, decode)
    return Operation(number, "optim_step", [part], _single, uses_gradients=True)


def save_state(number: int, model_id: str, message: SaveState) -> Operation:
    """Build the request of a ``SaveState``, with a nonce that proves later whose checkpoint it is."""
    nonce = uuid.uuid4().hex
    metadata = {**(message.user_metadata or {}), NONCE_KEY: nonce}

    def encode(seq_id: int) -> bytes:
        return wire.encode(
            wire.SaveWeightsRequest(
                model_id=model_id,
                seq_id=seq_id,
                path=message.name,
                ttl_seconds=message.ttl_seconds,
                overwrite=message.overwrite,
                user_metadata=metadata,
            )
        )

    part = Part("/api/v1/save_weights", encode, _saved)
    name = f"weights/{message.name}"
    return Operation(number, "save_weights", [part], _single, save_name=name, nonce=nonce)


def save_weights_for_sampler(number: int, model_id: str, message: SaveWeightsForSampler) -> Operation:
    """Build the request of a ``SaveWeightsForSampler``."""
    nonce = uuid.uuid4().hex

    def encode(seq_id: int) -> bytes:
        return wire.encode(
            wire.SaveWeightsForSamplerRequest(
                model_id=model_id,
                seq_id=seq_id,
                path=message.name,
                ttl_seconds=message.ttl_seconds,
                user_metadata={NONCE_KEY: nonce},
            )
        )

    def decode(body: bytes) -> SavedSamplerWeights:
        recognise("save_weights_for_sampler", body, "path", "sampling_session_id")
        result = wire.decode(body, wire.SaveWeightsForSamplerResult)
        return SavedSamplerWeights(path=result.path, sampling_session_id=result.sampling_session_id)

    part = Part("/api/v1/save_weights_for_sampler", encode, decode)
    return Operation(
        number,
        "save_weights_for_sampler",
        [part],
        _single,
        save_name=f"sampler_weights/{message.name}",
        nonce=nonce,
    )


def load_state(number: int, model_id: str, message: LoadState) -> Operation:
    """Build the request of a ``LoadState``; servers take it only as a model's first request."""

    def encode(seq_id: int) -> bytes:
        return wire.encode(
            wire.LoadWeightsRequest(
                model_id=model_id,
                seq_id=seq_id,
                path=message.path,
                optimizer=message.optimizer,
            )
        )

    def decode(body: bytes) -> LoadedState:
        recognise("load_weights", body, "path", "model_id")
        result = wire.decode(body, wire.LoadWeightsResult)
        return LoadedState(path=result.path or message.path, model_id=result.model_id or model_id)

    return Operation(number, "load_weights", [Part("/api/v1/load_weights", encode, decode)], _single)


def recognise(what: str, body: bytes, *names: str) -> None:
    """Refuse a JSON object that is no result: where every field is optional, any proxy's would pass for one."""
    if wire.decode(body, dict[str, Any]).keys().isdisjoint(("type", *names)):
        raise TinkexError(f"the answer to {what} is no result of one", kind="protocol", category="server")


def _config(config: Any) -> dict[str, float] | None:
    return None if config is None else {str(key): float(value) for key, value in config.items()}


def _output(body: bytes) -> ForwardBackwardOutput:
    return _to_output(wire.decode(body, wire.ForwardBackwardResult))


def _protobuf_output(body: bytes) -> ForwardBackwardOutput:
    from tinkex.protocol.wire.protobuf import decode_result  # noqa: PLC0415 - with the first such answer

    return _to_output(decode_result(body))


def _to_output(result: wire.ForwardBackwardResult) -> ForwardBackwardOutput:
    return ForwardBackwardOutput(result.loss_fn_output_type, result.loss_fn_outputs, result.metrics)


def _saved(body: bytes) -> SavedState:
    return SavedState(path=wire.decode(body, wire.SaveWeightsResult).path)


def _single(results: Sequence[Any]) -> Any:
    return results[0]
