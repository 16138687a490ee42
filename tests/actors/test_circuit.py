"""The circuit breaker: against a model over random histories, and its laws one by one."""

import itertools
import random
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tinkex.actors._transport._circuit import (
    FAILURES,
    FIRST_SECONDS,
    LONGEST_SECONDS,
    PATIENCE_SECONDS,
    PROBE_SECONDS,
    CircuitBreaker,
    Permit,
    Phase,
)


def opened(seed: int = 0) -> CircuitBreaker:
    """A circuit that opened at time 0."""
    circuit = CircuitBreaker(random.Random(seed))
    fail(circuit, 0.0, FAILURES)
    assert circuit.phase == "open"
    return circuit


def is_(circuit: CircuitBreaker, phase: Phase) -> bool:
    return circuit.phase == phase


def fail(circuit: CircuitBreaker, now: float, times: int = 1) -> None:
    for _ in range(times):
        permit = circuit.admit(now)
        assert permit is not None
        circuit.fail(permit, now, "down")


def test_only_failures_in_a_row_open_it() -> None:
    circuit = CircuitBreaker(random.Random(0))
    for _ in range(20):
        fail(circuit, 0.0, FAILURES - 1)
        permit = circuit.admit(0.0)
        assert permit is not None
        circuit.succeed(permit)
    assert is_(circuit, "closed")
    fail(circuit, 0.0, FAILURES)
    assert is_(circuit, "open")


def test_open_it_lets_nobody_through_until_its_time_has_come_and_then_exactly_one() -> None:
    circuit = opened()
    at = circuit.next_chance(0.0)
    assert FIRST_SECONDS / 2 <= at <= FIRST_SECONDS
    assert circuit.admit(at - 1e-6) is None
    probe = circuit.admit(at)
    assert probe is not None
    assert is_(circuit, "half_open")
    assert [circuit.admit(at) for _ in range(10)] == [None] * 10
    circuit.succeed(probe)
    assert is_(circuit, "closed")


def test_its_time_grows_with_every_failed_probe_to_a_bound_and_begins_anew_after_a_success() -> None:
    circuit = opened(7)
    now, due = 0.0, FIRST_SECONDS
    for _ in range(12):
        assert due / 2 <= circuit.seconds <= due <= LONGEST_SECONDS
        now = circuit.next_chance(now)
        fail(circuit, now)
        due = min(due * 2, LONGEST_SECONDS)
    assert due == LONGEST_SECONDS
    now = circuit.next_chance(now)
    probe = circuit.admit(now)
    assert probe is not None
    circuit.succeed(probe)
    fail(circuit, now, FAILURES)
    assert circuit.seconds <= FIRST_SECONDS


def test_two_circuits_do_not_come_back_at_the_same_time() -> None:
    assert len({opened(seed).seconds for seed in range(20)}) == 20


def test_what_was_sent_before_it_opened_neither_closes_it_nor_keeps_it_open_longer() -> None:
    circuit = CircuitBreaker(random.Random(0))
    early = [circuit.bypass() for _ in range(10)]
    for permit in early[:FAILURES]:
        circuit.fail(permit, 0.0, "down")
    at = circuit.next_chance(0.0)
    circuit.succeed(early[5])
    circuit.fail(early[6], 0.1, "down")
    assert circuit.phase == "open"
    assert circuit.next_chance(0.1) == at


def test_a_request_that_waits_for_nothing_closes_it_when_it_is_answered_and_is_no_news_when_it_fails() -> None:
    circuit = opened()
    at = circuit.next_chance(0.0)
    circuit.fail(circuit.bypass(), 0.0, "down")
    assert circuit.next_chance(0.0) == at
    circuit.succeed(circuit.bypass())
    assert circuit.phase == "closed"


def test_a_probe_of_which_nothing_was_learnt_makes_room_for_another() -> None:
    circuit = opened()
    at = circuit.next_chance(0.0)
    first = circuit.admit(at)
    assert first is not None
    circuit.forget(first)
    assert circuit.admit(at) is not None
    assert circuit.admit(at) is None


