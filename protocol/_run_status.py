"""What a supervised run is doing, for whoever looks: the trainer itself, or any process that reads the run store."""

from typing import Any, Literal

import msgspec

RunState = Literal["idle", "restoring", "training", "paused", "stopping", "finished", "stopped", "failed"]
"""``idle`` was not started; ``restoring`` makes a model, from a checkpoint where there is one; ``paused`` was told to
pause; ``stopping`` saves and ends; ``finished``, ``stopped`` and ``failed`` are ends, of which only ``failed`` needs
somebody."""


class RunStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A supervised run at one moment. Times are epoch seconds, spans are seconds."""

    run: str
    state: RunState = "idle"
    epoch: int = 0
    update: int = 0
    """Completed updates: optimizer steps whose results were read."""
    updates: int | None = None
    """Of the whole run; None where the program does not say."""
    since: float = 0.0
    """When ``state`` began."""
    reason: str | None = None
    """Why it is in this state, or what it waits for, in words."""
    waiting: str | None = None
    """What the oldest open request waits for, such as ``paused_capacity``; see ``OperationStatus.state``.

    ``program`` while a restore waits for the training program, which may be at work on a batch.
    """
    waiting_since: float | None = None
    loss: float | None = None
    """Of the last completed update, per weighted token."""
    learning_rate: float | None = None
    lr_scale: float = 1.0
    tokens: int = 0
    tokens_per_second: float | None = None
    seconds_per_update: float | None = None
    """Without pauses by the server."""
    eta_seconds: float | None = None
    """Until the last update, without pauses."""
    durable_update: int | None = None
    """The update of the newest committed checkpoint; None before the first."""
    durable_path: str | None = None
    durable_at: float | None = None
    at_risk_updates: int = 0
    """Completed updates that no checkpoint holds."""
    at_risk_seconds: float = 0.0
    """Training time that these took."""
    rebuilds: int = 0
    rollbacks: int = 0
    pid: int | None = None
    host: str | None = None
    written: float = 0.0
    """When this was written."""
    error: dict[str, Any] | None = None
    """Of a failed run: ``TinkexError.to_dict()``."""


class Explanation(msgspec.Struct, frozen=True):
    """Why a run is as it is, in one sentence, and the facts behind it."""

    sentence: str
    status: RunStatus


class CommittedCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint that a run can be resumed from: saved, listed by the server, its manifest on disk."""

    path: str
    update: int
    manifest: str
    """Name of the manifest."""


class StoppedRun(msgspec.Struct, frozen=True):
    """How a run was left."""

    state: RunState
    update: int
    resumable: bool
    durable_update: int | None = None
    durable_path: str | None = None
