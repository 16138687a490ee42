"""The end of the io thread: whoever is open is told, and nobody waits for ever."""

# pyright: reportPrivateUsage=false

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support_io import SOON, Done, forever, value
from tinkex.actors._runtime._io import IoThread
from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._runtime._threads import OsThreads
from tinkex.protocol import TinkexError


@pytest.fixture
def io() -> Generator[IoThread]:
    thread = IoThread()
    yield thread
    assert thread.close()


def test_close_cancels_what_is_open_and_ends_the_thread() -> None:
    io = IoThread()
    begun, done = threading.Event(), Done()
    io.submit(forever(begun), done)
    assert begun.wait(SOON)
    assert io.open_tasks() == 1
    ident = io.loop_thread_ident
    assert io.close()
    assert done.wait() == Outcome(cancelled=True)
    assert done.threads == [ident]
    assert ident not in {thread.ident for thread in threading.enumerate()}
    assert io.loop_thread_ident is None
    assert io.close()


def test_closing_what_was_never_used_is_nothing() -> None:
    assert IoThread().close()


def test_after_close_a_coroutine_is_cancelled_by_its_submitter_and_warns_of_nothing() -> None:
    io = IoThread()
    io.close()
    done = Done()
    task = io.submit(value(1), done)
    assert done.outcomes == [Outcome(cancelled=True)]
    assert done.threads == [threading.get_ident()]
    assert io.open_tasks() == 0
    task.cancel()


def test_what_was_prepared_ends_with_all_others_though_it_never_began() -> None:
    io = IoThread()
    prepared, cancelled, late = Done(), Done(), Done()
    io.prepare(value(1), prepared)
    given_up = io.prepare(value(2), cancelled)
    given_up.cancel()
    given_up.begin()
    assert io.close()
    beyond = io.prepare(value(3), late)
    assert io.open_tasks() == 1
    beyond.cancel()
    beyond.begin()
    assert io.open_tasks() == 0
    assert [done.outcomes for done in (prepared, cancelled, late)] == [[Outcome(cancelled=True)]] * 3


def test_what_was_prepared_on_a_loop_that_was_closed_unasked_can_be_cancelled() -> None:
    io = IoThread()
    first, second = Done(), Done()
    io.submit(value(1), first)
    first.wait()
    prepared = io.prepare(value(2), second)
    assert io._loop is not None
    io._loop.call_soon_threadsafe(io._loop.stop)
    assert io._thread is not None
    io._thread.join()
    prepared.cancel()
    assert second.outcomes == [Outcome(cancelled=True)]
    assert io.open_tasks() == 0


def test_a_loop_that_was_closed_unasked_refuses_coroutines() -> None:
    io = IoThread()
    first, second = Done(), Done()
    io.submit(value(1), first)
    first.wait()
    assert io._loop is not None
    io._loop.call_soon_threadsafe(io._loop.stop)
    assert io._thread is not None
    io._thread.join()
    io.submit(value(2), second)
    assert second.outcomes == [Outcome(cancelled=True)]
    assert io.open_tasks() == 0
    assert io.close()


def test_a_task_of_a_closed_loop_may_be_cancelled_in_vain() -> None:
    """The cancel that finds the task open and its loop closed a moment later."""
    io = IoThread()
    done = Done()
    task = io.submit(value(1), done)
    done.wait()
    io.close()
    task._done.append(done)
    task.cancel()
    assert len(done.outcomes) == 1


def test_what_coroutines_left_running_is_cancelled_at_the_close() -> None:
    io = IoThread()
    ended: list[str] = []

    async def left_behind() -> None:
        try:
            await forever()
        finally:
            ended.append("task")

    async def numbers() -> AsyncGenerator[int]:
        try:
            yield 1
        finally:
            ended.append("generator")

    kept: list[Any] = []

    async def leave() -> None:
        kept.append(asyncio.create_task(left_behind()))
        kept.append(numbers())
        await anext(kept[1])

    done = Done()
    io.submit(leave(), done)
    done.wait()
    io.close()
    assert ended == ["task", "generator"]