def test_a_probe_that_is_held_does_not_keep_others_from_trying_for_ever() -> None:
    circuit = opened()
    at = circuit.next_chance(0.0)
    held = circuit.admit(at)
    assert held is not None
    assert circuit.next_chance(at) == at + PROBE_SECONDS
    another = circuit.admit(at + PROBE_SECONDS)
    assert another is not None
    circuit.fail(held, at + PROBE_SECONDS, "too late to count")
    assert circuit.phase == "half_open"


def test_long_polls_leave_the_first_second_of_trying_to_requests_that_are_answered_at_once() -> None:
    circuit = opened()
    at = circuit.next_chance(0.0)
    assert circuit.admit(at, patient=True) is None
    assert circuit.next_chance(at, patient=True) == at + PATIENCE_SECONDS
    assert circuit.admit(at + PATIENCE_SECONDS, patient=True) is not None


class Histories(RuleBasedStateMachine):
    """Any history of requests; the model knows only who was let through when, and what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.phases: list[Phase] = []
        self.circuit = CircuitBreaker(random.Random(0), self.phases.append)
        self.out: list[tuple[Permit, bool, int, float]] = []
        """Permit, whether it was a probe, how many openings and closings it has seen, and when it was given."""

        self.failures = 0
        self.reopened = 0
        self.opened_at = 0.0
        self.era = 0
        self.probe: Permit | None = None
        self.probe_at = 0.0
        self.model: Phase = "closed"

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.4, 1.0, 5.0, 11.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def time_passes_to_the_next_chance(self) -> None:
        self.now = self.circuit.next_chance(self.now)

    @rule(patient=st.booleans())
    def one_asks(self, patient: bool) -> None:
        chance = self.circuit.next_chance(self.now, patient=patient)
        permit = self.circuit.admit(self.now, patient=patient)
        assert (permit is not None) == (chance <= self.now)
        if self.model == "closed":
            assert permit is not None
        elif self.model == "open" and permit is not None:
            assert self.now >= self.opened_at + self.circuit.seconds
        elif self.model == "half_open" and permit is not None:
            assert self.probe is None or self.now >= self.probe_at + PROBE_SECONDS, "one probe at a time"
        if permit is None:
            return
        if self.model != "closed":
            self.model, self.probe, self.probe_at = "half_open", permit, self.now
        self.out.append((permit, self.model != "closed", self.era, self.now))

    @rule()
    def one_passes_by(self) -> None:
        self.out.append((self.circuit.bypass(), False, self.era, self.now))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def one_is_answered(self, data: Any) -> None:
        permit, _, era, _ = self._one(data)
        self.circuit.succeed(permit)
        if era == self.era:
            self.failures = 0
            if self.model != "closed":
                self.model, self.reopened, self.probe = "closed", 0, None
                self.era += 1

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def one_fails(self, data: Any) -> None:
        permit, _, era, _ = self._one(data)
        self.circuit.fail(permit, self.now, "down")
        if era != self.era:
            return
        if self.model == "closed":
            self.failures += 1
            if self.failures == FAILURES:
                self._opens()
        elif permit == self.probe:
            self._opens()

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def one_is_given_up(self, data: Any) -> None:
        permit, *_ = self._one(data)
        self.circuit.forget(permit)
        if permit == self.probe:
            self.probe = None

    def _one(self, data: Any) -> tuple[Permit, bool, int, float]:
        index: int = data.draw(st.integers(0, len(self.out) - 1))
        return self.out.pop(index)

    def _opens(self) -> None:
        due = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0**self.reopened)
        assert due / 2 <= self.circuit.seconds <= due
        self.model, self.opened_at, self.probe, self.failures = "open", self.now, None, 0
        self.reopened += 1
        self.era += 1

    @invariant()
    def the_phase_is_the_models_and_every_transition_is_told_once(self) -> None:
        assert self.circuit.phase == self.model
        told = ["closed", *self.phases]
        assert told[-1] == self.model
        assert all(before != after for before, after in itertools.pairwise(told))

    @invariant()
    def somebody_gets_through_in_bounded_time(self) -> None:
        longest = max(LONGEST_SECONDS, PROBE_SECONDS) + PATIENCE_SECONDS
        assert self.now <= self.circuit.next_chance(self.now, patient=True) <= self.now + longest


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
