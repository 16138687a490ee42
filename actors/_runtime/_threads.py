"""Where threads, waits and event loops come from: real ones here, the seeded scheduler's in tests."""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable
from typing import Protocol

from tinkex.actors._runtime._loop import IoLoop
from tinkex.actors._runtime._park import LockParker, Parker


class Threads(Protocol):
    """What a runtime needs of the machine."""

    def new_parker(self) -> Parker:
        """Return a parker with nothing to use up."""
        ...

    def start_thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        """Start a daemon thread that runs ``target`` in a copy of the caller's context.

        Raises:
            RuntimeError: the interpreter ends and refuses new threads.
        """
        ...

    def join(self, thread: threading.Thread, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds for a thread of ``start_thread``; return whether it has ended."""
        ...

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return an event loop for one thread."""
        ...

    def monotonic(self) -> float:
        """The seconds in which parkers and joins count."""
        ...

    def step(self, event: str) -> None:
        """Note ``event`` of the calling thread and offer the turn to others."""
        ...

    def note(self, event: str) -> None:
        """Note ``event`` of the calling thread."""
        ...


class OsThreads:
    """The operating system's threads; the scheduler's hooks do nothing."""

    def new_parker(self) -> Parker:
        """See ``Threads``."""
        return LockParker()

    def start_thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        """See ``Threads``."""
        thread = threading.Thread(
            target=contextvars.copy_context().run, args=(target,), name=f"tinkex-{name}", daemon=True
        )
        thread.start()
        return thread

    def join(self, thread: threading.Thread, timeout: float | None = None) -> bool:
        """See ``Threads``."""
        thread.join(timeout)
        return not thread.is_alive()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """See ``Threads``."""
        return IoLoop()

    def monotonic(self) -> float:
        """See ``Threads``."""
        return time.monotonic()

    def step(self, event: str) -> None:
        """See ``Threads``."""

    def note(self, event: str) -> None:
        """See ``Threads``."""
