"""A training client under watch, and what recovery is doing about it. Data and its bookkeeping, without a decision."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Reply
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._runtime._io import IoTask
from tinkex.actors._training._vitals import Vitals
from tinkex.protocol import RecoverySignal
from tinkex.protocol.replies import LoadedState, OperationStatus

Phase = Literal["watched", "waiting", "choosing", "loading", "backing_off", "left"]
"""``left``: its loss was noticed, and nothing is done about it any more until the client changes by itself."""


class Run(msgspec.Struct, eq=False):
    """One training client, and the recovery of its run where one is under way."""

    client: GenRef[Any]
    vitals: Vitals = msgspec.field(default_factory=lambda: Vitals("starting"))
    phase: Phase = "watched"
    epoch: int = 0
    """Grows with each change of phase, so that what was begun in an earlier one is known to be late."""

    signal: RecoverySignal = "session_lost"
    lost_model_id: str | None = None
    noticed: float = 0.0
    """Monotonic seconds when the loss was."""

    since: float = 0.0
    """Epoch seconds of the phase."""

    reason: str | None = None
    attempt: int = 0
    deadline: float = 0.0
    """Monotonic seconds when the attempt ends."""

    paths: list[str] = msgspec.field(default_factory=list[str])
    """Those that this attempt has not tried yet, the best first; the first is being tried."""

    failures: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    rejected: set[str] = msgspec.field(default_factory=set[str])
    release_first: bool = False
    """Whether the lost model must make room for the new one."""

    work: IoTask[Any] | None = None
    timer: Timer | None = None
    reply: Reply[LoadedState] | None = None
    poll: IoTask[Any] | None = None
    forget: Callable[[], None] | None = None

    @property
    def active(self) -> bool:
        """Whether an attempt is under way."""
        return self.phase in ("choosing", "loading")

    @property
    def recovering(self) -> bool:
        """Whether a recovery is under way, its waits included."""
        return self.phase in ("waiting", "choosing", "loading", "backing_off")

    def enter(self, phase: Phase, now: float, reason: str | None = None) -> None:
        """Go on to ``phase`` at ``now`` (epoch seconds); what was begun before is ended, unheard."""
        self.phase = phase
        self.since = now
        self.reason = reason
        self.epoch += 1
        if self.work is not None:
            self.work.cancel()
            self.work = None
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.reply is not None:
            self.reply.cancel()
            self.reply = None

    def begin(self, signal: RecoverySignal, now: float) -> None:
        """Take up a new loss, noticed at ``now`` (monotonic seconds): nothing is tried yet, no checkpoint is bad."""
        self.signal = signal
        self.lost_model_id = self.vitals.model_id
        self.noticed = now
        self.attempt = 0
        self.paths = []
        self.failures = {}
        self.rejected = set()
        self.release_first = False

    def end_poll(self) -> bool:
        """Stop asking the server; return whether an answer was still awaited."""
        poll, self.poll = self.poll, None
        if poll is not None:
            poll.cancel()
        return poll is not None

    def status(self, max_attempts: int) -> OperationStatus:
        """Return what ``Status()`` says about the recovery."""
        told = f"{self.lost_model_id}: {self.signal}"
        if self.attempt:
            told += f", attempt {self.attempt} of {max_attempts}"
        if self.reason is not None:
            told += f", {self.reason}"
        return OperationStatus(name="recovery", state=self.phase, since=self.since, reason=told)
