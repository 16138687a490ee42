"""What a trainer says of its run: the facts in one place, and the status made of them."""

import os
import socket
from collections.abc import Callable
from typing import Any

from tinkex.actors._runs._rows import Taken
from tinkex.actors._trainer._epoch import Epoch
from tinkex.actors._trainer._opening import Opened
from tinkex.actors._trainer._position import Position
from tinkex.actors._trainer._training import Completed
from tinkex.protocol import Manifest, RunState, RunStatus, TinkexError
from tinkex.protocol.replies import CommittedCheckpoint


class Board:
    """The facts of one run, written by its trainer alone. Times are epoch seconds."""

    def __init__(self, run: str, now: Callable[[], float]) -> None:
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
        self.update = 0
        """Completed updates."""
        self.durable: CommittedCheckpoint | None = None
        """The newest committed checkpoint."""
        self._run = run
        self._now = now
        self._since = now()
        self._loss: float | None = None
        self._learning_rate: float | None = None
        self._durable_at: float | None = None
        self._tokens = 0
        self._at_risk_seconds = 0.0

    def enter(self, state: RunState, reason: str | None = None) -> None:
        """Note the state and why."""
        if state != self.state:
            self._since = self._now()
            self.waits(None, None)
        self.state = state
        self.reason = reason

    def waits(self, waiting: str | None, reason: str | None) -> None:
        """Note what the server makes the run wait for."""
        if waiting != self.waiting:
            self.waiting_since = None if waiting is None else self._now()
        self.waiting = waiting
        self.reason = reason

    def waits_for_server(self, why: str | None) -> None:
        """Note that a restore is tried again, and why."""
        self.waits("backing_off" if why is not None else None, why)

    def waits_for_program(self, waits: bool) -> None:
        """Note whether a restore waits for the training program, which may be at work for the epoch before."""
        self.waits("program" if waits else None, self.reason)

    def took(self, taken: Taken) -> None:
        """Note the epoch under which the run is held."""
        self.epoch = taken.epoch
        self.lr_scale = taken.lr_scale
        self.rollbacks = taken.rollbacks

    def stands_at(self, position: Position) -> None:
        """Note the checkpoint that the run is going to be restored from."""
        self.update = position.update
        if position.manifest is not None and position.path is not None:
            self.durable = CommittedCheckpoint(position.path, position.update, position.manifest)
            self._durable_at = position.saved

    def begin(self, opened: Opened, durable: CommittedCheckpoint | None) -> None:
        """Note where an epoch begins."""
        self.updates = opened.outline.updates
        self.update = opened.begin.update
        self.durable = durable
        self._durable_at = opened.begin.saved

    def completed(self, completed: Completed) -> None:
        """Note a completed update."""
        self.update = completed.number
        self._loss = completed.loss
        self._learning_rate = completed.learning_rate

    def committed(self, manifest: Manifest) -> None:
        """Note a committed checkpoint."""
        self.durable = CommittedCheckpoint(manifest.path, manifest.update, manifest.name)
        self._durable_at = manifest.saved

    def settle(self, epoch: Epoch | None) -> None:
        """Keep what is known only while an epoch is there."""
        if epoch is not None:
            self._tokens = epoch.meter.tokens
            self._at_risk_seconds = epoch.meter.at_risk_seconds

    def status(self, epoch: Epoch | None) -> RunStatus:
        """Return the status; what an epoch measures is in it while there is one."""
        meter = epoch.meter if epoch is not None else None
        reason = self.reason
        if reason is None and epoch is not None:
            reason = epoch.saves.problem
        updates = self.updates
        if epoch is not None and epoch.training.course.stop_after is not None:
            updates = epoch.training.course.stop_after
        now = self._now()
        durable_update = self.durable.update if self.durable is not None else None
        pace = meter.seconds_per_update if meter is not None else None
        eta = None
        if pace is not None and updates is not None and self.state in ("training", "paused"):
            eta = pace * max(updates - self.update, 0)
        error: dict[str, Any] | None = self.error.to_dict() if self.error is not None else None
        return RunStatus(
            run=self._run,
            state=self.state,
            epoch=self.epoch,
            update=self.update,
            updates=updates,
            since=self._since,
            reason=reason,
            waiting=self.waiting,
            waiting_since=self.waiting_since,
            loss=self._loss,
            learning_rate=self._learning_rate,
            lr_scale=self.lr_scale,
            tokens=meter.tokens if meter is not None else self._tokens,
            tokens_per_second=meter.tokens_per_second if meter is not None else None,
            seconds_per_update=pace,
            eta_seconds=eta,
            durable_update=durable_update,
            durable_path=self.durable.path if self.durable is not None else None,
            durable_at=self._durable_at,
            at_risk_updates=max(self.update - (durable_update or 0), 0),
            at_risk_seconds=meter.at_risk_seconds if meter is not None else self._at_risk_seconds,
            rebuilds=self.rebuilds,
            rollbacks=self.rollbacks,
            pid=os.getpid(),
            host=socket.gethostname(),
            written=now,
            error=error,
        )
