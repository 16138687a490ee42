"""Joining threads of a seeded world, and how the world ends."""

import asyncio
import contextlib
import gc
import signal
import threading
from collections.abc import Generator
from typing import Any

import pytest

from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._runtime._turns import WorldEnded
from tinkex.actors.testing import SeededScheduler

SOON = 30.0


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Generator[None]:
    before = set(threading.enumerate())
    yield
    assert {thread.name for thread in threading.enumerate() if thread not in before} <= {"tinkex-clock"}


def test_join_waits_in_the_worlds_time() -> None:
    with SeededScheduler(1) as world:
        thread = world.start_thread("Sleeper", lambda: world.new_parker().park(5.0))
        assert not world.join(thread, 1.0)
        assert world.clock.monotonic() == 1.0
        assert world.join(thread)
        assert world.clock.monotonic() == 5.0
        assert not thread.is_alive()
        assert world.join(thread, 1.0)


def test_the_end_of_a_world_ends_whoever_still_waits() -> None:
    unwound: list[str] = []
    outcomes: list[Outcome[None]] = []

    def wait() -> None:
        parker = world.new_parker()
        try:
            parker.park()
        finally:
            unwound.append("waiter")
            with contextlib.suppress(WorldEnded):
                parker.park()
            world.step("unwinds")

    with SeededScheduler(1, patience=0.2) as world:
        world.start_thread("Waiter", wait)
        world.run_until_idle()
        world.io.submit(world.clock.sleep(5.0), outcomes.append)
        unbegun = world.start_thread("Unbegun", lambda: unwound.append("never"))
    assert unwound == ["waiter"]
    assert [line.partition(" ")[2] for line in world.trace[-4:]] == [
        "Waiter#1: unwinds",
        "io#1: runs",
        "io#1: ends",
        "main: runs",
    ]
    assert outcomes == [Outcome(cancelled=True)]
    assert not unbegun.is_alive()
    with pytest.raises(RuntimeError, match="ended"):
        world.new_parker().park()
    with pytest.raises(RuntimeError, match="ended"):
        world.start_thread("Late", bool)
    with pytest.raises(RuntimeError, match="once"), world:
        pass


def test_a_thread_that_does_not_end_with_its_world_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinkex.actors._runtime._scheduler._UNWIND_SECONDS", 0.01)
    outside = threading.Event()

    def linger() -> None:
        try:
            world.new_parker().park()
        finally:
            outside.wait(SOON)

    world = SeededScheduler(1)
    with contextlib.ExitStack() as scope:
        scope.enter_context(world)
        thread = world.start_thread("Lingerer", linger)
        world.run_until_idle()
        end = scope.pop_all().close
    with pytest.raises(RuntimeError, match="threads of it run on: Lingerer#1"):
        end()
    outside.set()
    thread.join()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals")
def test_a_ctrl_c_while_others_run_ends_the_world() -> None:
    interrupted: list[Outcome[Any]] = []

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    def work() -> None:
        Runtime.current().io.submit(never(), interrupted.append)
        Runtime.current().step("has begun")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # which waits
        while True:
            Runtime.current().step("goes on")

    def run() -> None:
        with SeededScheduler(1) as world:
            world.start_thread("Worker", work)
            world.run_until_idle()

    with pytest.raises(KeyboardInterrupt):
        run()
    assert interrupted == [Outcome(cancelled=True)]


def test_a_coroutine_that_never_got_its_turn_is_told_when_the_world_is_given_up() -> None:
    outside = threading.Event()
    outcomes: list[Outcome[None]] = []

    def block() -> None:
        world.io.submit(world.clock.sleep(5.0), outcomes.append)
        outside.wait(SOON)

    with SeededScheduler(1, patience=0.01) as world:
        world.start_thread("Blocked", block)
        with pytest.raises(RuntimeError, match="has kept its turn"):
            world.run_until_idle()
        outside.set()
    assert outcomes == [Outcome(cancelled=True)]


def test_async_code_that_still_waits_at_the_end_of_its_world_is_cancelled() -> None:
    ended: list[str] = []

    async def main() -> None:
        try:
            await asyncio.sleep(5.0)
        finally:
            await asyncio.sleep(0)
            ended.append("main")

    with SeededScheduler(1) as world:
        world.start_thread("Main", lambda: world.run(main()))
        world.run_until_idle()
    assert ended == ["main"]


def test_async_code_that_never_ends_does_not_outlive_its_world() -> None:
    kept: list[asyncio.Task[None] | None] = []

    async def main() -> None:
        kept.append(asyncio.current_task())
        delay = 5.0
        while True:
            try:
                await asyncio.sleep(delay)
            except asyncio.CancelledError:
                delay = 0.0

    with SeededScheduler(1) as world:
        thread = world.start_thread("Main", lambda: world.run(main()))
        world.run_until_idle()
    assert not thread.is_alive()
    kept[0]._log_destroy_pending = False  # type: ignore[union-attr] # it is what this is about


def test_async_code_may_cancel_itself() -> None:
    async def main() -> None:
        raise asyncio.CancelledError

    with SeededScheduler(1) as world, pytest.raises(asyncio.CancelledError):
        world.run(main())


def test_garbage_is_not_collected_at_unforeseeable_moments() -> None:
    assert gc.isenabled()
    with SeededScheduler(1):
        assert not gc.isenabled()
        with SeededScheduler(2):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
