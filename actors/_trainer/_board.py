"""What a trainer says of its run: the facts in one place, and the status made of them."""

import os
import socket
from typing import Any

from tinkex.actors._trainer._meter import Meter
from tinkex.actors._trainer._saves import Saves
from tinkex.actors._trainer._training import Completed, Training
from tinkex.protocol import RunState, RunStatus, TinkexError
from tinkex.protocol.replies import CommittedCheckpoint


class Board:
    """The facts of one run, written by its trainer alone. Times are epoch seconds."""

    def __init__(self, run: str, now: float) -> None:
        """Begin with a run that was not started."""
        self.state: RunState = "idle"
        self.epoch = 0
        self.error: TinkexError | None = None
        self.rebuilds = 0
        self.rollbacks = 0
        self.lr_scale = 1.0
        self.updates: int | None = None
        self.reason: str | None = None
        self.waiting: str | None = None
        self.waiting_since: float | None = None
        self._run = run
        self._since = now
        self._loss: float | None = None
        self._learning_rate: float | None = None
        self._update = 0
        self._durable: CommittedCheckpoint | None = None
        self._durable_at: float | None = None

    @property
    def update(self) -> int:
        """Completed updates."""
        return self._update

    @property
    def durable(self) -> CommittedCheckpoint | None:
        """The newest committed checkpoint."""
        return self._durable

    def enter(self, state: RunState, now: float, reason: str | None = None) -> None:
        """Note the state and why."""
        if state != self.state:
            self._since = now
        self.state = state
        self.reason = reason

    def waits(self, waiting: str | None, reason: str | None, now: float) -> None:
        """Note what the server makes the run wait for."""
        if waiting != self.waiting:
            self.waiting_since = None if waiting is None else now
        self.waiting = waiting
        self.reason = reason

    def begin(self, update: int, durable: CommittedCheckpoint | None, saved: float | None) -> None:
        """Note where an epoch begins."""
        self._update = update
        self._durable = durable
        self._durable_at = saved

    def completed(self, completed: Completed) -> None:
        """Note a completed update."""
        self._update = completed.number
        self._loss = completed.loss
        self._learning_rate = completed.learning_rate

    def committed(self, durable: CommittedCheckpoint, saved: float) -> None:
        """Note a committed checkpoint."""
        self._durable = durable
        self._durable_at = saved

    def status(self, now: float, meter: Meter | None, training: Training | None, saves: Saves | None) -> RunStatus:
        """Return the status."""
        reason = self.reason
        if reason is None and saves is not None:
            reason = saves.problem
        updates = self.updates
        if training is not None and training.course.stop_after is not None:
            updates = training.course.stop_after
        durable_update = self._durable.update if self._durable is not None else None
        pace = meter.seconds_per_update if meter is not None else None
        eta = None
        if pace is not None and updates is not None and self.state in ("training", "paused"):
            eta = pace * max(updates - self._update, 0)
        error: dict[str, Any] | None = self.error.to_dict() if self.error is not None else None
        return RunStatus(
            run=self._run,
            state=self.state,
            epoch=self.epoch,
            update=self._update,
            updates=updates,
            since=self._since,
            reason=reason,
            waiting=self.waiting,
            waiting_since=self.waiting_since,
            loss=self._loss,
            learning_rate=self._learning_rate,
            lr_scale=self.lr_scale,
            tokens=meter.tokens if meter is not None else 0,
            tokens_per_second=meter.tokens_per_second if meter is not None else None,
            seconds_per_update=pace,
            eta_seconds=eta,
            durable_update=durable_update,
            durable_path=self._durable.path if self._durable is not None else None,
            durable_at=self._durable_at,
            at_risk_updates=max(self._update - (durable_update or 0), 0),
            at_risk_seconds=meter.at_risk_seconds if meter is not None else 0.0,
            rebuilds=self.rebuilds,
            rollbacks=self.rollbacks,
            pid=os.getpid(),
            host=socket.gethostname(),
            written=now,
            error=error,
        )
