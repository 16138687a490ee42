"""The order of numbered requests, against a model that knows only the laws."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tinkex.engine._service._sequencer import Sequencer

TIMEOUT, REACH, WINDOW = 10.0, 8, 6


def digest(body: int) -> bytes:
    return bytes([body])


class Laws(RuleBasedStateMachine):
    """Requests arrive in any order, are repeated, changed and lost; time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.sequencer = Sequencer[int](TIMEOUT, reach=REACH, window=WINDOW)
        self.now = 0.0
        self.bodies: dict[int, int] = {}
        self.ran: list[int] = []
        self.refused: set[int] = set()
        self.gone: set[int] = set()
        """Given up while held."""
        self.floor = 1
        """The lowest number that may still run."""
        self.moved = 0.0
        """When something was last handed out, or the waiting began."""

    def waiting(self) -> list[int]:
        return sorted(set(self.bodies) - set(self.ran) - self.gone)

    @rule(ahead=st.integers(-3, REACH + 2), body=st.integers(0, 2))
    def arrive(self, ahead: int, body: int) -> None:
        number = max(1, self.floor + ahead)
        verdict = self.sequencer.judge(number, digest(body))
        if number in self.bodies and verdict != "late":
            assert verdict == ("repeat" if self.bodies[number] == body else "conflict")
            assert self.sequencer.ticket(number) == f"ticket {number}"
            return
        if number < self.floor:
            assert verdict == "late"
            return
        assert verdict == ("far" if number >= self.floor + REACH else "new")
        if verdict == "far":
            return
        was_waiting = bool(self.waiting())
        self.bodies[number] = body
        self.refused.discard(number)
        ready = self.sequencer.accept(number, digest(body), f"ticket {number}", number, self.now)
        assert ready == self.run()
        if ready or not was_waiting:
            self.moved = self.now

    @rule(ahead=st.integers(-3, REACH + 2))
    def refuse(self, ahead: int) -> None:
        number = max(1, self.floor + ahead)
        if self.floor <= number < self.floor + REACH and number not in self.bodies:
            self.refused.add(number)
        ready = self.sequencer.refuse(number, self.now)
        assert ready == self.run()
        if ready:
            self.moved = self.now

    def run(self) -> list[int]:
        ran: list[int] = []
        while waiting := self.waiting():
            if self.floor == waiting[0]:
                ran.append(self.floor)
                self.ran.append(self.floor)
            elif self.floor not in self.refused:
                break
            self.floor += 1
        return ran

    @rule(seconds=st.floats(0.1, 7.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        waiting = self.waiting()
        missing, given_up = self.sequencer.expire(self.now)
        if waiting and self.now - self.moved >= TIMEOUT:
            assert given_up == waiting
            assert missing == [number for number in range(self.floor, waiting[0]) if number not in self.refused]
            self.gone |= set(waiting)
            self.floor = waiting[-1] + 1
        else:
            assert (list(missing), given_up) == ([], [])

    @precondition(lambda self: bool(self.waiting()))
    @rule()
    def stop(self) -> None:
        waiting = self.waiting()
        assert self.sequencer.give_up() == waiting
        self.gone |= set(waiting)
        self.floor = waiting[-1] + 1

    @invariant()
    def each_ran_once_in_order(self) -> None:
        assert self.ran == sorted(set(self.ran))
        assert self.sequencer.next == self.floor
        assert self.sequencer.held == len(self.waiting())
        awaited = self.sequencer.awaited
        assert awaited not in self.refused
        assert set(range(self.floor, awaited)) <= self.refused | set(self.waiting())

    @invariant()
    def recent_numbers_are_recognised(self) -> None:
        for number in list(self.bodies)[-WINDOW:]:
            assert self.sequencer.judge(number, digest(self.bodies[number])) == "repeat"


Laws.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestSequencerLaws = Laws.TestCase


def test_a_refused_number_may_come_again_until_a_later_one_has_passed_it() -> None:
    sequencer = Sequencer[str](TIMEOUT)
    assert sequencer.refuse(1, 0.0) == []
    assert sequencer.judge(1, b"other") == "new"
    assert sequencer.accept(1, b"other", "t", "first", 0.0) == ["first"]
    assert sequencer.refuse(2, 0.0) == []
    assert sequencer.accept(3, b"", "t", "third", 0.0) == ["third"]
    assert sequencer.judge(2, b"") == "late"


def test_a_refusal_closes_the_gap_that_later_numbers_wait_for() -> None:
    sequencer = Sequencer[str](TIMEOUT)
    assert sequencer.accept(2, b"", "t", "second", 0.0) == []
    assert sequencer.refuse(1, 0.0) == ["second"]


@pytest.mark.parametrize("count", [3, 100])
def test_memory_is_bounded_by_the_window(count: int) -> None:
    """Old numbers are forgotten, and then too late, never run again."""
    sequencer = Sequencer[int](TIMEOUT, window=3)
    for number in range(1, count + 1):
        sequencer.accept(number, b"", "", number, 0.0)
    assert sequencer.judge(count, b"") == "repeat"
    assert sequencer.judge(1, b"") == ("repeat" if count == 3 else "late")
