"""The io thread: one event loop for all coroutines of a runtime."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from tinkex.actors._runtime._fork import watch_forks
from tinkex.actors._runtime._loop import IoLoop
from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._runtime._report import report
from tinkex.actors._runtime._threads import OsThreads, Threads
from tinkex.protocol import TinkexError

if TYPE_CHECKING:
    from tinkex.actors._runtime._park import Parker

T = TypeVar("T")

_GRACE_SECONDS: Final = 1.0
_CANCELLED: Final = Outcome[Any](cancelled=True)

_abandoned: list[Any] = []


class IoTask(Generic[T]):
    """A coroutine handed to the io thread; made by ``IoThread.submit``."""

    __slots__ = ("_cancelled", "_context", "_coro", "_done", "_ended", "_loop", "_stepped", "_task", "_unbegun")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None,
        coro: Coroutine[Any, Any, T],
        done: Callable[[Outcome[T]], object],
        ended: "Callable[[IoTask[Any]], None]",
        unbegun: Outcome[Any] = _CANCELLED,
    ) -> None:
        """Tell ``done`` once how ``coro`` ended, then ``ended`` that it did; without a ``loop`` it ends ``unbegun``."""
        self._loop = loop
        self._coro = coro
        self._context = contextvars.copy_context()
        self._done = [done]
        self._ended = ended
        self._unbegun = unbegun
        self._task: asyncio.Task[None] | None = None
        self._cancelled = self._stepped = False

    def begin(self) -> None:
        """Run the coroutine soon, once, in a copy of the context that this was made in. Any thread, never waits.

        Where there is no loop, or a closed one, it ends before this returns.
        """
        if self._loop is None:
            self._coro.close()
            self.end(self._unbegun)
            return
        try:
            self._loop.call_soon_threadsafe(self.begin_here, context=self._context)
        except RuntimeError:
            self.refuse()

    def begin_here(self) -> None:
        """Like ``begin``, on the loop's thread."""
        if self._done and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), context=self._context)

    def cancel(self) -> None:
        """Cancel the coroutine, once; without effect on one that has ended. Any thread, never waits."""
        if not self._done:
            return
        try:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self.cancel_here)
                return
        except RuntimeError:  # a closed loop has ended what began on it
            pass
        if self._task is None:
            self.refuse()

    def cancel_here(self) -> "asyncio.Task[None] | None":
        """Cancel on the loop's thread; return what to wait for."""
        if not self._cancelled:
            self._cancelled = True
            if self._task is None:
                self.refuse()
            else:
                if not self._stepped:
                    self._task.add_done_callback(self._end_here)
                self._task.cancel()
        return self._task

    def refuse(self) -> None:
        """End without having begun. Any thread, where nobody will begin it."""
        self._coro.close()
        self.end(Outcome(cancelled=True))

    def abandon(self) -> None:
        """End it for ``done``, whatever the coroutine does."""
        if self._task is None:
            with contextlib.suppress(ValueError):  # it begins just now, on the loop
                self._coro.close()
        self.end(Outcome(cancelled=True))

    def end(self, outcome: Outcome[T]) -> None:
        """Tell ``done`` of ``outcome``, unless it was told."""
        try:
            done = self._done.pop()
        except IndexError:
            return
        try:
            done(outcome)
        except BaseException as error:  # noqa: BLE001 - it must not end the thread of all other tasks
            report(error)
        self._ended(self)

    async def _run(self) -> None:
        self._stepped = True
        try:
            outcome = Outcome(value=await self._coro)
        except asyncio.CancelledError:
            outcome = Outcome[T](cancelled=True)
        except BaseException as error:  # noqa: BLE001 - the outcome carries it; SystemExit must not end the loop
            outcome = Outcome[T](error=error)
        self.end(outcome)  # here, as a callback of the task would take another round of the loop

    def _end_here(self, task: "asyncio.Task[None]") -> None:
        del task
        self.refuse()  # cancelled before its first step


