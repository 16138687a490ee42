"""Real time."""

# pyright: reportPrivateUsage=false

import gc
import os
import threading
import time
from typing import Any

import pytest

from tinkex.actors._runtime import _clock
from tinkex.actors._runtime._clock import Clock, SystemClock
from tinkex.actors._runtime._timers import TimerQueue

NEVER = 3_600.0
SOON = 30.0


@pytest.fixture
def system() -> Any:
    clock = SystemClock()
    yield clock
    clock.close()


def clock_threads() -> int:
    return sum(thread.name == "tinkex-clock" for thread in threading.enumerate())


# Real time


def test_system_timers_fire_by_due_time_whatever_the_order_they_were_set_in(system: SystemClock) -> None:
    fired: list[str] = []
    over = threading.Event()
    system.call_later(0.06, over.set)
    system.call_later(0.04, lambda: fired.append("late"))
    system.call_later(0.02, lambda: fired.append("early"))
    system.call_later(-1.0, lambda: fired.append("at once"))
    assert over.wait(SOON)
    assert fired == ["at once", "early", "late"]


def test_an_earlier_timer_wakes_the_thread_that_waits_for_a_later_one(system: SystemClock) -> None:
    over = threading.Event()
    system.call_later(NEVER, over.set)
    begun = system.monotonic()
    system.call_later(0.01, over.set)
    assert over.wait(SOON)
    assert 0.01 <= system.monotonic() - begun < NEVER


def test_a_timer_in_all_eternity_keeps_nobody_from_firing(system: SystemClock) -> None:
    over = threading.Event()
    system.call_later(float("inf"), over.set)
    assert not over.is_set()
    system.call_later(0.0, over.set)
    assert over.wait(SOON)


def test_cancel_is_true_only_for_a_timer_that_will_not_fire(system: SystemClock) -> None:
    """Timers fire while another thread cancels them: each does exactly one of the two."""
    count = 5_000
    fired: list[int] = []
    timers = [system.call_later(0.0, lambda number=number: fired.append(number)) for number in range(count)]  # type: ignore[misc]
    cancelled = sum(timer.cancel() for timer in reversed(timers))
    over = threading.Event()
    system.call_later(0.0, over.set)
    assert over.wait(SOON)
    assert len(fired) + cancelled == count
    assert not any(timer.cancel() for timer in timers)


def test_a_bug_in_a_timer_is_told_and_does_not_end_the_others(
    system: SystemClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    over = threading.Event()

    def bug() -> None:
        raise SystemExit("bug")

    system.call_later(0.0, bug)
    system.call_later(0.0, over.set)
    assert over.wait(SOON)
    assert [hook.exc_type for hook in told] == [SystemExit]
    assert told[0].thread.name == "tinkex-clock"


def test_one_thread_serves_all_timers_and_none_is_started_before_the_first(system: SystemClock) -> None:
    before = clock_threads()
    assert system.monotonic() <= time.monotonic()
    assert abs(system.time() - time.time()) < SOON
    assert clock_threads() == before
    for _ in range(100):
        system.call_later(NEVER, bool)
    system.start()
    assert clock_threads() == before + 1


def test_many_far_timers_are_looked_at_before_they_are_due(system: SystemClock) -> None:
    """The thread sleeps until the first is due, yet those behind it must not pile up unsorted."""
    system.call_later(NEVER, bool)
    for _ in range(_clock._BACKLOG * 3):
        system.call_later(2 * NEVER, bool)
    over = threading.Event()
    system.call_later(0.0, over.set)
    assert over.wait(SOON)
    assert system._worker._timers.added() <= _clock._BACKLOG


def test_a_timer_that_comes_while_the_thread_is_about_to_wait_is_not_overslept(system: SystemClock) -> None:
    over = threading.Event()

    class Raced(TimerQueue):
        def next_due(self) -> float | None:
            due = super().next_due()
            if due is None and not over.is_set():
                self.add(0.0, over.set)  # by another thread, which believes the timer thread awake
            return due

    system._worker._timers = Raced()
    system.start()
    assert over.wait(SOON)


def test_close_forgets_timers_ends_the_thread_and_a_later_timer_starts_another() -> None:
    before = clock_threads()
    clock = SystemClock()
    fired: list[str] = []
    clock.call_later(0.05, lambda: fired.append("forgotten"))
    clock.close()
    assert clock_threads() == before
    over = threading.Event()
    clock.call_later(0.1, over.set)
    assert over.wait(SOON)
    assert fired == []
    clock.close()
    assert clock_threads() == before


def test_a_timer_may_close_its_clock() -> None:
    clock = SystemClock()
    set_up, over = threading.Event(), threading.Event()
    seen: list[threading.Thread] = []

    def end() -> None:
        assert set_up.wait(SOON)
        clock.close()
        seen.append(threading.current_thread())
        over.set()

    clock.call_later(0.0, end)
    clock.call_later(0.0, seen.clear)
    set_up.set()
    assert over.wait(SOON)
    seen[0].join(SOON)
    assert not seen[0].is_alive()


def test_closing_an_unused_clock_is_nothing() -> None:
    SystemClock().close()


def test_a_refused_thread_is_told_and_tried_again(system: SystemClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at interpreter exit: no new threads."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    over, forgotten = threading.Event(), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="shutdown"):
            system.call_later(0.0, forgotten.set)
    system.call_later(0.0, over.set)
    assert over.wait(SOON)
    assert not forgotten.is_set()


def test_two_threads_that_need_the_timer_thread_at_once_start_one(system: SystemClock) -> None:
    before = clock_threads()
    lock = system._worker._starting
    both = threading.Barrier(3)

    class Crowded:
        def __enter__(self) -> None:
            both.wait(SOON)
            lock.acquire()

        def __exit__(self, *error: object) -> None:
            lock.release()

    system._worker._starting = Crowded()  # type: ignore[assignment]
    threads = [threading.Thread(target=system.start) for _ in range(2)]
    for thread in threads:
        thread.start()
    both.wait(SOON)
    for thread in threads:
        thread.join()
    assert clock_threads() == before + 1


def test_a_timer_may_be_set_and_cancelled_inside_a_finalizer_at_any_moment(system: SystemClock) -> None:
    """Garbage collection runs finalizers between any two steps, inside the clock's own code too."""
    done: list[bool] = []

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            done.append(system.call_later(NEVER, bool).cancel())

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(200):
            Cycle()
            system.call_later(0.0, bool)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    assert done == [True] * 200


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_the_child_has_timers_of_its_own(system: SystemClock) -> None:
    fired = threading.Event()
    system.call_later(NEVER, fired.set)
    system._worker._starting.acquire()  # as if another thread were just starting something
    child = os.fork()
    if child == 0:
        code = 1
        try:
            own = threading.Event()
            system.call_later(0.0, own.set)
            code = 0 if own.wait(SOON) and not fired.is_set() else 2
        finally:
            os._exit(code)
    system._worker._starting.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_system_sleep_suspends_the_task_only() -> None:
    clock: Clock = SystemClock()
    begun = clock.monotonic()
    await clock.sleep(0.02)
    assert clock.monotonic() - begun >= 0.019
