"""The clock seam: every sleep, deadline and timestamp of this package goes through one."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from math import inf
from typing import Final, Protocol

from tinkex.actors._runtime._fork import watch_forks
from tinkex.actors._runtime._park import LockParker
from tinkex.actors._runtime._report import report
from tinkex.actors._runtime._timers import TimerQueue

_BACKLOG: Final = 1024
_REAL_SECONDS: Final = 10.0


class Timer(Protocol):
    """A call that a clock was asked to make later."""

    def cancel(self) -> bool:
        """Return True only if it will not fire. Any thread, never waits."""
        ...


class Clock(Protocol):
    """Where time comes from. All of it may be called by any thread, ``sleep`` on any event loop."""

    def monotonic(self) -> float:
        """Seconds that never go back, from an origin of the clock's own."""
        ...

    def time(self) -> float:
        """Seconds since the epoch, for timestamps only."""
        ...

    def call_later(self, delay: float, fn: Callable[[], object]) -> Timer:
        """Call ``fn`` in ``delay`` seconds (zero and less: at once) on the clock's timer thread; it must be quick."""
        ...

    async def sleep(self, delay: float) -> None:
        """Suspend the current asyncio task for ``delay`` seconds."""
        ...


class SystemClock:
    """Real time. One daemon thread, started when first needed, serves all timers."""

    def __init__(self) -> None:
        """Start nothing."""
        self._worker = _TimerThread()
        watch_forks(self)

    def monotonic(self) -> float:
        """See ``Clock``."""
        return time.monotonic()

    def time(self) -> float:
        """See ``Clock``."""
        return time.time()

    def call_later(self, delay: float, fn: Callable[[], object]) -> Timer:
        """See ``Clock``.

        Raises:
            RuntimeError: the interpreter ends and the timer thread was never started.
        """
        return self._worker.call_later(delay, fn)

    async def sleep(self, delay: float) -> None:
        """See ``Clock``."""
        await asyncio.sleep(delay)

    def start(self) -> None:
        """Start the timer thread, if it does not run: at interpreter exit it may be too late.

        Raises:
            RuntimeError: the interpreter ends and refuses new threads.
        """
        self._worker.start()

    def close(self) -> None:
        """Forget all timers and end the thread, waiting for a timer that is firing. A later timer starts another."""
        worker, self._worker = self._worker, _TimerThread()
        worker.close()

    def reset_after_fork(self) -> None:
        """Leave timers and thread to the parent. The child process only, while it has one thread."""
        self._worker = _TimerThread()


class _TimerThread:
    def __init__(self) -> None:
        self._timers = TimerQueue()
        self._parker = LockParker()
        self._wake_at = -inf
        self._closed = False
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None

    def call_later(self, delay: float, fn: Callable[[], object]) -> Timer:
        self.start()
        due = time.monotonic() + max(delay, 0.0)
        timer = self._timers.add(due, fn)
        if due < self._wake_at or self._timers.added() > _BACKLOG:
            self._parker.unpark()
        return timer

    def start(self) -> None:
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="tinkex-clock", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:
                self._thread = None
                raise

    def close(self) -> None:
        self._closed = True
        self._parker.unpark()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._wake_at = -inf
            self._fire_due()
            due = self._timers.next_due()
            self._wake_at = inf if due is None else due
            if not self._timers.added():  # else one came before anybody could see when this thread wakes
                self._parker.park(None if due is None or due == inf else due - time.monotonic())

    def _fire_due(self) -> None:
        while not self._closed and (timer := self._timers.pop_due(time.monotonic())) is not None:
            try:
                timer[1]()
            except BaseException as error:  # noqa: BLE001 - one bad timer must not take the others along
                report(error)


class VirtualClock:
    """Time that stands still until ``advance`` moves it. For tests; public in ``tinkex.actors.testing``.

    Args:
        start: what ``monotonic`` says at first, in seconds.
        epoch: what is added to it by ``time``, in seconds.

    Example:
        clock = VirtualClock()
        seen = []
        clock.call_later(2.0, lambda: seen.append(clock.monotonic()))
        clock.advance(5.0)
        assert seen == [2.0]
        assert clock.monotonic() == 5.0
    """

    def __init__(self, start: float = 0.0, *, epoch: float = 1_700_000_000.0) -> None:
        """Stand still at ``start``."""
        self._now = start
        self._epoch = epoch
        self._timers = TimerQueue()
        self._owner = threading.RLock()
        self._watchers: list[LockParker] = []

    def monotonic(self) -> float:
        """See ``Clock``."""
        return self._now

    def time(self) -> float:
        """See ``Clock``."""
        return self._epoch + self._now

    def call_later(self, delay: float, fn: Callable[[], object]) -> Timer:
        """See ``Clock``; ``fn`` is called by the thread that advances the clock."""
        timer = self._timers.add(self._now + max(delay, 0.0), fn)
        for watcher in tuple(self._watchers):
            watcher.unpark()
        return timer

    async def sleep(self, delay: float) -> None:
        """See ``Clock``; ends when another thread, or the scheduler, advances far enough."""
        if delay <= 0.0:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        slept: asyncio.Future[None] = loop.create_future()
        timer = self.call_later(delay, lambda: _wake(loop, slept))
        try:
            await slept
        finally:
            timer.cancel()

    def advance(self, seconds: float) -> None:
        """Move time on by ``seconds`` and call, in this thread and in order, every timer that comes due.

        Each is called at its own time; timers that a call adds are called too where they fall due. An exception of a
        timer is raised here; what is left can be called by a further ``advance``.
        """
        if not 0.0 <= seconds < inf:
            raise ValueError("time moves on by a finite number of seconds, never back")
        with self._owner:
            until = self._now + seconds
            while (timer := self._timers.pop_due(until)) is not None:
                due, fn = timer
                self._now = max(self._now, due)
                fn()
            self._now = max(self._now, until)

    def pending(self) -> int:
        """How many timers wait."""
        with self._owner:
            return self._timers.waiting()

    def next_due(self) -> float | None:
        """When the next timer is due, in seconds of ``monotonic``; None without one."""
        with self._owner:
            return self._timers.next_due()

    def wait_pending(self, count: int = 1, timeout: float = _REAL_SECONDS) -> None:
        """Block until at least ``count`` timers wait: until another thread has gone to sleep, say.

        Raises:
            TimeoutError: they did not within ``timeout`` real seconds.
        """
        give_up = time.monotonic() + timeout
        watcher = LockParker()
        self._watchers.append(watcher)
        try:
            while self.pending() < count:
                if not watcher.park(give_up - time.monotonic()):
                    raise TimeoutError(f"{self.pending()} timers wait after {timeout} seconds, not {count}")
        finally:
            self._watchers.remove(watcher)


def _wake(loop: asyncio.AbstractEventLoop, slept: "asyncio.Future[None]") -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody sleeps
        loop.call_soon_threadsafe(_end_sleep, slept)


def _end_sleep(slept: "asyncio.Future[None]") -> None:
    if not slept.done():
        slept.set_result(None)
