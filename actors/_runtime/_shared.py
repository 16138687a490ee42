"""What users of one runtime share: made for the first, freed with the last."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from tinkex.actors._runtime._fork import watch_forks

T = TypeVar("T")


class _Held:
    __slots__ = ("thing", "users")

    def __init__(self, thing: object) -> None:
        self.thing = thing
        self.users = 0


class Shared:
    """Things by name, each kept as long as somebody uses it. Safe from any thread; a forked child starts with none."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._reset()
        watch_forks(self)

    def __len__(self) -> int:
        return len(self._held)

    def join(self, name: Hashable, make: Callable[[], T]) -> T:
        """Return what is called ``name``, made by ``make`` for its first user; to be left once by each who joined."""
        with self._lock:
            held = self._held.get(name)
            if held is None:
                held = self._held[name] = _Held(make())
            held.users += 1
            return cast("T", held.thing)

    def leave(self, name: Hashable, thing: object) -> None:
        """Use ``thing`` no longer. Whoever still has it may go on; the next to join gets another."""
        with self._lock:
            held = self._held.get(name)
            if held is None or held.thing is not thing:
                return  # of the parent, in a forked child
            held.users -= 1
            if not held.users:
                del self._held[name]

    def reset_after_fork(self) -> None:
        """Leave everything to the parent. The child process only, while it has one thread."""
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._held = dict[Any, _Held]()
