"""How an actor ended, and who is told: its finalizers first, then its watchers, each once."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec

from tinkex.actors._genserver._once import do_all, run
from tinkex.protocol import TinkexError

DownReason = Literal["normal", "shutdown", "killed", "crashed"]
"""``normal``: it was stopped; ``shutdown``: by its supervisor or the end of the program; ``killed``; ``crashed``."""


class Down(msgspec.Struct, frozen=True):
    """An actor ended: told once to each of its watchers."""

    urn: str
    """The ``actor_urn`` of the one that ended."""

    reason: DownReason

    error: TinkexError | None
    """What it crashed with, or why it was killed; None after an ordered end."""


class Ending(msgspec.Struct, frozen=True):
    """The end of one actor. Holds text only: an exception's traceback would keep the actor alive."""

    actor: str
    urn: str
    reason: DownReason
    cause: str | None = None

    def error(self) -> TinkexError:
        """Build the error for one of those who asked; each gets its own, as each may raise it."""
        data = {"actor": self.actor, "actor_urn": self.urn, "reason": self.reason}
        if self.cause is not None:
            data["cause"] = self.cause
        if self.reason == "crashed":
            return TinkexError(
                f"{self.actor} crashed: {self.cause}", kind="actor_crashed", category="unknown", data=data
            )
        how = "was killed" if self.reason == "killed" else "has stopped"
        why = f" ({self.cause})" if self.cause is not None else ""
        return TinkexError(f"{self.actor} {how}{why}", kind="actor_dead", category="unknown", data=data)

    def down(self) -> Down:
        """Build what the watchers are told."""
        ordered = self.reason in ("normal", "shutdown")
        return Down(self.urn, self.reason, None if ordered else self.error())


def describe(error: BaseException) -> str:
    """Put an exception into words, without its traceback."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class Watch:
    """The finalizers and watchers of one actor."""

    __slots__ = ("_ending", "_finalizers", "_lock", "_told", "_watchers")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._finalizers: list[Callable[[DownReason], object]] = []
        self._watchers: dict[object, Callable[[Down], object]] = {}
        self._ending: Ending | None = None
        self._told = False

    @property
    def ending(self) -> Ending | None:
        """How the actor ended; None while it has not."""
        return self._ending

    def add_finalizer(self, finalizer: Callable[[DownReason], object]) -> None:
        """Call ``finalizer`` at the end, or here and now if it has come."""
        with self._lock:
            ending = self._ending
            if ending is None:
                self._finalizers.append(finalizer)
                return
        run(finalizer, ending.reason)

    def add(self, watcher: Callable[[Down], object]) -> Callable[[], None]:
        """Call ``watcher`` at the end, or here and now if it has come; return what takes that back."""
        key = object()
        with self._lock:
            if not self._told:
                self._watchers[key] = watcher
                return lambda: self._remove(key)
            ending = self._ending
        assert ending is not None
        run(watcher, ending.down())
        return lambda: None

    def _remove(self, key: object) -> None:
        with self._lock:
            self._watchers.pop(key, None)

    def claim(self, ending: Ending) -> bool:
        """Make ``ending`` the one; False if there is one already."""
        with self._lock:
            if self._ending is not None:
                return False
            self._ending = ending
            return True

    def tell(self) -> None:
        """Call every finalizer, then every watcher; by the one that claimed the ending."""
        ending = self._ending
        assert ending is not None
        with self._lock:
            finalizers, self._finalizers = self._finalizers, []
        do_all(partial(run, finalizer, ending.reason) for finalizer in finalizers)
        with self._lock:
            self._told = True
            watchers, self._watchers = self._watchers, {}
        do_all(partial(run, watcher, ending.down()) for watcher in watchers.values())
