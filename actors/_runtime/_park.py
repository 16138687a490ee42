"""The parker: how a thread of the actors waits. Nothing in this package waits in another way."""

import threading
from typing import Protocol


class Parker(Protocol):
    """A binary semaphore that starts empty. At most one thread parks on it at a time."""

    def park(self, timeout: float | None = None) -> bool:
        """Wait for an ``unpark`` and use it up.

        Args:
            timeout: seconds, None for ever; zero and less only look.

        Returns:
            True if an ``unpark`` was used up, one from before the call included; False if the time ran out.
        """
        ...

    def unpark(self) -> None:
        """Let the current or the next ``park`` return: several count as one. Any thread, never waits."""
        ...


class LockParker:
    """The parker of real threads: one lock that is held while there is nothing to use up.

    ``unpark`` takes no lock and may run inside a finalizer.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        """Start with nothing to use up."""
        self._lock = threading.Lock()
        self._lock.acquire()

    def park(self, timeout: float | None = None) -> bool:
        """See ``Parker``; the seconds are real ones, whatever clock is in use."""
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(timeout, 0.0), threading.TIMEOUT_MAX))

    def unpark(self) -> None:
        """See ``Parker``."""
        if self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:
                return  # another thread's unpark came first: the two count as one
