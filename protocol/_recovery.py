"""When a lost run is rebuilt, how often it is tried, and what its owner is told."""

from typing import Final, Literal, cast

import msgspec

from tinkex.protocol._checks import check_flag, check_number, check_path, check_whole
from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._policy import Policy, first_error

RecoverySignal = Literal["session_lost", "corrupted", "suspect"]
"""What tells that a run cannot go on: its session ended, its weights are gone, or nobody knows what it trained."""

LATEST: Final = "latest"


class RecoveryPolicy(Policy, frozen=True):
    """How a service client recovers the training clients that it made. Times are seconds.

    Raises:
        TinkexError: kind ``validation``, naming the field that is wrong.
    """

    enabled: bool = False
    """Whether lost runs are rebuilt; where not, they are still noticed and logged."""
    checkpoint: str = LATEST
    """``"latest"``: the run's newest training checkpoint, and older ones where that cannot be loaded; or one path."""
    restore_optimizer: bool = True
    max_attempts: int = 3
    """For one loss, the first one included."""
    backoff_seconds: float = 5.0
    """The wait before attempt n + 1 is drawn from 0 to ``backoff_seconds * 2 ** (n - 1)``."""
    max_backoff_seconds: float = 60.0
    """The bound of that draw."""
    attempt_timeout_seconds: float = 600.0
    """For choosing a checkpoint and loading it."""
    max_concurrent: int = 1
    """Attempts under way at once; the others wait in the order of their loss."""
    poll_seconds: float = 30.0
    """Between two looks at what the server says of each run."""
    recover_suspect: bool = False
    """Whether a client that is suspect is rebuilt, too."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        flags = ("enabled", "restore_optimizer", "recover_suspect")
        counts = ("max_attempts", "max_concurrent")
        times = ("attempt_timeout_seconds", "poll_seconds")
        waits = ("backoff_seconds", "max_backoff_seconds")
        errors = [
            *(check_flag(name, getattr(self, name)) for name in flags),
            *(check_whole(name, getattr(self, name), 1) for name in counts),
            *(check_number(name, getattr(self, name), above=0.0) for name in times),
            *(check_number(name, getattr(self, name), 0.0) for name in waits),
            self._check_checkpoint(),
        ]
        error = first_error(*errors)
        if error is None and self.max_backoff_seconds < self.backoff_seconds:
            return validation("max_backoff_seconds must be at least backoff_seconds", field="max_backoff_seconds")
        return error

    def _check_checkpoint(self) -> TinkexError | None:
        checkpoint = cast("object", self.checkpoint)
        error = None if checkpoint == LATEST else check_path("checkpoint", checkpoint, "weights")
        return None if error is None else validation(f"checkpoint must be {LATEST!r} or a path: {error}", **error.data)


class Recovered(msgspec.Struct, frozen=True):
    """A run goes on from a checkpoint behind the same reference; what ``on_recovery`` is given."""

    actor_urn: str
    """The training client."""
    signal: RecoverySignal
    lost_model_id: str
    model_id: str
    """The model on the server that now stands behind the client."""
    path: str
    """The checkpoint that was loaded: what was trained after it is lost, and to be trained again."""
    optimizer: bool
    """Whether the optimizer's state was loaded, too."""
    attempts: int
    seconds: float
    """From the loss being noticed."""


class RecoveryFailed(msgspec.Struct, frozen=True):
    """A run was not recovered, and is not tried again; what ``on_failure`` is given."""

    actor_urn: str
    signal: RecoverySignal
    lost_model_id: str
    attempts: int
    error: TinkexError
    """What the last attempt failed with."""
