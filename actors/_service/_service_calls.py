"""The service client's questions about checkpoints and the server: coroutines for the io loop."""

from typing import Any, Final, cast

from tinkex.actors._leases._acquire import end_session
from tinkex.actors._transport import Transport
from tinkex.protocol import TinkerPath, wire
from tinkex.protocol.replies import (
    Checkpoint,
    CheckpointList,
    CheckpointTtl,
    DeletedCheckpoint,
    FinishedSession,
    ServerCapabilities,
    SupportedModel,
    TrainingRunInfo,
)

PAGE: Final = 100


async def get_server_capabilities(transport: Transport) -> ServerCapabilities:
    """Ask which base models the server has, in its order."""
    path = "/api/v1/get_server_capabilities"
    reply = await transport.call("GET", path, None, wire.CapabilitiesReply, what="get_server_capabilities")
    return ServerCapabilities(
        supported_models=[
            SupportedModel(model_name=model.model_name, max_context_length=model.max_context_length)
            for model in reply.supported_models
            if model.model_name is not None
        ],
        build=_build(reply.build),
    )


def _build(told: object) -> dict[str, str] | None:
    """Return the texts among what a server tells of itself; None where it is no such object."""
    if not isinstance(told, dict):
        return None
    fields = cast("dict[str, object]", told)
    return {name: value for name, value in fields.items() if isinstance(value, str)} or None


async def get_training_run(transport: Transport, run_id: str) -> TrainingRunInfo:
    """Ask how a training run is."""
    from tinkex.actors._recovery._recovery_calls import training_run  # noqa: PLC0415 - a rare question

    run = await training_run(transport, run_id)
    last = run.last_checkpoint
    return TrainingRunInfo(
        run_id=run_id,
        base_model=run.base_model,
        corrupted=run.corrupted,
        last_checkpoint=last.tinker_path if last is not None else None,
    )


async def finish_session(transport: Transport, session_id: str, detail: str | None) -> FinishedSession:
    """End a session on the server, whoever began it."""
    return FinishedSession(session_id=session_id, finished=await end_session(transport, session_id, detail))


async def list_checkpoints(transport: Transport, run_id: str | None) -> CheckpointList:
    """List the checkpoints of one run, or, page by page, all of the user's."""
    if run_id is not None:
        path = f"/api/v1/training_runs/{run_id}/checkpoints"
        reply = await transport.call("GET", path, None, wire.CheckpointsReply, what="list_checkpoints")
        return CheckpointList(checkpoints=[_checkpoint(item) for item in reply.checkpoints])
    found: list[Checkpoint] = []
    while True:
        path = f"/api/v1/checkpoints?limit={PAGE}&offset={len(found)}"
        reply = await transport.call("GET", path, None, wire.CheckpointsReply, what="list_checkpoints")
        found += [_checkpoint(item) for item in reply.checkpoints]
        total = reply.cursor.total_count if reply.cursor is not None else len(found)
        if not reply.checkpoints or len(found) >= total:
            return CheckpointList(checkpoints=found)


async def delete_checkpoint(transport: Transport, path: str) -> DeletedCheckpoint:
    """Delete the checkpoint at ``path``."""
    await transport.command("DELETE", _address(path), None, what="delete_checkpoint")
    return DeletedCheckpoint(path=path)


async def set_checkpoint_ttl(transport: Transport, path: str, ttl_seconds: int | None) -> CheckpointTtl:
    """Let the checkpoint at ``path`` expire in ``ttl_seconds``, or never for None."""
    body = wire.encode(wire.TtlRequest(ttl_seconds=ttl_seconds))
    await transport.command("PUT", f"{_address(path)}/ttl", body, what="set_checkpoint_ttl")
    return CheckpointTtl(path=path, ttl_seconds=ttl_seconds)


def _address(path: str) -> str:
    parsed = TinkerPath.parse(path)
    return f"/api/v1/training_runs/{parsed.run_id}/checkpoints/{parsed.checkpoint_id}"


def _checkpoint(item: Any) -> Checkpoint:
    return Checkpoint(
        tinker_path=item.tinker_path,
        checkpoint_id=item.checkpoint_id,
        checkpoint_type=item.checkpoint_type,
        time=item.time,
        size_bytes=item.size_bytes,
        expires_at=item.expires_at,
        user_metadata=item.user_metadata,
        public=item.public,
    )
