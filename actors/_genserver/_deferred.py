"""Replies that are given later: what a handler returns when the answer is not there yet."""

import threading
from collections.abc import Callable
from typing import Final, Generic, Literal, Protocol, TypeVar

from tinkex.actors._genserver._once import Once, run
from tinkex.protocol import Result

T = TypeVar("T")

AbandonReason = Literal["cancelled", "timeout", "dropped"]
"""Why nobody reads a reply: it or its await was cancelled, its ``ask(timeout=)`` ran out, or it was dropped."""

_LOCK: Final = threading.RLock()


class Asker(Protocol):
    """One ask that a deferred answers."""

    gave_up: bool
    """Whether it was told that nobody reads this ask's reply."""


class Deferred(Once[Result[T]], Generic[T]):
    """The promise of a reply, returned by a handler in the place of the reply.

    The asker gets what ``settle`` is given; the mailbox goes on meanwhile. One deferred may answer several asks. Any
    thread may use it. If the actor ends first, the askers are answered with the reason of its end.
    """

    __slots__ = ("_askers", "_gone", "_hooks", "_told")

    def __init__(self) -> None:
        super().__init__()
        self._askers = 0
        self._gone = 0
        self._hooks: list[Callable[[AbandonReason], object]] = []
        self._told: list[AbandonReason] = []

    def settle(self, value: Result[T]) -> bool:
        """Give the reply; the first one counts. Return whether this one was it."""
        return super().settle(value)

    def subscribe(self, callback: Callable[[Result[T]], object]) -> None:
        """Call ``callback`` with the reply: in the settling thread, or here and now if it was given."""
        self.subscribe_once(lambda: callback(self.value()))

    def on_abandon(self, hook: Callable[[AbandonReason], object]) -> None:
        """Call ``hook`` when nobody is going to read the reply, even if it was given already. Any thread; be quick.

        It comes once. A ``get(timeout=)`` that runs out is no end: the reply may still be read. Who has set a hook also
        settles the deferred; a cancelled reply without a hook settles itself.
        """
        with _LOCK:
            self._hooks.append(hook)
            told = list(self._told)
        for reason in told:
            run(hook, reason)

    def asked(self) -> None:
        """Count one more ask that this deferred answers."""
        with _LOCK:
            self._askers += 1

    def give_up(self, asker: Asker | None, reason: AbandonReason) -> bool:
        """Note that ``asker`` (None: a tell) does not read the reply; tell the hooks when nobody else does.

        Return whether a hook was there, whose owner settles this deferred.
        """
        with _LOCK:
            if asker is not None and asker.gave_up:
                return bool(self._hooks)
            if asker is not None:
                asker.gave_up = True
                self._gone += 1
            if self._askers > self._gone:
                return False
            if self._told:
                return bool(self._hooks)
            self._told.append(reason)
            hooks = list(self._hooks)
        for hook in hooks:
            run(hook, reason)
        return bool(hooks)
