"""Whether a run that makes no progress is only slow, or stuck. Pure: told durations, never a clock."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from tinkex.protocol import WatchdogPolicy
from tinkex.protocol.replies import OperationStatus

Phase = Literal["restoring", "update", "checkpoint", "batch"]
"""What a trainer is at: making its model; completing an update; saving; waiting for the program's next batch."""

REMEMBERED: Final = 32

_PHASE_OF: Final[dict[str, Phase]] = {
    "forward": "update",
    "forward_backward": "update",
    "optim_step": "update",
    "save_weights": "checkpoint",
    "save_weights_for_sampler": "checkpoint",
    "load_weights": "restoring",
    "load_state": "restoring",
    "create_lora_training_client": "restoring",
    "create_training_client_from_state": "restoring",
}
_WAITED_FOR: Final[dict[Phase, str]] = {
    "restoring": "the run has been restoring",
    "update": "no update was completed",
    "checkpoint": "no checkpoint was completed",
    "batch": "the program has made no batch",
}


@dataclass(frozen=True)
class Stall:
    """A run is stuck."""

    phase: Phase
    seconds: float
    """Without progress, pauses by the server not counted."""
    budget: float
    """Seconds that it had."""
    why: str
    """In a sentence."""


class Watchdog:
    """Learns how long each phase takes, and says when one takes too long. For one thread.

    What it has learnt holds for the run: keep it over rebuilds.

    Args:
        policy: budgets, and whether it judges at all.
    """

    def __init__(self, policy: WatchdogPolicy) -> None:
        self.policy: Final = policy
        self._seen: dict[Phase, deque[float]] = {}

    def observe(self, phase: Phase, seconds: float) -> None:
        """Learn that ``phase`` took so many seconds, pauses not counted; what is no span is passed over."""
        if math.isfinite(seconds) and seconds >= 0.0:
            self._seen.setdefault(phase, deque(maxlen=REMEMBERED)).append(seconds)

    def slowest(self, phase: Phase) -> float | None:
        """Return the slowest of the last 32, or None where none was seen."""
        return max(self._seen.get(phase, ()), default=None)

    def budget(self, phase: Phase) -> float:
        """Return how many seconds ``phase`` may take before it counts as stuck."""
        slowest = self.slowest(phase)
        allowed = self.policy.first_seconds if slowest is None else self.policy.factor * slowest
        return max(allowed, self.policy.least_seconds)

    def judge(self, phase: Phase, seconds: float, operations: Iterable[OperationStatus] = ()) -> Stall | None:
        """Say whether the run is stuck; None is fine.

        Args:
            phase: what it is at.
            seconds: since its last progress in it, pauses by the server not counted: for an update, since the last
                one was completed or the phase was entered.
            operations: the open ones of its training client. Each is judged by the seconds that it really was at
                work; and while one saves, an update has the time for that beside its own, for it runs behind.
        """
        if not self.policy.enabled:
            return None
        open_now = list(operations)
        for operation in open_now:
            stall = self._judge_operation(operation)
            if stall is not None:
                return stall
        budget = self.budget(phase)
        if phase == "update" and any(_PHASE_OF.get(one.name) == "checkpoint" for one in open_now):
            budget += self.budget("checkpoint")
        if not seconds > budget:
            return None
        return Stall(phase, seconds, budget, f"{_WAITED_FOR[phase]} for {seconds:.0f} s{self._measure(phase, budget)}")

    def _judge_operation(self, operation: OperationStatus) -> Stall | None:
        phase = _PHASE_OF.get(operation.name)
        if phase is None:
            return None
        budget = self.budget(phase)
        if not operation.worked > budget:
            return None
        number = "" if operation.seq_id is None else f" {operation.seq_id}"
        reason = f" ({operation.reason})" if operation.reason else ""
        told = f"{operation.name}{number} has been at work for {operation.worked:.0f} s{reason}"
        return Stall(phase, operation.worked, budget, told + self._measure(phase, budget))

    def _measure(self, phase: Phase, budget: float) -> str:
        slowest = self.slowest(phase)
        if slowest is None:
            return f"; {budget:.0f} s is what one is given that was never seen to end"
        return f"; the slowest lately took {slowest:.1f} s, which allows {budget:.0f} s"
