"""The circuit breaker: a server that fails again and again is left alone for a while. Pure.

Ours, because the breakers to be had (pybreaker, aiobreaker, circuitbreaker, purgatory) read the wall clock and know
neither a seeded jitter nor a half-open state that lets exactly one request through.
"""

import random
from collections.abc import Callable
from typing import Final, Literal

import msgspec

Phase = Literal["closed", "open", "half_open"]

FAILURES: Final = 5
"""Failures in a row that open the circuit."""

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 30.0
"""How long it stays open at most; at least half of what is due, the rest is chance."""

PROBE_SECONDS: Final = 10.0
"""After this a probe without an outcome no longer keeps others from trying: a long poll is held by a healthy server."""

PATIENCE_SECONDS: Final = 1.0
"""How long a half-open circuit is kept for requests that are answered at once, before a long poll may try it."""


class Permit(msgspec.Struct, frozen=True):
    """What a request was let through with; its outcome is told with it."""

    number: int
    epoch: int


class CircuitBreaker:
    """Closed, open or half-open. Times are monotonic seconds that never go back.

    Closed, everybody passes; ``FAILURES`` failures in a row open it. Open, nobody does, for a jittered time that
    doubles with every failed probe. Then it is half-open: one request at a time is let through as a probe, whose
    success closes it and whose failure opens it again. Outcomes of requests from before it opened mean nothing.

    Args:
        rng: the jitter's source.
        changed: told of every transition, once, with the new phase.
    """

    def __init__(self, rng: random.Random, changed: Callable[[Phase], object] = lambda _phase: None) -> None:
        """Begin closed."""
        self.phase: Phase = "closed"
        self.failures = 0
        """In a row, up to now or up to its opening."""

        self.cause = ""
        """What the latest failure was."""

        self.seconds = 0.0
        """For how long it was opened last."""

        self._rng = rng
        self._changed = changed
        self._epoch = 0
        self._permits = 0
        self._openings = 0
        self._half_open_at = 0.0
        self._probe: int | None = None
        self._probe_until = 0.0

    def next_chance(self, now: float, *, patient: bool = False) -> float:
        """Return when ``admit`` may let a request through: ``now`` if it would, later if not before then.

        A transition or the end of a probe can come earlier.
        """
        if self.phase == "closed":
            return now
        at = self._half_open_at + (PATIENCE_SECONDS if patient else 0.0)
        if self._probe is not None:
            at = max(at, self._probe_until)
        return max(at, now)

    def admit(self, now: float, *, patient: bool = False) -> Permit | None:
        """Let a request through, or return None; a ``patient`` one leaves the first second of trying to others."""
        if self.next_chance(now, patient=patient) > now:
            return None
        permit = self.bypass()
        if self.phase != "closed":
            self._probe = permit.number
            self._probe_until = now + PROBE_SECONDS
            self._turn("half_open")
        return permit

    def bypass(self) -> Permit:
        """Let a request through that nothing may hold up.

        Its success closes the circuit too; its failure counts in a closed one only.
        """
        self._permits += 1
        return Permit(self._permits, self._epoch)

    def succeed(self, permit: Permit) -> None:
        """Note that the server answered."""
        if permit.epoch != self._epoch:
            return
        self.failures = 0
        if self.phase != "closed":
            self._epoch += 1
            self._openings = 0
            self._probe = None
            self._turn("closed")

    def fail(self, permit: Permit, now: float, cause: str) -> None:
        """Note that the server failed."""
        if permit.epoch != self._epoch:
            return
        if self.phase == "closed":
            self.failures += 1
            self.cause = cause
            if self.failures >= FAILURES:
                self._open(now)
        elif permit.number == self._probe:
            self.failures += 1
            self.cause = cause
            self._open(now)

    def forget(self, permit: Permit) -> None:
        """Note that nothing was learnt: the request was given up, or its outcome says nothing about the server."""
        if permit.number == self._probe:
            self._probe = None

    def _open(self, now: float) -> None:
        due = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._openings, 16))
        self.seconds = due * self._rng.uniform(0.5, 1.0)
        self._openings += 1
        self._epoch += 1
        self._probe = None
        self._half_open_at = now + self.seconds
        self._turn("open")

    def _turn(self, phase: Phase) -> None:
        if phase != self.phase:
            self.phase = phase
            self._changed(phase)
