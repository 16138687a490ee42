"""The runtime: which clock, threads and transport the actors of a context live on."""

import contextlib
import contextvars
import random
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from tinkex.actors._runtime._clock import Clock, SystemClock
from tinkex.actors._runtime._io import IoThread
from tinkex.actors._runtime._park import Parker
from tinkex.actors._runtime._shared import Shared
from tinkex.actors._runtime._threads import OsThreads, Threads

if TYPE_CHECKING:
    import threading

    import httpx

V = TypeVar("V")


class Scheduler(Threads, Protocol):
    """Decides who runs; brings its own time and its own io thread."""

    @property
    def clock(self) -> Clock:
        """Its time."""
        ...

    @property
    def io(self) -> IoThread:
        """Where its coroutines run."""
        ...

    def new_random(self) -> random.Random:
        """Return a generator that its seed decides."""
        ...


class Runtime:
    """What the actors of a context live on. An actor belongs to the runtime that is current where it is started.

    Args:
        clock: every sleep, deadline and timestamp; real time where None, the scheduler's own under one.
        io: where coroutines run; a thread of this runtime's own where None, the scheduler's under one.
        scheduler: decides who runs; None for the operating system.
        http_transport: where HTTP requests go in place of the network.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        io: IoThread | None = None,
        scheduler: Scheduler | None = None,
        http_transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        """Wire the parts; nothing is started.

        Raises:
            ValueError: a clock or an io thread was given next to a scheduler, which brings its own.
        """
        if scheduler is not None:
            if clock not in (None, scheduler.clock) or io not in (None, scheduler.io):
                raise ValueError("a scheduler brings its own clock and io thread")
            clock, io = scheduler.clock, scheduler.io
        self._threads: Threads = scheduler if scheduler is not None else OsThreads()
        self.clock: Clock = clock if clock is not None else SystemClock()
        self.io = io if io is not None else IoThread()
        self.scheduler = scheduler
        self.http_transport = http_transport
        self.shared = Shared()
        self._parts: dict[Callable[[Runtime], Any], Any] = {}

    def part(self, make: "Callable[[Runtime], V]") -> V:
        """Return what ``make`` made for this runtime, the same at every call and as long as it lasts. Any thread.

        What is to be freed with its last user is ``shared`` instead.
        """
        found = self._parts.get(make)
        return cast("V", found if found is not None else self._parts.setdefault(make, make(self)))

    @staticmethod
    def current() -> "Runtime":
        """The runtime of the calling context: that of ``use``, of the actor whose thread this is, or the process's."""
        return _current.get() or _default()

    @contextlib.contextmanager
    def use(self) -> "Generator[Runtime]":
        """Make this runtime the current one of the calling context for a while."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    def new_parker(self) -> Parker:
        """Return a parker, for one thread at a time to wait on."""
        return self._threads.new_parker()

    def start_thread(self, name: str, target: Callable[[], object]) -> "threading.Thread":
        """Start a daemon thread that runs ``target`` in a copy of the caller's context.

        Args:
            name: what the thread is, not which: the scheduler numbers equal names in the order of their start.
            target: ends by itself.

        Raises:
            RuntimeError: the interpreter ends and refuses new threads.
        """
        if isinstance(self.clock, SystemClock):
            self.clock.start()  # at interpreter exit, when deadlines matter most, it could not be started any more
        return self._threads.start_thread(name, target)

    def join(self, thread: "threading.Thread", timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds for a thread of ``start_thread``; return whether it has ended."""
        return self._threads.join(thread, timeout)

    def step(self, event: str) -> None:
        """Note in the scheduler's trace what the calling thread is about to do, and offer the turn to others.

        To be called with no lock held. Without a scheduler it does nothing.
        """
        self._threads.step(event)

    def trace(self, event: str) -> None:
        """Note in the scheduler's trace what the calling thread does. Without a scheduler it does nothing."""
        self._threads.note(event)

    def new_random(self) -> random.Random:
        """Return a generator for jitter: seeded under a scheduler, else unpredictable."""
        if self.scheduler is not None:
            return self.scheduler.new_random()
        return random.Random()  # noqa: S311 - jitter is no secret


_current: contextvars.ContextVar[Runtime | None] = contextvars.ContextVar("tinkex_runtime", default=None)
_made: dict[str, Runtime] = {}


def _default() -> Runtime:
    return _made.get("process") or _made.setdefault("process", Runtime())  # a lock could be held in a forked child
