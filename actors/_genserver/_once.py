"""A value that is set once, by whoever comes first, and told to whoever waits."""

import logging
import threading
from _thread import LockType, allocate_lock
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

logger = logging.getLogger("tinkex")

V = TypeVar("V")

_SPENT: Final = allocate_lock()
_SPENT.acquire()


class Raised:
    """An exception in the place of a value; the reader gets it raised."""

    __slots__ = ("error", "traceback")

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.traceback = error.__traceback__


class Once(Generic[V]):
    """A cell that is settled once.

    No call blocks, and none is disturbed by another one that interrupts it in the same thread: a garbage collector's
    finalizer and a signal handler may settle and subscribe too. That rests on single operations being atomic: the
    gate's try-acquire, which nobody ever releases, and a list's ``append``, ``pop`` and ``remove``.
    """

    __slots__ = ("_callbacks", "_gate", "_value", "settled")

    settled: bool
    """Whether the value is there."""

    def __init__(self) -> None:
        self._gate: LockType = allocate_lock()
        self._callbacks: list[Callable[[], object]] | None = []
        self.settled = False

    def settle(self, value: V) -> bool:
        """Set the value and run the callbacks in this thread; False, and nothing happens, if another was first."""
        if not self._gate.acquire(False):
            return False
        self._gate = _SPENT
        self._value: Any = value
        self.settled = True
        if self._callbacks:
            run_all(self._callbacks)
        self._callbacks = None
        return True

    def fail(self, error: BaseException) -> bool:
        """Settle with an exception, which every reader gets raised."""
        return self.settle(Raised(error))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    def value(self) -> V:
        """Return the value of a settled cell, or raise what it failed with."""
        value = self._value
        if type(value) is Raised:
            raise value.error.with_traceback(value.traceback)
        return value  # type: ignore[no-any-return]

    def subscribe_once(self, callback: Callable[[], object]) -> None:
        """Run ``callback`` once: in the settling thread, or here and now if the value is there."""
        callbacks = self._callbacks
        if callbacks is not None:
            callbacks.append(callback)
            if not self.settled:
                return
            try:
                callbacks.remove(callback)
            except ValueError:
                return
        run(callback)

    def unsubscribe(self, callback: Callable[[], object]) -> None:
        """Forget ``callback`` if it has not run."""
        callbacks = self._callbacks
        if callbacks is not None:
            with suppress(ValueError):
                callbacks.remove(callback)

    @property
    def waiting(self) -> int:
        """How many wait for the value."""
        return len(self._callbacks or ())


def run_all(callbacks: list[Callable[[], object]]) -> None:
    """Run and take out every callback, in order, against others who take theirs out."""
    interrupt: KeyboardInterrupt | None = None
    while callbacks:
        try:
            callback = callbacks.pop(0)
        except IndexError:
            break
        try:
            run(callback)
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def do_all(steps: Iterable[Callable[[], object]]) -> None:
    """Do every step, also if Ctrl-C comes in between; it goes on afterwards. A half-told end would leave waiters."""
    interrupt: KeyboardInterrupt | None = None
    for step in steps:
        try:
            step()
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt


def run(callback: Callable[..., object], *args: Any) -> None:
    """Run a callback of somebody else's: what it raises is logged, so that it harms neither us nor the next one.

    A ``KeyboardInterrupt`` in the main thread is the user's and goes on.
    """
    try:
        callback(*args)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            raise
        logger.exception("a callback raised: %r", callback)
