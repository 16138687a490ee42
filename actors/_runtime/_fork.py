"""What a forked child must not inherit: threads that do not run there, and locks that they held."""

import os
import weakref
from typing import Protocol


class Inherited(Protocol):
    """Something whose threads stay behind in the parent process."""

    def reset_after_fork(self) -> None:
        """Start anew. Called in the child process, while it has one thread."""
        ...


_watched: weakref.WeakSet[Inherited] = weakref.WeakSet()


def watch_forks(inherited: Inherited) -> None:
    """Have ``inherited`` reset in every child process, as long as it is alive."""
    _watched.add(inherited)


def _after_fork() -> None:
    for inherited in tuple(_watched):
        inherited.reset_after_fork()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_after_fork)
