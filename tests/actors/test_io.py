"""The io thread: coroutines that end exactly once, whatever happens to them."""

# pyright: reportPrivateUsage=false

import asyncio
import contextvars
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support_io import SOON, Done, forever, value
from tinkex.actors._runtime._io import IoThread
from tinkex.actors._runtime._outcome import Outcome
from tinkex.protocol import Err, Ok, TinkexError


@pytest.fixture
def io() -> Generator[IoThread]:
    thread = IoThread()
    yield thread
    assert thread.close()


# Outcomes


def test_a_value_is_told_once_on_the_io_thread(io: IoThread) -> None:
    done = Done()
    assert io.loop_thread_ident is None
    io.submit(value(7), done)
    assert done.wait() == Outcome(value=7)
    assert done.threads == [io.loop_thread_ident]
    assert threading.get_ident() != io.loop_thread_ident
    assert io.drain(SOON)
    assert io.open_tasks() == 0


@pytest.mark.parametrize("error", [ValueError("bug"), SystemExit(3), KeyboardInterrupt()])
def test_any_exception_is_an_outcome_and_the_loop_lives_on(io: IoThread, error: BaseException) -> None:
    async def fail() -> None:
        raise error

    done, after = Done(), Done()
    io.submit(fail(), done)
    io.submit(value(1), after)
    assert done.wait().error is error
    assert after.wait() == Outcome(value=1)


def test_what_an_outcome_says_as_a_result() -> None:
    failure = TinkexError("no", kind="conflict", category="user")
    assert Outcome(value=1).result() == Ok(1)
    assert Outcome[int](error=failure).result() == Err(failure)
    cancelled = Outcome[int](cancelled=True).result()
    assert isinstance(cancelled, Err)
    assert cancelled.error.kind == "cancelled"


def test_an_outcome_never_turns_a_bug_into_a_value() -> None:
    with pytest.raises(ZeroDivisionError):
        Outcome[int](error=ZeroDivisionError()).result()
    with pytest.raises(TinkexError):
        Outcome[int](error=TinkexError("no", kind="conflict", category="user")).unwrap()
    with pytest.raises(asyncio.CancelledError):
        Outcome[int](cancelled=True).unwrap()
    assert Outcome(value=None).unwrap() is None


def test_a_bug_in_done_is_told_and_the_loop_lives_on(io: IoThread, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def bug(_outcome: Outcome[int]) -> None:
        raise SystemExit("bug")

    after = Done()
    io.submit(value(1), bug)
    io.submit(value(2), after)
    assert after.wait() == Outcome(value=2)
    assert [hook.exc_type for hook in told] == [SystemExit]
    assert io.drain(SOON)


def test_a_system_exit_of_a_task_that_a_coroutine_made_does_not_end_the_loop(
    io: IoThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio ends a loop by it; here it would end everybody's requests."""
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    async def leave() -> None:
        raise SystemExit(3)

    async def spawn() -> str:
        task = asyncio.ensure_future(leave())
        await asyncio.wait([task])
        return type(task.exception()).__name__

    done = Done()
    io.submit(spawn(), done)
    assert done.wait() == Outcome(value="SystemExit")
    assert [hook.exc_type for hook in told] == [SystemExit]


def test_coroutines_run_in_a_copy_of_the_submitters_context(io: IoThread) -> None:
    place: contextvars.ContextVar[str] = contextvars.ContextVar("place")

    async def look() -> str:
        seen = place.get()
        place.set("changed")
        return seen

    place.set("here")
    done = Done()
    io.submit(look(), done)
    assert done.wait() == Outcome(value="here")
    assert place.get() == "here"


def test_coroutines_run_side_by_side(io: IoThread) -> None:
    async def meet(mine: str, other: str) -> None:
        here[mine].set()
        await here[other].wait()

    here = {"a": asyncio.Event(), "b": asyncio.Event()}
    first, second = Done(), Done()
    io.submit(meet("a", "b"), first)
    io.submit(meet("b", "a"), second)
    assert first.wait() == second.wait() == Outcome()


# Cancelling


def test_cancel_ends_a_running_coroutine_and_may_be_repeated(io: IoThread) -> None:
    begun, done = threading.Event(), Done()
    task = io.submit(forever(begun), done)
    assert begun.wait(SOON)
    task.cancel()
    task.cancel()
    assert done.wait() == Outcome(cancelled=True)
    task.cancel()
    assert io.drain(SOON)
    assert len(done.outcomes) == 1


def test_a_coroutine_cancelled_before_it_began_never_runs(io: IoThread) -> None:
    """Neither where the loop has not looked at it, nor where its task has not made its first step."""
    blocked, release = threading.Event(), threading.Event()
    ran: list[str] = []

    async def block() -> None:
        blocked.set()
        assert release.wait(SOON)

    async def run(name: str) -> None:
        ran.append(name)

    async def start_and_cancel() -> None:
        task = io.submit(run("unstepped"), unstepped)
        loop = asyncio.get_running_loop()
        loop.call_soon(task.cancel_here)  # behind the making of its task, before its first step

    unlooked, unstepped, blocker = Done(), Done(), Done()
    io.submit(block(), blocker)
    assert blocked.wait(SOON)
    task = io.submit(run("unlooked"), unlooked)
    loop = task._loop
    assert loop is not None
    loop.call_soon_threadsafe(task.cancel_here)
    io.submit(start_and_cancel(), Done())
    release.set()
    assert unlooked.wait() == unstepped.wait() == Outcome(cancelled=True)
    assert ran == []


def test_a_coroutine_cancelled_ahead_of_its_begin_is_never_begun(io: IoThread) -> None:
    done = Done()

    async def submit_and_cancel() -> Any:
        task = io.submit(forever(), done)
        task.cancel_here()  # before the loop comes to begin it
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task._task

    submitted = Done()
    io.submit(submit_and_cancel(), submitted)
    assert done.wait() == Outcome(cancelled=True)
    assert submitted.wait() == Outcome(value=None)


def test_a_coroutine_may_clean_up_undisturbed_by_a_second_cancel(io: IoThread) -> None:
    begun, cleaning, clean = threading.Event(), threading.Event(), asyncio.Event()

    async def careful() -> str:
        try:
            await forever(begun)
        except asyncio.CancelledError:
            cleaning.set()
            await clean.wait()
        return "clean"

    async def let_it() -> None:
        clean.set()

    done = Done()
    task = io.submit(careful(), done)
    assert begun.wait(SOON)
    task.cancel()
    assert cleaning.wait(SOON)
    task.cancel()
    io.submit(let_it(), Done())
    assert done.wait() == Outcome(value="clean")


def test_cancelling_from_many_threads_while_coroutines_end_tells_each_once(io: IoThread) -> None:
    count = 300
    dones = [Done() for _ in range(count)]
    tasks = [io.submit(asyncio.sleep(0, number), done) for number, done in enumerate(dones)]
    with ThreadPoolExecutor(4) as pool:
        for task in tasks * 2:
            pool.submit(task.cancel)
    assert io.drain(SOON)
    for number, done in enumerate(dones):
        assert done.wait() in (Outcome(value=number), Outcome(cancelled=True))
