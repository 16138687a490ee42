"""The retry budget: repeats beyond a share of the traffic wait, and never for long."""

import hypothesis.strategies as st
from hypothesis import given

from tinkex.actors._transport._retry_budget import BURST, LONGEST_SECONDS, PER_SECOND, SHARE, RetryBudget

STEPS = st.lists(st.tuples(st.sampled_from(["new", "repeat", "time"]), st.floats(0.0, 2.0)), max_size=200)


def test_a_few_repeats_wait_for_nothing() -> None:
    budget = RetryBudget()
    assert [budget.withdraw(0.0) for _ in range(int(BURST))] == [0.0] * int(BURST)
    assert budget.withdraw(0.0) > 0.0


def test_repeats_of_a_storm_are_spread_and_the_last_ones_wait_no_longer_than_the_bound() -> None:
    budget = RetryBudget()
    waits = [budget.withdraw(0.0) for _ in range(1000)]
    assert waits == sorted(waits)
    assert max(waits) == LONGEST_SECONDS
    for second in range(int(LONGEST_SECONDS) - 1):
        due = sum(second <= wait < second + 1 for wait in waits[int(BURST) :])
        assert due <= PER_SECOND + 1


def test_ordinary_traffic_pays_for_repeats() -> None:
    idle, busy = RetryBudget(), RetryBudget()
    for budget in (idle, busy):
        for _ in range(int(BURST)):
            budget.withdraw(0.0)
    for _ in range(50):
        busy.deposit()
    assert sum(idle.withdraw(0.0) == 0.0 for _ in range(20)) == 0
    assert sum(busy.withdraw(0.0) == 0.0 for _ in range(20)) in (9, 10), "50 times a fifth, but for rounding"


@given(STEPS)
def test_within_the_budget_no_wait_and_beyond_it_a_bounded_one(steps: list[tuple[str, float]]) -> None:
    budget, now, started = RetryBudget(), 0.0, 0
    news, goes = 0, list[float]()
    for kind, seconds in steps:
        if kind == "time":
            now += seconds
        elif kind == "new":
            news += 1
            budget.deposit()
        else:
            wait = budget.withdraw(now)
            assert 0.0 <= wait <= LONGEST_SECONDS
            started += 1
            if wait < LONGEST_SECONDS:
                goes.append(now + wait)
    for end in goes:
        gone = sum(at <= end for at in goes)
        assert gone <= BURST + SHARE * news + PER_SECOND * end + 1e-6


@given(STEPS)
def test_time_alone_heals_it(steps: list[tuple[str, float]]) -> None:
    budget, now = RetryBudget(), 0.0
    for kind, seconds in steps:
        now += seconds
        if kind == "repeat":
            budget.withdraw(now)
    later = now + LONGEST_SECONDS + BURST / PER_SECOND
    assert [budget.withdraw(later) for _ in range(int(BURST))] == [0.0] * int(BURST)
