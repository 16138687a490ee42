"""Single questions about a model, and the errors of a client that cannot serve."""

from tinkex.actors._leases._acquire import unload
from tinkex.actors._leases._lease import Lease
from tinkex.actors._transport import Transport
from tinkex.protocol import TinkexError, wire
from tinkex.protocol.replies import ModelInfo, UnloadedModel


async def get_info(transport: Transport, model_id: str) -> ModelInfo:
    """Ask the server what ``model_id`` is.

    Raises:
        TinkexError: why there is no answer.
    """
    body = wire.encode(wire.GetInfoRequest(model_id=model_id))
    reply = await transport.call("POST", "/api/v1/get_info", body, wire.GetInfoReply, what="get_info")
    return ModelInfo(
        model_id=reply.model_id,
        base_model=reply.model_name or reply.model_data.model_name,
        is_lora=reply.is_lora,
        lora_rank=reply.lora_rank,
        tokenizer_id=reply.model_data.tokenizer_id,
        arch=reply.model_data.arch,
    )


async def unload_model(transport: Transport, lease: Lease) -> UnloadedModel:
    """Unload the model of ``lease``.

    Raises:
        TinkexError: the server could not be asked, or does not know how.
    """
    model_id = lease.model_id or ""
    if not await unload(transport, model_id):
        raise TinkexError(
            "this server cannot unload a model; stop the client and let its session end",
            kind="api_status",
            category="server",
            data={"model_id": model_id},
        )
    lease.asked = False
    return UnloadedModel(model_id=model_id)


def still_starting() -> TinkexError:
    """Build the error of a client whose model is not there yet."""
    return TinkexError(
        "this client is still being created; use it when its create is answered",
        kind="conflict",
        category="user",
        data={"outcome": "not_sent"},
    )


def is_unloaded(model_id: str | None) -> TinkexError:
    """Build the error of a client whose model was given back."""
    return TinkexError(
        "this client's model was unloaded; create a new client",
        kind="conflict",
        category="user",
        data={"outcome": "not_sent", "model_id": model_id},
    )


def at_step(error: TinkexError, step: str) -> TinkexError:
    """Return ``error`` with the step of a creation at which it came."""
    located = TinkexError(
        error.message,
        kind=error.kind,
        category=error.category,
        status=error.status,
        retry_after=error.retry_after,
        data={"step": step, **error.data},
    )
    located.__cause__ = error.__cause__
    return located
