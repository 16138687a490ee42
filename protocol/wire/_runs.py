"""Training runs and their checkpoints, as lists show them."""

from typing import Any

from tinkex.protocol.wire._base import Body


class Cursor(Body, frozen=True):
    """Where a page stands in its list."""

    offset: int = 0
    limit: int = 0
    total_count: int = 0


class WireCheckpoint(Body, frozen=True):
    """A checkpoint in a list."""

    checkpoint_id: str
    """``<kind>/<name>``."""
    checkpoint_type: str
    """``training``, ``sampler`` or ``external``."""
    time: str
    """RFC 3339."""
    tinker_path: str
    size_bytes: int | None = None
    public: bool = False
    user_metadata: dict[str, Any] | None = None
    expires_at: str | None = None
    """RFC 3339."""


class CheckpointsReply(Body, frozen=True):
    """``GET /api/v1/checkpoints`` (with a cursor) and ``GET /api/v1/training_runs/{run}/checkpoints``."""

    checkpoints: list[WireCheckpoint]
    cursor: Cursor | None = None


class TrainingRun(Body, frozen=True):
    """``GET /api/v1/training_runs/{run}``."""

    training_run_id: str
    base_model: str
    model_owner: str
    is_lora: bool
    last_request_time: str
    """RFC 3339."""
    corrupted: bool = False
    """Whether the live weights are lost; ``last_checkpoint`` is the way back."""
    lora_rank: int | None = None
    last_checkpoint: WireCheckpoint | None = None
    last_sampler_checkpoint: WireCheckpoint | None = None
    user_metadata: dict[str, Any] | None = None


class TrainingRunsReply(Body, frozen=True):
    """``GET /api/v1/training_runs``."""

    training_runs: list[TrainingRun]
    cursor: Cursor
