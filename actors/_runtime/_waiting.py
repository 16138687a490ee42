"""What an open operation waits for, since when, and for how long it has worked; told from wherever that is known."""

import contextlib
import contextvars
from collections.abc import Callable, Generator
from typing import Final

from tinkex.actors._runtime._clock import Clock

PAUSES: Final = frozenset({"paused_capacity", "paused_rate_limit", "paused_billing"})
"""States in which the server has said that it does not go on now."""

_NO_WORK: Final = PAUSES | {"queued", "suspect"}


def is_work(state: str) -> bool:
    """Whether time in ``state`` counts as work."""
    return state not in _NO_WORK


LEAST_SECONDS: Final = 1e-3
"""The shortest wait for an operation to be overdue."""


class Waiting:
    """The state of one open operation. Told by its actor or the io loop, one of them at a time; read by anyone.

    Work is counted from ``count`` on, in seconds: pauses by the server and waiting behind others are none.

    Args:
        clock: times.
        allowed: seconds of work after which it is overdue: a sign, never an end.
        changed: called with the former state after each change, in the thread that told it; be quick.
    """

    __slots__ = (
        "_changed",
        "_clock",
        "_counts",
        "_since_work",
        "_worked",
        "allowed",
        "asked",
        "reason",
        "since",
        "state",
        "step",
    )

    def __init__(self, clock: Clock, allowed: float, changed: Callable[[str], object] | None = None) -> None:
        """Be ``queued`` from now on."""
        self._clock = clock
        self._changed = changed
        self._counts = False
        self._worked = 0.0
        self._since_work: float | None = None
        self.allowed = allowed
        self.asked = self.since = clock.time()
        """Epoch seconds of the call, and of the last change of its state."""
        self.state = "queued"
        """``queued``, ``sending``, ``running``, ``backing_off``, ``circuit_open``, ``suspect`` or one of ``PAUSES``."""
        self.reason: str | None = None
        """The server's own words, or what went wrong."""
        self.step: str | None = None
        """Of an operation of several: the one that it is at."""

    def heard(self, state: str, reason: str | None = None) -> None:
        """Note what it waits for from now on."""
        old = self.state
        if state == old and reason == self.reason:
            return
        self.state, self.reason = state, reason  # first: an actor that begins to count meanwhile looks at it
        if state != old:
            self.since = self._clock.time()
            self._turn(state)
        changed = self._changed
        if changed is not None:
            changed(old)

    def hush(self) -> None:
        """Tell nobody of changes any more: what would be told, and all that it holds, is free."""
        self._changed = None

    def count(self) -> None:
        """Count its work from now on: nothing stands before it any more."""
        if not self._counts:
            self._counts = True
            self._turn(self.state)

    @property
    def worked(self) -> float:
        """Seconds of work so far."""
        since = self._since_work
        return self._worked if since is None else self._worked + self._clock.monotonic() - since

    @property
    def overdue(self) -> bool:
        """Whether it has worked for longer than is allowed."""
        return self.worked >= self.allowed

    @property
    def left(self) -> float | None:
        """In how many seconds it will be overdue if nothing changes; None while it does not work.

        At least a millisecond: a wait for less than what a clock can tell apart would come to be again and again.
        """
        return None if self._since_work is None else max(self.allowed - self.worked, LEAST_SECONDS)

    def due(self, now: float) -> float | None:
        """At which monotonic second it will be overdue if nothing changes; None where it does not work, or is already.

        Args:
            now: the clock's, in monotonic seconds.
        """
        since = self._since_work
        if since is None:
            return None
        left = self.allowed - self._worked - (now - since)
        return now + max(left, LEAST_SECONDS) if left > 0.0 else None

    def _turn(self, state: str) -> None:
        now = self._clock.monotonic()
        if self._since_work is not None:
            self._worked += now - self._since_work
        self._since_work = now if self._counts and is_work(state) else None


_current: contextvars.ContextVar[Waiting | None] = contextvars.ContextVar("tinkex_waiting", default=None)


@contextlib.contextmanager
def waiting_as(waiting: Waiting | None) -> Generator[None]:
    """Let coroutines that are submitted within the block tell ``waiting`` what they wait for."""
    token = _current.set(waiting)
    try:
        yield
    finally:
        _current.reset(token)


def tell(state: str, reason: str | None = None) -> None:
    """Tell whoever submitted the running coroutine what it waits for."""
    waiting = _current.get()
    if waiting is not None:
        waiting.heard(state, reason)


def at_work(step: str) -> None:
    """Tell whoever submitted the running coroutine at which step it is."""
    waiting = _current.get()
    if waiting is not None:
        waiting.step = step
