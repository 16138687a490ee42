"""A cell is settled once and tells everybody once, whoever comes in between."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from support_genserver import SECONDS, switching_often
from tinkex.actors._genserver._once import Once, do_all


def test_first_value_stays() -> None:
    cell: Once[int] = Once()
    assert not cell.settled
    assert cell.settle(1)
    assert not cell.settle(2)
    assert not cell.fail(ValueError())
    assert cell.settled
    assert cell.value() == 1


def test_failure_is_raised_for_each_reader_with_the_traceback_it_had() -> None:
    cell: Once[int] = Once()
    try:
        int("x")
    except ValueError as error:
        cell.fail(error)
    depths: list[int] = []
    for _ in range(3):
        with pytest.raises(ValueError, match="x") as raised:
            cell.value()
        depths.append(len(raised.traceback))
    assert len(set(depths)) == 1


def test_callbacks_run_once_in_order_and_late_ones_at_once() -> None:
    cell: Once[int] = Once()
    ran: list[str] = []
    for name in "abc":
        cell.subscribe_once(lambda name=name: ran.append(name))  # type: ignore[misc]
    assert cell.waiting == 3
    cell.settle(1)
    cell.subscribe_once(lambda: ran.append("late"))
    assert ran == ["a", "b", "c", "late"]
    assert cell.waiting == 0


def test_unsubscribed_callback_does_not_run() -> None:
    cell: Once[int] = Once()
    ran: list[int] = []
    callback = lambda: ran.append(1)  # noqa: E731
    cell.unsubscribe(callback)
    cell.subscribe_once(callback)
    cell.unsubscribe(callback)
    cell.settle(1)
    cell.unsubscribe(callback)
    assert ran == []


def test_callback_that_takes_another_out_while_they_run_is_obeyed() -> None:
    cell: Once[int] = Once()
    ran: list[str] = []
    second: Callable[[], None] = lambda: ran.append("second")  # noqa: E731
    cell.subscribe_once(lambda: cell.unsubscribe(second))
    cell.subscribe_once(second)
    cell.settle(1)
    assert ran == []


def test_list_that_empties_between_look_and_take_is_no_error() -> None:
    class Vanishing(list[Any]):
        def __bool__(self) -> bool:
            return True

    cell: Once[int] = Once()
    cell._callbacks = Vanishing()
    assert cell.settle(1)


def test_subscriber_that_comes_while_the_settling_ends_is_told_all_the_same() -> None:
    class Late(list[Any]):
        def append(self, item: Any) -> None:
            cell.settle(1)
            super().append(item)

    cell: Once[int] = Once()
    cell._callbacks = Late()
    ran: list[int] = []
    cell.subscribe_once(lambda: ran.append(cell.value()))
    assert ran == [1]


def test_subscribers_that_race_with_the_settling_run_exactly_once() -> None:
    with switching_often():
        for _ in range(300):
            cell: Once[int] = Once()
            ran: list[int] = []
            barrier = threading.Barrier(3)

            def subscribe(
                first: int,
                cell: Once[int] = cell,
                ran: list[int] = ran,
                barrier: threading.Barrier = barrier,
            ) -> None:
                barrier.wait(SECONDS)
                for number in range(first, first + 20):
                    cell.subscribe_once(lambda number=number: ran.append(number))  # type: ignore[misc]

            threads = [threading.Thread(target=subscribe, args=(first,)) for first in (0, 20)]
            for thread in threads:
                thread.start()
            barrier.wait(SECONDS)
            cell.settle(1)
            for thread in threads:
                thread.join(SECONDS)
            assert sorted(ran) == list(range(40))


def test_settling_within_a_settling_is_refused_and_harmless() -> None:
    cell: Once[int] = Once()
    inner: list[bool] = []
    cell.subscribe_once(lambda: inner.append(cell.settle(2)))
    assert cell.settle(1)
    assert inner == [False]


def test_do_all_does_all_and_then_raises_the_interrupt() -> None:
    done: list[int] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do_all([lambda: done.append(1), interrupt, lambda: done.append(2), interrupt])
    assert done == [1, 2]
    do_all([lambda: done.append(3)])
    assert done == [1, 2, 3]