class IoThread:
    """One daemon thread with an event loop, started by the first coroutine. All methods may be called by any thread.

    A forked child starts with no thread and no tasks; those of its parent are not its business.
    """

    _tasks: dict[IoTask[Any], None]  # in order, so that a seeded world repeats
    _watchers: "list[Parker]"
    _loop: asyncio.AbstractEventLoop | None
    _thread: threading.Thread | None
    _ident: int | None
    _ending: "asyncio.Task[None] | None"
    _unbegun: Outcome[Any]

    def __init__(self, threads: Threads | None = None) -> None:
        """Start nothing."""
        self._threads = threads if threads is not None else OsThreads()
        self._closed = False
        self._reset()
        watch_forks(self)

    @property
    def loop_thread_ident(self) -> int | None:
        """What ``threading.get_ident`` says on the loop's thread; None while there is none."""
        return self._ident

    @property
    def thread(self) -> threading.Thread | None:
        """The loop's thread; None before it was started."""
        return self._thread

    def open_tasks(self) -> int:
        """How many coroutines were submitted whose ``done`` was not told yet."""
        return len(self._tasks)

    def submit(self, coro: Coroutine[Any, Any, T], done: Callable[[Outcome[T]], object]) -> IoTask[T]:
        """Run ``coro`` on the loop, in a copy of the caller's context, and tell ``done`` how it ended.

        ``done`` is called exactly once, on the io thread; it must be quick. Where there is no such thread, ``coro``
        is closed and ``done`` told on the caller's own thread, before this returns: ``cancelled`` after ``close``, and
        a ``TinkexError`` where the thread could not be started, which the next one tries again.
        """
        task = self.prepare(coro, done)
        task.begin()
        return task

    def prepare(self, coro: Coroutine[Any, Any, T], done: Callable[[Outcome[T]], object]) -> IoTask[T]:
        """Like ``submit``, but ``coro`` waits to be begun; it counts as open, and ends with all others."""
        with self._lock:
            task = IoTask(self._open(), coro, done, self._forget, self._unbegun)
            self._tasks[task] = None
        return task

    def drain(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds until no task is open; return whether that is so."""
        give_up = None if timeout is None else self._threads.monotonic() + timeout
        parker = self._threads.new_parker()
        self._watchers.append(parker)
        try:
            while self._tasks:
                if not parker.park(None if give_up is None else give_up - self._threads.monotonic()):
                    return not self._tasks
        finally:
            self._watchers.remove(parker)
        return True

    def close(self, timeout: float = 5.0) -> bool:
        """Cancel all tasks, wait up to ``timeout`` seconds for them, and end the thread; return whether it has ended.

        The ``done`` of a task that does not end in time is told all the same. Nothing can be submitted afterwards.

        Raises:
            RuntimeError: called on the io thread itself.
        """
        if self.loop_thread_ident == threading.get_ident():
            raise RuntimeError("the io thread cannot wait for its own end; close it from another thread")
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return True
        with contextlib.suppress(RuntimeError):  # closed before
            loop.call_soon_threadsafe(self._begin_end, timeout)
        ended = self._threads.join(thread, timeout + 2 * _GRACE_SECONDS)
        for task in tuple(self._tasks):
            task.abandon()
        if ended:
            loop.close()  # which the thread did, if it came to run
        return ended

    def reset_after_fork(self) -> None:
        """Leave the parent's loop and tasks alone. The child process only, while it has one thread."""
        _abandoned.append((self._loop, self._tasks))  # to free them would touch what the parent still uses
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._tasks = {}
        self._watchers = []
        self._loop = self._thread = self._ident = self._ending = None
        self._unbegun = _CANCELLED

    def _open(self) -> asyncio.AbstractEventLoop | None:
        self._unbegun = _CANCELLED
        if self._loop is None and not self._closed:
            self._loop = loop = self._threads.new_loop()
            try:
                self._thread = self._threads.start_thread("io", partial(self._serve, loop))
            except RuntimeError as error:
                self._loop = None
                loop.close()
                self._unbegun = _no_thread(error)
                for task in tuple(self._tasks):  # of a finalizer that ran meanwhile
                    task.refuse()
        return None if self._closed else self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ident = threading.get_ident()
        try:
            while not _ran_to_its_stop(loop):
                pass
        finally:
            self._ident = None  # the next thread may get the same
            loop.close()

    def _forget(self, task: IoTask[Any]) -> None:
        self._tasks.pop(task, None)
        if not self._tasks:
            for parker in tuple(self._watchers):
                parker.unpark()

    def _begin_end(self, seconds: float) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(seconds))

    async def _end(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        ours = [ending for task in tuple(self._tasks) if (ending := task.cancel_here()) is not None]
        if ours:
            await asyncio.wait(ours, timeout=seconds)
        others = asyncio.all_tasks() - {self._ending, *ours}
        for other in others:
            other.cancel()
        if others:
            await asyncio.wait(others, timeout=_GRACE_SECONDS)
        for task in tuple(self._tasks):
            task.end(Outcome(cancelled=True))
        if isinstance(loop, IoLoop):
            loop.abort_connections()
        await loop.shutdown_asyncgens()
        loop.call_soon(loop.stop)  # behind what closes them


def _no_thread(cause: RuntimeError) -> Outcome[Any]:
    error = TinkexError(
        f"nothing was sent, because its thread did not start ({cause}): have fewer threads or allow more, and repeat",
        kind="api_connection",
        category="unknown",
        data={"outcome": "not_sent"},
    )
    error.__cause__ = cause
    return Outcome(error=error)


def _ran_to_its_stop(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        loop.run_forever()
    except (KeyboardInterrupt, SystemExit) as error:  # of a task that a coroutine made: asyncio lets it end the loop
        report(error)
        return False
    return True
