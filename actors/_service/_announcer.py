"""Telling a user's callback what happens, in order, so that nothing it does can harm an actor."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from tinkex.actors._genserver._watch import describe
from tinkex.actors._runtime._log import log
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._runtime._turns import WorldEnded

T = TypeVar("T")

MOST_WAITING: Final = 1_000


class Announcer(Generic[T]):
    """Calls one callback with one event after another, on a daemon thread that lives while there is something to tell.

    What it raises is logged. One that hangs holds up only itself: beyond a thousand events the oldest are forgotten.
    Any thread may ``tell``; it never waits.
    """

    def __init__(self, runtime: Runtime, name: str, callback: Callable[[T], Any] | None) -> None:
        """Tell nobody where ``callback`` is None; ``name`` is how logs call it."""
        self._runtime = runtime
        self._name = name
        self._callback = callback
        self._lock = threading.Lock()
        self._events: deque[T] = deque(maxlen=MOST_WAITING)
        self._running = False

    def tell(self, event: T) -> None:
        """Have the callback called with ``event`` after those before it."""
        if self._callback is None:
            return
        with self._lock:
            self._events.append(event)
            if self._running:
                return
            self._running = True
        try:
            self._runtime.start_thread("Announcer", self._run)
        except RuntimeError as error:
            log(callback=self._name).warning("callback not called", error=describe(error))  # the program ends

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._events:
                    self._running = False
                    return
                event = self._events.popleft()
            self._call(event)

    def _call(self, event: T) -> None:
        if self._callback is None:
            return
        try:
            self._callback(event)
        except WorldEnded:
            raise
        except BaseException as error:  # noqa: BLE001 - the border to users' code, SystemExit included
            log(callback=self._name).error("callback failed", error=describe(error))
