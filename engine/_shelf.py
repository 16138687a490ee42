"""Checkpoints and training runs as others see them."""

import asyncio
from typing import TYPE_CHECKING

from tinkex.engine._errors import Refusal
from tinkex.engine._records import CheckpointRow, ModelRow, timestamp
from tinkex.engine._validation import check_ttl, parse_training_path
from tinkex.protocol import TinkerPath, wire

if TYPE_CHECKING:
    from tinkex.engine._engine import Engine


async def find(engine: "Engine", text: str) -> CheckpointRow | Refusal:
    """Return the training checkpoint of that path, or what to answer: 400, 404, or 425 while it is being written."""
    try:
        path = parse_training_path("path", text)
    except Refusal as refusal:
        return refusal
    row = await asyncio.to_thread(engine.store.checkpoint, str(path), engine.wall())
    if row is not None:
        return row
    if str(path) in engine.saving:
        return Refusal(425, f"checkpoint {path} is still being written; try again")
    return missing(path)


async def info(engine: "Engine", text: str) -> wire.WeightsInfoReply:
    """Tell what a checkpoint was made from.

    Raises:
        Refusal: 400, 404 or 425.
    """
    row = await find(engine, text)
    if isinstance(row, Refusal):
        raise row
    lora = row.lora
    return wire.WeightsInfoReply(
        base_model=row.base_model,
        is_lora=True,
        lora_rank=lora.rank,
        train_unembed=lora.train_unembed,
        train_mlp=lora.train_mlp,
        train_attn=lora.train_attn,
    )


def delete(engine: "Engine", path: TinkerPath) -> None:
    """Delete a checkpoint. Blocking.

    Raises:
        Refusal: 404.
    """
    folder = engine.store.delete_checkpoint(str(path), engine.wall())
    if folder is None:
        raise missing(path)
    engine.root.remove(folder)


def set_ttl(engine: "Engine", path: TinkerPath, ttl_seconds: int | None) -> None:
    """Let a checkpoint expire so many seconds from now, or never. Blocking.

    Raises:
        Refusal: 400 or 404.
    """
    check_ttl(ttl_seconds)
    now = engine.wall()
    if not engine.store.set_expiry(str(path), None if ttl_seconds is None else now + ttl_seconds, now):
        raise missing(path)


def checkpoints(engine: "Engine", limit: int, offset: int) -> wire.CheckpointsReply:
    """List all checkpoints, newest first. Blocking."""
    rows, total = engine.store.checkpoints(limit, offset, engine.wall())
    return wire.CheckpointsReply([_checkpoint(row) for row in rows], wire.Cursor(offset, limit, total))


def checkpoints_of(engine: "Engine", run_id: str) -> wire.CheckpointsReply:
    """List a run's checkpoints, newest first. Blocking.

    Raises:
        Refusal: 404 where there is no such run.
    """
    _run_row(engine, run_id)
    rows = engine.store.checkpoints_of(run_id, engine.wall())
    return wire.CheckpointsReply([_checkpoint(row) for row in rows], wire.Cursor(0, len(rows), len(rows)))


def runs(engine: "Engine", limit: int, offset: int) -> wire.TrainingRunsReply:
    """List training runs, newest first. Blocking."""
    rows, total = engine.store.models(limit, offset)
    return wire.TrainingRunsReply([_run(engine, row) for row in rows], wire.Cursor(offset, limit, total))


def run(engine: "Engine", run_id: str) -> wire.TrainingRun:
    """Describe a training run. Blocking.

    Raises:
        Refusal: 404.
    """
    return _run(engine, _run_row(engine, run_id))


def missing(path: TinkerPath) -> Refusal:
    """Build the answer to a path under which there is nothing."""
    return Refusal(404, f"there is no checkpoint {path}; list the checkpoints of its run to see what there is")


def _run_row(engine: "Engine", run_id: str) -> ModelRow:
    row = engine.store.model(run_id)
    if row is None:
        raise Refusal(404, f"there is no training run {run_id!r}")
    return row


def _run(engine: "Engine", row: ModelRow) -> wire.TrainingRun:
    now, live = engine.wall(), engine.models.find(row.model_id)
    last = engine.store.last_checkpoint(row.model_id, "weights", now)
    last_sampler = engine.store.last_checkpoint(row.model_id, "sampler_weights", now)
    return wire.TrainingRun(
        training_run_id=row.model_id,
        base_model=row.base_model,
        model_owner=row.owner,
        is_lora=True,
        last_request_time=timestamp(row.last_request if live is None else live.last_request),
        corrupted=row.state == "lost",
        lora_rank=row.lora.rank,
        last_checkpoint=None if last is None else _checkpoint(last),
        last_sampler_checkpoint=None if last_sampler is None else _checkpoint(last_sampler),
        user_metadata=row.user_metadata,
    )


def _checkpoint(row: CheckpointRow) -> wire.WireCheckpoint:
    return wire.WireCheckpoint(
        checkpoint_id=TinkerPath.parse(row.path).checkpoint_id,
        checkpoint_type="training" if row.kind == "weights" else "sampler",
        time=timestamp(row.created),
        tinker_path=row.path,
        size_bytes=row.size_bytes,
        user_metadata=row.user_metadata,
        expires_at=None if row.expires is None else timestamp(row.expires),
    )
