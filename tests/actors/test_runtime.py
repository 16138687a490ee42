"""Which runtime is current, and what ``runtime`` puts in its place."""

import asyncio
import subprocess
import sys
import threading

import httpx
import pytest

from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors.testing import SeededScheduler, VirtualClock, runtime

SOON = 30.0


def test_the_current_runtime_is_the_innermost_and_the_processs_otherwise() -> None:
    outer = Runtime.current()
    assert outer is Runtime.current()
    with runtime(clock=VirtualClock()) as made:
        assert Runtime.current() is made
        seen: list[Runtime] = []
        thread = made.start_thread("child", lambda: seen.append(Runtime.current()))
        assert made.join(thread)
        assert seen == [made]
        with Runtime().use() as inner:
            assert Runtime.current() is inner
        assert Runtime.current() is made
    assert Runtime.current() is outer


def test_a_runtimes_threads_end_with_it() -> None:
    outcomes: list[Outcome[None]] = []
    begun = threading.Event()

    async def never() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    before = threading.active_count()
    with runtime() as made:
        assert made.scheduler is None
        assert made.new_random().random() != made.new_random().random()
        made.step("is not noted")
        made.trace("is not noted")
        made.io.submit(never(), outcomes.append)
        made.clock.call_later(3_600.0, bool)
        assert begun.wait(SOON)
        parker = made.new_parker()
        parker.unpark()
        assert parker.park()
    assert outcomes == [Outcome(cancelled=True)]
    assert threading.active_count() == before


def test_whoever_has_threads_has_timers_at_its_exit() -> None:
    """An ending interpreter starts no threads: the timers of the last deadlines must run by then."""

    def clock_threads() -> int:
        return sum(thread.name == "tinkex-clock" for thread in threading.enumerate())

    with runtime() as made:
        before = clock_threads()
        assert made.join(made.start_thread("Actor", bool))
        assert clock_threads() == before + 1


def test_a_runtime_under_a_scheduler_is_the_schedulers() -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(200))
    scheduler = SeededScheduler(3)
    with runtime(scheduler=scheduler, http_transport=transport) as made:
        assert Runtime.current() is made
        assert made.scheduler is scheduler
        assert made.clock is scheduler.clock
        assert made.io is scheduler.io
        assert made.http_transport is transport
        parker = made.new_parker()
        made.clock.call_later(3_600.0, parker.unpark)
        assert parker.park()


def test_a_scheduler_brings_its_own_clock() -> None:
    with pytest.raises(ValueError, match="its own clock"), runtime(clock=VirtualClock(), scheduler=SeededScheduler(1)):
        pass


def test_importing_the_seams_loads_no_http_library() -> None:
    code = "import sys, tinkex.actors._runtime._scheduler; print('httpx' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "False\n"
