"""Virtual time, and the timer queue that both clocks share."""

# pyright: reportPrivateUsage=false

import asyncio
import threading
from math import nan

import pytest

from tinkex.actors._runtime._clock import VirtualClock
from tinkex.actors._runtime._timers import TimerQueue

NEVER = 3_600.0
SOON = 30.0


# The queue


def test_cancelled_timers_leave_the_queue_before_they_are_due() -> None:
    """A deadline per request, cancelled with the answer, must not pile up until it would have been due."""
    queue = TimerQueue()
    first = queue.add(0.0, bool)
    for number in range(10_000):
        queue.add(NEVER + number, bool).cancel()
        queue.next_due()
    assert len(queue._heap) < 100
    assert first.cancel()
    assert queue.next_due() is None


def test_equal_due_times_fire_in_the_order_they_were_set_in() -> None:
    clock = VirtualClock()
    fired: list[int] = []
    for number in range(10):
        clock.call_later(1.0, lambda number=number: fired.append(number))  # type: ignore[misc]
    clock.advance(1.0)
    assert fired == list(range(10))


def test_a_delay_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="number"):
        VirtualClock().call_later(nan, bool)


# Virtual time


def test_virtual_time_stands_still_until_it_is_advanced() -> None:
    clock = VirtualClock(5.0, epoch=1_000.0)
    assert (clock.monotonic(), clock.time()) == (5.0, 1_005.0)
    clock.advance(2.5)
    assert (clock.monotonic(), clock.time()) == (7.5, 1_007.5)


def test_advance_calls_due_timers_in_order_in_this_thread_each_at_its_own_time() -> None:
    clock = VirtualClock()
    seen: list[tuple[str, float, int]] = []

    def note(name: str) -> None:
        seen.append((name, clock.monotonic(), threading.get_ident()))

    def first() -> None:
        note("first")
        clock.call_later(0.5, lambda: note("added"))

    clock.call_later(3.0, lambda: note("after"))
    clock.call_later(2.0, lambda: note("last"))
    clock.call_later(1.0, first)
    clock.call_later(-1.0, lambda: note("at once"))
    assert (clock.pending(), clock.next_due()) == (4, 0.0)
    clock.advance(2.0)
    here = threading.get_ident()
    assert seen == [("at once", 0.0, here), ("first", 1.0, here), ("added", 1.5, here), ("last", 2.0, here)]
    assert (clock.pending(), clock.next_due(), clock.monotonic()) == (1, 3.0, 2.0)


def test_a_cancelled_virtual_timer_does_not_fire() -> None:
    clock = VirtualClock()
    fired: list[str] = []
    timer = clock.call_later(1.0, lambda: fired.append("no"))
    kept = clock.call_later(1.0, lambda: fired.append("yes"))
    assert timer.cancel()
    assert not timer.cancel()
    assert clock.pending() == 1
    clock.advance(1.0)
    assert fired == ["yes"]
    assert not kept.cancel()
    assert clock.next_due() is None


def test_a_virtual_timer_s_bug_is_raised_and_the_rest_can_be_called_later() -> None:
    clock = VirtualClock()
    fired: list[float] = []

    def bug() -> None:
        raise LookupError("bug")

    clock.call_later(1.0, bug)
    clock.call_later(2.0, lambda: fired.append(clock.monotonic()))
    with pytest.raises(LookupError):
        clock.advance(5.0)
    assert clock.monotonic() == 1.0
    clock.advance(1.0)
    assert fired == [2.0]


def test_a_timer_may_advance_the_clock_and_time_never_goes_back() -> None:
    clock = VirtualClock()
    seen: list[float] = []
    clock.call_later(1.0, lambda: clock.advance(10.0))
    clock.call_later(2.0, lambda: seen.append(clock.monotonic()))
    clock.advance(3.0)
    assert seen == [2.0]
    assert clock.monotonic() == 11.0


@pytest.mark.parametrize("seconds", [-1.0, nan, float("inf")])
def test_time_moves_on_by_a_finite_number_of_seconds(seconds: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        VirtualClock().advance(seconds)


async def test_virtual_sleep_ends_when_another_thread_advances_far_enough() -> None:
    clock = VirtualClock()
    woken: list[float] = []

    async def sleeper(delay: float) -> None:
        await clock.sleep(delay)
        woken.append(clock.monotonic())

    def drive() -> None:
        clock.wait_pending(2)
        clock.advance(1.0)
        assert first_awake.wait(SOON)
        clock.advance(1.0)

    first_awake = threading.Event()
    first, second = asyncio.create_task(sleeper(1.0)), asyncio.create_task(sleeper(2.0))
    first.add_done_callback(lambda _: first_awake.set())
    driver = threading.Thread(target=drive)
    driver.start()
    await asyncio.gather(first, second)
    driver.join()
    assert woken == [1.0, 2.0]


async def test_a_virtual_sleep_of_nothing_needs_nobody_to_advance() -> None:
    clock = VirtualClock()
    await clock.sleep(0.0)
    await clock.sleep(-1.0)
    assert clock.pending() == 0


async def test_a_cancelled_virtual_sleep_leaves_no_timer() -> None:
    clock = VirtualClock()
    task = asyncio.create_task(clock.sleep(1.0))
    await asyncio.sleep(0)
    assert clock.pending() == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert clock.pending() == 0


async def test_a_virtual_sleep_cancelled_while_it_is_being_woken_ends_cancelled() -> None:
    clock = VirtualClock()
    bugs: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, bug: bugs.append(bug))
    task = asyncio.create_task(clock.sleep(1.0))
    await asyncio.sleep(0)
    clock.advance(1.0)
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
    assert bugs == []


def test_advancing_past_a_sleep_whose_loop_is_closed_is_nothing() -> None:
    clock = VirtualClock()
    loop = asyncio.new_event_loop()
    sleep = clock.sleep(1.0)
    task = loop.create_task(sleep)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    clock.advance(1.0)
    task._log_destroy_pending = False  # type: ignore[attr-defined] # it is what this is about
    sleep.close()


def test_waiting_for_timers_ends_when_another_thread_sets_them() -> None:
    clock = VirtualClock()
    waited = threading.Event()

    def wait() -> None:
        clock.wait_pending(2, SOON)
        waited.set()

    thread = threading.Thread(target=wait)
    thread.start()
    clock.call_later(1.0, bool)
    clock.call_later(1.0, bool)
    assert waited.wait(SOON)
    thread.join()
    with pytest.raises(TimeoutError, match=r"2 timers wait after 0\.01 seconds, not 3"):
        clock.wait_pending(3, 0.01)
