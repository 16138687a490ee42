"""Which children are started again, and when: pure. The rules are those of OTP's supervisors."""

import random
from collections import deque
from collections.abc import Sequence
from typing import Final, Literal

from tinkex.actors._genserver._watch import DownReason
from tinkex.protocol import ChildSpec

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]

BASE_DELAY: Final = 0.1
MAX_DELAY: Final = 5.0


def wants_restart(spec: ChildSpec, reason: DownReason) -> bool:
    """Whether a child that ended by itself is started again: always, after a crash or kill, or never."""
    if spec.restart == "transient":
        return reason in ("crashed", "killed")
    return spec.restart == "permanent"


def affected(strategy: Strategy, order: Sequence[str], failed: str) -> list[str]:
    """Return the children that are started again with one that failed, in the order of their start.

    Args:
        strategy: only the failed one, all, or it and those that were started after it.
        order: the ids of all children in the order of their start.
        failed: one of them.
    """
    if strategy == "one_for_one":
        return [failed]
    return list(order if strategy == "one_for_all" else order[order.index(failed) :])


class Intensity:
    """How often restarts may happen before the supervisor gives up.

    Args:
        max_restarts: how many are allowed within ``max_seconds``; one more is too many.
        max_seconds: the length of the window, up to now.
    """

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        self._max_restarts: Final = max_restarts
        self._max_seconds: Final = max_seconds
        self._recent: deque[float] = deque()

    def allows(self, now: float) -> bool:
        """Note a restart at ``now``, in monotonic seconds; say whether it is still allowed."""
        self._recent.append(now)
        while self._recent[0] < now - self._max_seconds:
            self._recent.popleft()
        return len(self._recent) <= self._max_restarts

    @property
    def recent(self) -> int:
        """How many restarts there were in the window that ended with the last one."""
        return len(self._recent)


def delay(recent: int, source: random.Random) -> float:
    """Return the seconds to wait before a restart, of which there were ``recent`` in the window, this one among them.

    The first is not delayed; the others wait a random share of a time that doubles (full jitter).
    """
    if recent <= 1:
        return 0.0
    return source.uniform(0.0, min(MAX_DELAY, BASE_DELAY * 2.0 ** min(recent - 2, 30)))
