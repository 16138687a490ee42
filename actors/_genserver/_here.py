"""What is known about the current thread: whose it is, and whether and how it may wait."""

import asyncio
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tinkex.actors._runtime._runtime import Runtime

if TYPE_CHECKING:
    from tinkex.actors._genserver._once import Once
    from tinkex.actors._runtime._park import Parker

WAKE_BATCH: Final = 256
"""Futures of one event loop that are woken in one of its turns, so that its other tasks get theirs."""


class Bridge:
    """Carries wake-ups from any thread into one event loop, many at a time."""

    __slots__ = ("_loop", "_ready", "_scheduled", "warned")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._ready: deque[asyncio.Future[None]] = deque()
        self._scheduled = False
        self.warned = False
        """Whether somebody was told that this loop is blocked by a ``get()``."""

    def leads_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell whether this is the bridge to ``loop``."""
        return self._loop() is loop

    def wake(self, future: "asyncio.Future[None]") -> None:
        """Resolve ``future``, which belongs to the loop, in one of its next turns; nothing if the loop is closed."""
        self._ready.append(future)
        if self._scheduled:
            return
        self._scheduled = True
        loop = self._loop()
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._flush, loop)
            except RuntimeError:
                self._ready.clear()
                self._scheduled = False

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled = False
        for _ in range(WAKE_BATCH):
            if not self._ready:
                return
            future = self._ready.popleft()
            if not future.done():
                future.set_result(None)
        if self._ready:
            self._scheduled = True
            loop.call_soon(self._flush, loop)


class Here(threading.local):
    """The current thread's own facts."""

    actor: str | None = None
    """The name of the GenServer whose thread this is."""

    urn: str | None = None
    """Its ``actor_urn``."""

    _runtime: Runtime | None = None
    _parker: "Parker | None" = None
    _bridge: Bridge | None = None

    def bridge(self, loop: asyncio.AbstractEventLoop) -> Bridge:
        """Return the bridge to ``loop``, which runs in this thread."""
        bridge = self._bridge
        if bridge is None or not bridge.leads_to(loop):
            bridge = self._bridge = Bridge(loop)
        return bridge

    def parker(self, runtime: Runtime) -> "Parker":
        """Return what this thread waits with; not the same twice at once, as a signal handler may wait in a wait."""
        parker, self._parker = self._parker, None
        if parker is None or self._runtime is not runtime:
            self._runtime = runtime
            parker = runtime.new_parker()
        return parker

    def put_back(self, parker: "Parker") -> None:
        """Keep a parker for this thread's next wait."""
        self._parker = parker


here: Final = Here()


def may_block(stacklevel: int = 3) -> None:
    """Refuse to wait where that can deadlock; warn once where it only blocks a user's event loop.

    Raises:
        RuntimeError: on the thread of a GenServer and on the event loop of the io thread.
    """
    if here.actor is not None:
        raise RuntimeError(
            f"a wait for a reply on the thread of {here.actor} would stop its mailbox and can deadlock: ask with "
            "block=False, return a Deferred and settle it in the reply's add_done_callback()"
        )
    loop = asyncio._get_running_loop()  # noqa: SLF001 - the public form raises where there is none
    if loop is None:
        return
    if threading.get_ident() == Runtime.current().io.loop_thread_ident:
        raise RuntimeError("a wait for a reply on the io thread would stop every request of the process: use await")
    bridge = here.bridge(loop)
    if not bridge.warned:
        bridge.warned = True
        warnings.warn(
            "get() blocks the event loop that runs in this thread until the reply is there: use await",
            RuntimeWarning,
            stacklevel=stacklevel,
        )


def wait(cell: "Once[Any]", timeout: float | None, begin: Callable[[], object] = bool) -> bool:
    """Call ``begin`` and wait in this thread, up to ``timeout`` seconds, until ``cell`` is settled; tell whether it is.

    What settles the cell may be begun here, with all prepared for the wait: a thread that wakes another one and then
    does not go to sleep at once has them both contend for the interpreter.
    """
    runtime = Runtime.current()
    parker = here.parker(runtime)
    unpark = parker.unpark
    cell.subscribe_once(unpark)
    try:
        begin()
        if timeout is None:
            while not cell.settled:
                parker.park()
            return True
        clock = runtime.clock
        deadline = clock.monotonic() + timeout
        left = timeout
        while not cell.settled:
            if left <= 0.0 or not parker.park(left):
                break
            left = deadline - clock.monotonic()
    finally:
        cell.unsubscribe(unpark)
        here.put_back(parker)
    return cell.settled