def test_a_coroutine_that_refuses_to_end_is_told_cancelled_at_the_deadline() -> None:
    io = IoThread()
    begun, done = threading.Event(), Done()
    kept: list[asyncio.Task[Any] | None] = []

    async def stubborn() -> None:
        kept.append(asyncio.current_task())
        while True:
            try:
                await forever(begun)
            except asyncio.CancelledError:
                kept.append(None)

    coro = stubborn()
    io.submit(coro, done)
    assert begun.wait(SOON)
    assert io.close(0.02)
    assert done.wait() == Outcome(cancelled=True)
    task = kept[0]
    assert task is not None
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coro.close()


def test_a_blocked_loop_keeps_close_no_longer_than_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever: the closing thread tells what the io thread cannot."""
    monkeypatch.setattr("tinkex.actors._runtime._io._GRACE_SECONDS", 0.01)
    io = IoThread()
    begun, release, done, behind = threading.Event(), threading.Event(), Done(), Done()

    async def block() -> None:
        begun.set()
        release.wait(SOON)

    io.submit(block(), done)
    assert begun.wait(SOON)
    io.submit(value(1), behind)
    assert not io.close(0.01)
    assert done.wait() == behind.wait() == Outcome(cancelled=True)
    assert done.threads == [threading.get_ident()]
    release.set()
    assert io.close()
    assert len(done.outcomes) == len(behind.outcomes) == 1


def test_two_threads_may_close_at_once() -> None:
    io = IoThread()
    begun, done = threading.Event(), Done()
    io.submit(forever(begun), done)
    assert begun.wait(SOON)
    with ThreadPoolExecutor(2) as pool:
        closing = [pool.submit(io.close) for _ in range(2)]
        assert [ended.result() for ended in closing] == [True, True]
    assert done.wait() == Outcome(cancelled=True)


def test_the_io_thread_cannot_close_itself(io: IoThread) -> None:
    async def close() -> None:
        io.close()

    done = Done()
    io.submit(close(), done)
    assert isinstance(done.wait().error, RuntimeError)


def test_no_submit_is_lost_in_a_race_with_close() -> None:
    for _ in range(30):
        io = IoThread()
        io.submit(value(0), Done())
        dones = [Done() for _ in range(50)]

        def submit(io: IoThread = io, dones: list[Done] = dones) -> None:
            for done in dones:
                io.submit(value(1), done)

        thread = threading.Thread(target=submit)
        thread.start()
        io.close()
        thread.join()
        for done in dones:
            done.wait()


def test_drain_waits_until_no_task_is_open(io: IoThread) -> None:
    begun, done = threading.Event(), Done()
    task = io.submit(forever(begun), done)
    assert begun.wait(SOON)
    assert not io.drain(0.01)
    drained: list[bool] = []
    thread = threading.Thread(target=lambda: drained.append(io.drain()))
    thread.start()
    task.cancel()
    thread.join(SOON)
    assert drained == [True]


class Refusing(OsThreads):
    """As at interpreter exit: no new threads. A finalizer may submit in that very moment."""

    def __init__(self) -> None:
        self.meanwhile: list[Callable[[], object]] = []

    def start_thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        for call in self.meanwhile:
            call()
        raise RuntimeError(f"can't create new thread {name} for {target} at interpreter shutdown")


def test_where_no_thread_can_start_coroutines_end_at_once_and_say_why() -> None:
    threads = Refusing()
    io = IoThread(threads)
    done, nested = Done(), Done()
    threads.meanwhile.append(lambda: io.submit(value(2), nested))
    io.submit(value(1), done)
    assert nested.outcomes == [Outcome(cancelled=True)]
    (outcome,) = done.outcomes
    assert isinstance(outcome.error, TinkexError)
    assert (outcome.error.kind, outcome.error.data["outcome"]) == ("api_connection", "not_sent")
    cancelled = Done()
    io.prepare(value(3), cancelled).cancel()
    assert cancelled.outcomes == [Outcome(cancelled=True)], "by whoever has it"
    assert io.open_tasks() == 0
    assert io.close()
    closed = Done()
    io.submit(value(4), closed)
    assert closed.outcomes == [Outcome(cancelled=True)]
