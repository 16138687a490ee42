"""What an observer of the server's queue is told."""

from typing import Literal

import msgspec

QueueState = Literal["active", "paused_capacity", "paused_rate_limit", "paused_billing"]


class QueueStateChange(msgspec.Struct, frozen=True):
    """The server paused an operation, gave another reason, or goes on with it."""

    state: QueueState
    previous: QueueState
    operation: str
    """Such as ``forward_backward``."""
    actor: str
    """``actor_urn`` of the training client."""
    model_id: str
    seq_id: int | None = None
    reason: str | None = None
    """The server's own words."""
    since: float = 0.0
    """Epoch seconds."""
