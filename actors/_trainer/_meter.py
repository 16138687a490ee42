"""How fast a run trains, without the server's pauses, and how much of it is at risk. Pure: times are given."""

from collections import deque
from typing import Final

WINDOW: Final = 32
"""Updates over which speeds are told."""


class Meter:
    """Counts training time from one update to the next. Times are monotonic seconds.

    Args:
        tokens: trained on before.
        train_seconds: spent training before.
        now: when this begins.
    """

    def __init__(self, tokens: int, train_seconds: float, now: float) -> None:
        """Begin with nothing measured."""
        self.tokens = tokens
        self.train_seconds = train_seconds
        self._mark = now
        self._paused_at: float | None = None
        self._paused = 0.0
        self._steps: deque[tuple[float, int]] = deque(maxlen=WINDOW)
        self._durable_seconds = train_seconds

    def pause(self, now: float) -> None:
        """Note that training waits by nobody's fault: the server pauses it, or its user does."""
        if self._paused_at is None:
            self._paused_at = now

    def go_on(self, now: float) -> None:
        """Note the end of a pause."""
        if self._paused_at is not None:
            self._paused += now - max(self._paused_at, self._mark)
            self._paused_at = None

    @property
    def paused(self) -> bool:
        """Whether training is paused."""
        return self._paused_at is not None

    def since_progress(self, now: float) -> float:
        """Return the seconds since the last completed update, without pauses."""
        paused = self._paused + (now - max(self._paused_at, self._mark) if self._paused_at is not None else 0.0)
        return max(now - self._mark - paused, 0.0)

    def completed(self, tokens: int, now: float) -> float:
        """Note a completed update of so many tokens; return the seconds that it took."""
        seconds = self.since_progress(now)
        self._mark = now
        self._paused = 0.0
        self.tokens += tokens
        self.train_seconds += seconds
        self._steps.append((seconds, tokens))
        return seconds

    def durable(self, train_seconds: float) -> None:
        """Note that a checkpoint holds all that took ``train_seconds``."""
        self._durable_seconds = train_seconds

    @property
    def at_risk_seconds(self) -> float:
        """Training time that no checkpoint holds."""
        return max(self.train_seconds - self._durable_seconds, 0.0)

    @property
    def seconds_per_update(self) -> float | None:
        """Of late; None before the first."""
        if not self._steps:
            return None
        return sum(seconds for seconds, _ in self._steps) / len(self._steps)

    @property
    def tokens_per_second(self) -> float | None:
        """Of late; None before the first."""
        seconds = sum(seconds for seconds, _ in self._steps)
        return sum(tokens for _, tokens in self._steps) / seconds if seconds > 0.0 else None
