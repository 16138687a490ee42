"""The guard: what starts on its own is stopped when the program ends, whichever way it ends."""

import atexit
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

from tinkex.actors._genserver._mailbox import Mailbox

GUARD_SECONDS: Final = 10.0
"""What the end of the program may take for all actors together."""

_ITS_PART: Final = 0.8
"""Of the time that the guard waits for one actor; the rest is for its ``on_stop``."""


class Root(Protocol):
    """A reference to an actor."""

    actor_urn: str
    actor_class: Any

    def stop(self, *, block: Literal[False], reason: Literal["shutdown"], shutdown: float) -> object:
        """Begin to stop it."""
        ...

    def kill(self, reason: str) -> bool:
        """End it at once."""
        ...

    def join(self, timeout: float) -> bool:
        """Wait for the end of its thread."""
        ...

    def monitor(self, watcher: Callable[[Any], object]) -> object:
        """Call ``watcher`` when it has ended."""
        ...


class Guard:
    """Knows the living actors in the order of their start, and who started whom.

    The roots are those that no actor started, or one that has ended: nobody else is there to stop them.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._living: dict[str, tuple[Root, str | None]] = {}
        self._registered = False

    def enlist(self, ref: Root, parent: str | None) -> None:
        """Know of an actor that lives, started by the actor ``parent``."""
        with self._lock:
            self._living[ref.actor_urn] = ref, parent
            if not self._registered:
                self._registered = True
                atexit.register(self.end)

    def forget(self, urn: str) -> None:
        """Leave an actor alone that has ended."""
        with self._lock:
            self._living.pop(urn, None)

    def end(self, seconds: float = GUARD_SECONDS) -> None:
        """Stop the roots, the youngest first, within ``seconds`` in all; kill those that are left then.

        Needs no new thread and no executor, both of which an ending interpreter refuses.
        """
        deadline = time.monotonic() + seconds
        try:
            while (roots := self._youngest_first()) and (left := deadline - time.monotonic()) > 0.0:
                _stop(roots[0], left / len(roots))
        finally:
            while roots := self._youngest_first():
                for ref in roots:
                    ref.kill("the program ended")

    def _youngest_first(self) -> list[Root]:
        with self._lock:
            return [ref for ref, parent in reversed(self._living.values()) if parent not in self._living]

    def reset_after_fork(self) -> None:
        """Forget the roots of the parent process; they are its own to stop."""
        self._lock = threading.RLock()
        self._living.clear()
        for mailbox in tuple(Mailbox.everyone):
            mailbox.abandon_after_fork()


def _stop(ref: Root, seconds: float) -> None:
    ended = threading.Event()
    ref.monitor(lambda _down: ended.set())
    until = time.monotonic() + seconds
    ref.stop(block=False, reason="shutdown", shutdown=min(ref.actor_class.shutdown, _ITS_PART * seconds))
    if not ended.wait(seconds):
        ref.kill("the program ended")
    ref.join(max(until - time.monotonic(), 0.0))


guard: Final = Guard()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=guard.reset_after_fork)
