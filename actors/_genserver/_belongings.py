"""What ends with an actor: its timers, its coroutines on the io loop, and its watching of others."""

import threading
from collections.abc import Callable
from typing import Protocol


class Cancellable(Protocol):
    """A timer, or a task of the io loop."""

    def cancel(self) -> object:
        """Keep it from going on. Any thread, never waits."""
        ...


class Undo:
    """Something that a call takes back."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call

    def cancel(self) -> None:
        """Take it back."""
        self._call()


class Belonging:
    """One thing that ends with its actor, and the timer handle for it."""

    __slots__ = ("_all", "_thing", "gone")

    def __init__(self, belongings: "Belongings") -> None:
        self._all = belongings
        self._thing: Cancellable | None = None
        self.gone = False

    def own(self, thing: Cancellable) -> None:
        """Say what it is; cancelled at once if its actor ended meanwhile."""
        self._thing = thing
        if self.gone and self._all.ended:
            thing.cancel()

    def leave(self) -> None:
        """Be done: it fired, or its coroutine ended."""
        self.gone = True
        self._all.remove(self)

    def cancel(self) -> bool:
        """Return True only if it will not fire."""
        thing = self._thing
        done = thing is not None and bool(thing.cancel())
        self.leave()
        return done


class Belongings:
    """All of one actor's."""

    __slots__ = ("_lock", "_things", "ended")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._things: dict[Belonging, None] = {}  # in order, so that a seeded world repeats
        self.ended = False
        """Whether the actor has ended."""

    def add(self) -> Belonging:
        """Make room for one more."""
        belonging = Belonging(self)
        with self._lock:
            if self.ended:
                belonging.gone = True
            else:
                self._things[belonging] = None
        return belonging

    def remove(self, belonging: Belonging) -> None:
        """Forget one."""
        with self._lock:
            self._things.pop(belonging, None)

    def cancel_all(self) -> None:
        """Cancel what is there and what is still to come."""
        with self._lock:
            self.ended = True
            things, self._things = self._things, {}
        for belonging in things:
            belonging.gone = True
            belonging.cancel()
