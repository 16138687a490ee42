"""Checkpoints and training runs as others see them."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tinkex.engine._base._config import owner_of
from tinkex.engine._base._errors import Refusal
from tinkex.engine._service._validation import check_ttl, parse_path, parse_training_path
from tinkex.engine._store._records import CheckpointKind, CheckpointRow, ModelRow, timestamp
from tinkex.protocol import TinkerPath, wire

if TYPE_CHECKING:
    from tinkex.engine._service._engine import Engine


TO_TRAIN_ON: Final = frozenset[CheckpointKind]({"weights"})
ALL_KINDS: Final = frozenset[CheckpointKind]({"weights", "sampler_weights", "external_weights"})


async def find(
    engine: "Engine",
    text: str,
    owner: str,
    *,
    token: str | None = None,
    kinds: frozenset[CheckpointKind] = TO_TRAIN_ON,
) -> CheckpointRow | Refusal:
    """Return the checkpoint of that path, or what to answer: 400, 404, or 425 while it is being written.

    Args:
        engine: where to look.
        text: the path as a request gave it.
        owner: who asks; others' checkpoints are there only if they are published.
        token: another owner's key, whose checkpoints are there too.
        kinds: what it may be.
    """
    try:
        path = parse_path("path", text) if kinds == ALL_KINDS else parse_training_path("path", text)
    except Refusal as refusal:
        return refusal
    readers = {owner} if token is None else {owner, owner_of(token)}
    row = await asyncio.to_thread(engine.store.checkpoints.get, str(path), engine.wall())
    if row is not None and (row.public or row.owner in readers):
        return row
    model = engine.models.find(path.run_id)
    if row is None and str(path) in engine.saving and (model is None or model.owner in readers):
        return Refusal(425, f"checkpoint {path} is still being written; try again")
    return missing(path)


async def get(engine: "Engine", path: TinkerPath, owner: str) -> CheckpointRow:
    """Return a checkpoint of any kind that an owner may read.

    Raises:
        Refusal: 404 or 425.
    """
    row = await find(engine, str(path), owner, kinds=ALL_KINDS)
    if isinstance(row, Refusal):
        raise row
    return row


async def info(engine: "Engine", text: str, owner: str) -> wire.WeightsInfoReply:
    """Tell what a checkpoint was made from.

    Raises:
        Refusal: 400, 404 or 425.
    """
    row = await find(engine, text, owner)
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


def delete(engine: "Engine", path: TinkerPath, owner: str) -> None:
    """Delete a checkpoint. Blocking.

    Raises:
        Refusal: 404.
    """
    _own(engine, path, owner)
    folder = engine.store.checkpoints.delete(str(path), engine.wall())
    if folder is None:
        raise missing(path)
    engine.root.remove(folder)


def set_ttl(engine: "Engine", path: TinkerPath, owner: str, ttl_seconds: int | None) -> None:
    """Let a checkpoint expire so many seconds from now, or never. Blocking.

    Raises:
        Refusal: 400 or 404.
    """
    check_ttl(ttl_seconds)
    _own(engine, path, owner)
    now = engine.wall()
    if not engine.store.checkpoints.set_expiry(str(path), None if ttl_seconds is None else now + ttl_seconds, now):
        raise missing(path)


def set_public(engine: "Engine", path: TinkerPath, owner: str, *, public: bool) -> None:
    """Let everybody read a checkpoint, or its owner alone. Blocking.

    Raises:
        Refusal: 404; 409 where it is so already.
    """
    _own(engine, path, owner)
    if not engine.store.checkpoints.set_public(str(path), public, engine.wall()):
        raise Refusal(409, f"checkpoint {path} is {'public' if public else 'private'} already")


def checkpoints(engine: "Engine", owner: str, limit: int, offset: int) -> wire.CheckpointsReply:
    """List an owner's checkpoints, newest first. Blocking."""
    rows, total = engine.store.checkpoints.page(owner, limit, offset, engine.wall())
    return wire.CheckpointsReply([_checkpoint(row) for row in rows], wire.Cursor(offset, limit, total))


def checkpoints_of(engine: "Engine", run_id: str, owner: str) -> wire.CheckpointsReply:
    """List a run's checkpoints, newest first. Blocking.

    Raises:
        Refusal: 404 where there is no such run.
    """
    _run_row(engine, run_id, owner)
    rows = engine.store.checkpoints.of_run(run_id, engine.wall())
    return wire.CheckpointsReply([_checkpoint(row) for row in rows], wire.Cursor(0, len(rows), len(rows)))


def runs(engine: "Engine", owner: str, project_id: str | None, limit: int, offset: int) -> wire.TrainingRunsReply:
    """List an owner's training runs, newest first; of one project, or of all. Blocking."""
    rows, total = engine.store.models(owner, project_id, limit, offset)
    return wire.TrainingRunsReply([_run(engine, row) for row in rows], wire.Cursor(offset, limit, total))


def run(engine: "Engine", run_id: str, owner: str) -> wire.TrainingRun:
    """Describe a training run. Blocking.

    Raises:
        Refusal: 404.
    """
    return _run(engine, _run_row(engine, run_id, owner))


def missing(path: TinkerPath) -> Refusal:
    """Build the answer to a path under which there is nothing."""
    return Refusal(404, f"there is no checkpoint {path}; list the checkpoints of its run to see what there is")


def _own(engine: "Engine", path: TinkerPath, owner: str) -> None:
    row = engine.store.checkpoints.get(str(path), engine.wall())
    if row is None or row.owner != owner:
        raise missing(path)


def _run_row(engine: "Engine", run_id: str, owner: str) -> ModelRow:
    row = engine.store.model(run_id)
    if row is None or row.owner != owner:
        raise Refusal(404, f"there is no training run {run_id!r}")
    return row


def _run(engine: "Engine", row: ModelRow) -> wire.TrainingRun:
    now, live = engine.wall(), engine.models.find(row.model_id)
    last = engine.store.checkpoints.last(row.model_id, "weights", now)
    last_sampler = engine.store.checkpoints.last(row.model_id, "sampler_weights", now)
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
        checkpoint_type=_TYPES[row.kind],
        time=timestamp(row.created),
        tinker_path=row.path,
        size_bytes=row.size_bytes,
        public=row.public,
        user_metadata=row.user_metadata,
        expires_at=None if row.expires is None else timestamp(row.expires),
    )


_TYPES: Final[Mapping[CheckpointKind, str]] = {
    "weights": "training",
    "sampler_weights": "sampler",
    "external_weights": "external",
}
