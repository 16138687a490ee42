"""When a checkpoint is due."""

from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._trainer._due import Due
from tinkex.protocol import CheckpointPolicy


@given(every=st.integers(1, 7), begin=st.integers(0, 20), updates=st.integers(1, 40))
def test_by_number_each_multiple_is_saved_once_wherever_the_run_was_resumed(
    every: int, begin: int, updates: int
) -> None:
    due = Due(CheckpointPolicy(every_updates=every), begin, 0.0)
    saved: list[int] = []
    for update in range(begin, begin + updates + 1):
        for _ in range(3):  # asked again and again, as an actor does
            if due.is_due(update, 0.0):
                due.sent(update, 0.0)
                saved.append(update)
    assert saved == [u for u in range(begin + 1, begin + updates + 1) if u % every == 0]


def test_by_time_one_is_due_so_many_seconds_after_the_last_was_sent() -> None:
    due = Due(CheckpointPolicy(every_updates=None, every_seconds=10.0), 3, 100.0)
    assert not due.is_due(4, 109.9)
    assert due.is_due(4, 110.0)
    due.sent(4, 110.0)
    assert not due.is_due(4, 500.0), "nothing was trained since"
    assert not due.is_due(5, 119.0)
    assert due.is_due(5, 120.0)


def test_on_demand_one_is_due_once_and_only_where_something_was_trained() -> None:
    due = Due(CheckpointPolicy(every_updates=None), 0, 0.0)
    due.demand(0)
    assert not due.is_due(0, 0.0)
    assert not due.is_due(1, 0.0), "there was nothing to save when it was wanted"
    due.demand(1)
    assert due.is_due(1, 0.0)
    due.sent(1, 0.0)
    due.demand(1)
    assert not due.is_due(2, 0.0)


def test_a_save_that_failed_is_wanted_again_for_the_same_update() -> None:
    due = Due(CheckpointPolicy(every_updates=2), 0, 0.0)
    assert due.is_due(2, 0.0)
    due.sent(2, 0.0)
    due.failed()
    assert due.is_due(2, 0.0)
    due.sent(2, 0.0)
    assert not due.is_due(3, 0.0)
