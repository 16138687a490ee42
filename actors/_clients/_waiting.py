"""What an open operation waits for, since when, and whether it has waited too long: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

PAUSES: Final = frozenset({"paused_capacity", "paused_rate_limit", "paused_billing"})
"""States in which the server has said that it does not go on now: they count against no progress deadline."""

_NO_WORK: Final = PAUSES | {"queued", "suspect"}

PROGRESS_SECONDS: Final[Mapping[str, float]] = {
    "forward": 600.0,
    "forward_backward": 600.0,
    "optim_step": 300.0,
    "save_weights": 1800.0,
    "save_weights_for_sampler": 1800.0,
    "load_weights": 1800.0,
    "load_state": 3600.0,
    "create_lora_training_client": 1800.0,
    "create_training_client_from_state": 3600.0,
}
"""How long an operation may work before it is called overdue; a sign, never an end."""

OTHER_PROGRESS_SECONDS: Final = 120.0
"""For questions, which servers answer at once."""


class Phase(NamedTuple):
    """What an operation waits for."""

    state: str
    """``queued``, ``sending``, ``running``, ``paused_capacity``, ``paused_rate_limit``, ``paused_billing``,
    ``backing_off``, ``circuit_open`` or ``suspect``."""

    reason: str | None
    """The server's own words, or what went wrong."""

    since: float
    """Epoch seconds."""


def progress_seconds(name: str) -> float:
    """Return the progress deadline of an operation of this name, in seconds of work."""
    return PROGRESS_SECONDS.get(name, OTHER_PROGRESS_SECONDS)


@dataclass
class Progress:
    """The work of one operation, in seconds: pauses by the server and waiting behind others are none.

    Args:
        allowed: after how many it is overdue.
    """

    allowed: float
    _done: float = 0.0
    _since: float | None = None

    def turn(self, state: str, now: float) -> None:
        """Note that the operation is in ``state`` from ``now`` on, in monotonic seconds."""
        if self._since is not None:
            self._done += now - self._since
        self._since = None if state in _NO_WORK else now

    def worked(self, now: float) -> float:
        """Return the seconds of work up to ``now``."""
        return self._done if self._since is None else self._done + now - self._since

    def overdue(self, now: float) -> bool:
        """Whether it has worked for longer than is allowed."""
        return self.worked(now) >= self.allowed

    def left(self, now: float) -> float | None:
        """Return in how many seconds it will be overdue if nothing changes; None while it does not work."""
        return None if self._since is None else max(self.allowed - self.worked(now), 0.0)
