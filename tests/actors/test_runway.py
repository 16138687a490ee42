"""What is written ahead for a model: one at a time goes out, in order, and what was called back never does."""

from typing import Any, cast

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tinkex.actors._training._operation import Operation, Part
from tinkex.actors._training._runway import Flight, Runway
from tinkex.actors._training._sequence import Send
from tinkex.actors._transport import Accepted, Departure

SENT = Accepted(b"", ambiguous=False)


class Task:
    """In place of a task of the io loop."""

    def __init__(self, number: int, begun: list[int]) -> None:
        self.number = number
        self.refused = False
        self._begun = begun

    def begin(self) -> None:
        self._begun.append(self.number)

    begin_here = begin

    def refuse(self) -> None:
        self.refused = True


class Wakes:
    """Counts."""

    count = 0

    def __call__(self) -> None:
        self.count += 1


def flight(number: int, begun: list[int]) -> Flight:
    part = Part("/step", lambda seq_id: b"%d" % seq_id, bytes)
    send = Send(Operation(number, "optim_step", [part], list), part, number)
    return Flight(send, cast("Any", Task(number, begun)), Departure(), asks=True)


def test_an_actor_that_has_more_to_write_is_woken_when_little_is_ahead_and_once_until_it_looks() -> None:
    wakes, begun = Wakes(), list[int]()
    runway = Runway(wakes)
    flights = [flight(number, begun) for number in range(6)]
    for one in flights:
        runway.stage(one)
    runway.depart()
    assert not runway.listen(3)
    for one in flights[:2]:
        runway.accepted(one.send, SENT, "r")
    assert wakes.count == 0
    for one in flights[2:4]:
        runway.accepted(one.send, SENT, "r")
    assert wakes.count == 1
    assert [heard.send for heard in runway.heard()] == [one.send for one in flights[:4]]
    runway.accepted(flights[4].send, SENT, "r")
    assert wakes.count == 2


def test_what_was_heard_before_the_actor_said_that_it_listens_is_told_to_it_then() -> None:
    wakes, begun = Wakes(), list[int]()
    runway = Runway(wakes)
    one = flight(1, begun)
    runway.stage(one)
    runway.depart()
    runway.accepted(one.send, SENT, "r")
    assert wakes.count == 0
    assert runway.listen(3)


class Runways(RuleBasedStateMachine):
    """Any history of an actor and its io loop."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = list[int]()
        self.runway = Runway(lambda: None)
        self.staged = list[Flight]()
        self.flying: Flight | None = None
        self.ready: Flight | None = None
        self.halts = 0
        self.called_back = set[int]()
        self.made = 0

    def next(self) -> None:
        self.flying = self.staged.pop(0) if self.staged and not self.halts else None

    @rule()
    def stage(self) -> None:
        self.made += 1
        made = flight(self.made, self.begun)
        self.runway.stage(made)
        if self.flying is None and not self.halts:
            self.flying = self.ready = made
        else:
            self.staged.append(made)

    @rule()
    def depart(self) -> None:
        self.runway.depart()
        self.ready = None

    @precondition(lambda self: self.flying is not None and self.ready is None)
    @rule(lands=st.booleans())
    def end(self, lands: bool) -> None:
        assert self.flying is not None
        if lands:
            self.runway.land(self.flying)
        else:
            self.runway.accepted(self.flying.send, SENT, "r")
        self.next()

    @rule()
    def a_late_acceptance_of_what_was_given_up(self) -> None:
        self.runway.accepted(flight(0, self.begun).send, SENT, "r")

    @rule(heard=st.booleans())
    def recall(self, heard: bool) -> None:
        heard = heard and self.halts > 0
        back = self.runway.recall(heard=heard)
        assert back == self.staged[::-1]
        assert all(cast("Task", one.task).refused for one in back)
        self.called_back |= {one.send.seq_id for one in back}
        self.staged = []
        self.halts -= heard

    @rule()
    def halt(self) -> None:
        self.runway.halt()
        self.halts += 1

    @invariant()
    def each_begins_once_in_order_and_none_that_was_called_back_does(self) -> None:
        waiting = {one.send.seq_id for one in (*self.staged, *filter(None, [self.ready]))}
        assert self.begun == [number for number in range(1, self.made + 1) if number not in self.called_back | waiting]


TestRunways = Runways.TestCase
TestRunways.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
