"""How often a run is rebuilt before it is given up, and how long each rebuild waits. Pure but for its random source."""

import random

from tinkex.protocol import RebuildPolicy


class Patience:
    """Counts rebuilds without progress.

    Args:
        policy: how many, and the waits.
        rng: the jitter's source.
    """

    def __init__(self, policy: RebuildPolicy, rng: random.Random) -> None:
        """Begin with none."""
        self.row = 0
        """Rebuilds in a row, none of which completed a further update."""
        self._policy = policy
        self._random = rng
        self._furthest = 0

    def progressed(self, update: int) -> None:
        """Note a completed update; one that was completed before is no progress."""
        if update > self._furthest:
            self._furthest = update
            self.row = 0

    def went_back(self, update: int) -> None:
        """Note a roll back to ``update``: what is trained behind it is other than what was completed before."""
        self._furthest = min(self._furthest, update)

    def renew(self) -> None:
        """Forget the count: somebody has looked at the run."""
        self.row = 0

    def next_wait(self) -> float | None:
        """Return the seconds to wait before one more rebuild; None where there is none."""
        if self.row >= self._policy.max_rebuilds:
            return None
        self.row += 1
        bound = min(self._policy.backoff_seconds * 2.0 ** min(self.row, 32), self._policy.max_backoff_seconds)
        return self._random.uniform(0.0, bound)
