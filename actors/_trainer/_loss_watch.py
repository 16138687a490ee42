"""Which losses are bad, and how far back a run goes then. Pure."""

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tinkex.protocol import LossGuard

REMEMBERED: Final = 4096
"""Good losses kept, so that a window is still full after a rollback."""


@dataclass(frozen=True)
class Bad:
    """A loss that a run must not go on from."""

    update: int
    """The update that had it, counted from 1."""
    loss: float
    why: str
    """In a sentence."""


class LossWatch:
    """Looks at the loss of each update. For one thread.

    Args:
        guard: what counts as bad.
    """

    def __init__(self, guard: LossGuard) -> None:
        self.guard: Final = guard
        self._good: deque[tuple[int, float]] = deque(maxlen=max(REMEMBERED, guard.window))

    def see(self, update: int, loss: float) -> Bad | None:
        """Judge the loss of ``update``, counted from 1; a good one joins the window.

        A spike is told only once ``window`` good losses were seen, and never where their median is not above zero.
        An update that was seen before, as after a resume, takes the place of that one and of all after it.
        """
        self.rewind(update - 1)
        if not math.isfinite(loss) and self.guard.not_finite:
            return Bad(update, loss, f"the loss of update {update} is {loss}")
        median = self.median()
        spike = self.guard.spike
        if spike is not None and median is not None and median > 0.0 and loss > spike * median:
            told = f"the loss of update {update} is {loss:.4g}: more than {spike:g} times {median:.4g}, the median of "
            return Bad(update, loss, f"{told}the last {self.guard.window}")
        if math.isfinite(loss):
            self._good.append((update, loss))
        return None

    def median(self) -> float | None:
        """Return the median of the last ``window`` good losses, or None where fewer were seen."""
        if len(self._good) < self.guard.window:
            return None
        return statistics.median(self._good[-index][1] for index in range(1, self.guard.window + 1))

    def rewind(self, update: int) -> None:
        """Forget the losses of all updates after ``update``: the run has gone back to it."""
        while self._good and self._good[-1][0] > update:
            self._good.pop()


def roll_back_target(names: Sequence[str], roll_back: int, before_update: int) -> str | None:
    """Return the manifest to go back to for a bad loss at ``before_update``, or None where there is none before it.

    Args:
        names: of the run's lineage, newest first; those of other forms are passed over.
        roll_back: how many checkpoints back; 1 is the newest before the bad update. Where there are fewer, the oldest.
        before_update: the update whose loss was bad. A checkpoint of that many updates holds the bad step already.
    """
    good = [name for name in names if (held := _update_in(name)) is not None and held < before_update]
    return good[min(roll_back, len(good)) - 1] if good else None


def _update_in(name: str) -> int | None:
    """Return how many updates a manifest holds, by its name; see ``manifest_name``."""
    epoch, mark, update = name.partition("-u")
    plain = epoch[:1] == "e" and all(part.isascii() and part.isdigit() for part in (epoch[1:], update))
    return int(update) if mark and plain else None
