"""The order of a model's requests, against every history that a server can make."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tinkex.actors._training._operation import Operation, Part
from tinkex.actors._training._sequence import Answer, Send, Sequence
from tinkex.protocol import Err, Ok, TinkexError

BOOM = TinkexError("boom", kind="api_status", category="user", status=400)


def make(number: int, parts: int = 1, *, name: str = "save_weights", **options: Any) -> Operation:
    bodies = [Part(f"/{name}", _encode, _decode) for _ in range(parts)]
    return Operation(number, name, bodies, list, **options)


def _encode(seq_id: int) -> bytes:
    return str(seq_id).encode()


def _decode(body: bytes) -> Any:
    return body


def taken(sequence: Sequence) -> Send:
    send = sequence.take()
    assert send is not None
    return send


def test_numbers_begin_at_one_and_what_is_accepted_leaves_the_line() -> None:
    sequence = Sequence()
    first, second = make(1), make(2)
    sequence.add(first)
    sequence.add(second)
    assert [taken(sequence).seq_id, taken(sequence).seq_id, sequence.take()] == [1, 2, None]
    sequence.accept(first, first.parts[0], "r1")
    assert [send.seq_id for send in sequence.line] == [2]
    assert list(sequence.open_operations()) == [first, second]


def test_what_stands_in_line_is_given_back_with_its_number_and_its_turn() -> None:
    sequence = Sequence()
    first, second, third = make(1), make(2), make(3)
    for operation in (first, second, third):
        sequence.add(operation)
    sends = [taken(sequence) for _ in range(3)]
    for send in reversed(sends[1:]):
        sequence.give_back(send)
    sequence.refuse(first, first.parts[0], BOOM)
    assert [taken(sequence), taken(sequence)] == [Send(second, second.parts[0], 1), Send(third, third.parts[0], 2)]


def test_numbers_behind_an_undecided_one_are_never_reckoned_with() -> None:
    sequence = Sequence()
    for operation in (make(1), make(2)):
        sequence.add(operation)
    first, second = taken(sequence), taken(sequence)
    with pytest.raises(AssertionError):
        sequence.refuse(first.operation, first.part, BOOM)
    with pytest.raises(AssertionError):
        sequence.give_back(first)
    with pytest.raises(AssertionError):
        sequence.accept(second.operation, second.part, "r2")


def test_a_refused_number_is_used_by_the_next_request() -> None:
    sequence = Sequence()
    first, second = make(1), make(2)
    sequence.add(first)
    sequence.add(second)
    answers = sequence.refuse(first, taken(sequence).part, BOOM)
    assert [answer.operation for answer in answers] == [first]
    assert isinstance(answers[0].result, Err)
    assert answers[0].result.error.data["outcome"] == "not_sent"
    assert taken(sequence).seq_id == 1


def test_a_chunk_refused_behind_an_accepted_one_makes_the_client_suspect() -> None:
    sequence = Sequence()
    call, other = make(1, parts=2, name="forward_backward", makes_gradients=True), make(2)
    sequence.add(call)
    sequence.add(other)
    sequence.accept(call, taken(sequence).part, "r1")
    answers = sequence.refuse(call, taken(sequence).part, BOOM)
    outcomes = {answer.operation.number: answer.result for answer in answers}
    assert outcomes[1].error.data["outcome"] == "unknown"  # type: ignore[union-attr]
    assert outcomes[2].error.kind == "client_suspect"  # type: ignore[union-attr]
    assert outcomes[2].error.data["outcome"] == "not_sent"  # type: ignore[union-attr]
    assert sequence.take() is None


def test_an_unknown_outcome_ends_all_sending() -> None:
    sequence = Sequence()
    first = make(1)
    sequence.add(first)
    taken(sequence)
    sequence.lose(first, BOOM)
    (answer,) = sequence.add(make(2))
    assert isinstance(answer.result, Err)
    assert answer.result.error.kind == "client_suspect"
    assert "last checkpoint" in answer.result.error.message


def test_a_failed_forward_backward_leaves_no_step_behind_it_vouched_for() -> None:
    sequence = Sequence()
    step_before = make(1, name="optim_step", uses_gradients=True)
    backward = make(2, name="forward_backward", makes_gradients=True)
    step_behind = make(3, name="optim_step", uses_gradients=True)
    save = make(4)
    for operation in (step_before, backward, step_behind, save):
        sequence.add(operation)
        sequence.accept(operation, taken(sequence).part, f"r{operation.number}")
    answers = sequence.fail(backward, BOOM)
    outcomes = {answer.operation.number: answer.result for answer in answers}
    assert set(outcomes) == {2, 3}
    assert outcomes[3].error.kind == "client_suspect"  # type: ignore[union-attr]
    assert outcomes[3].error.data["outcome"] == "running"  # type: ignore[union-attr]
    assert [operation.number for operation in sequence.open_operations()] == [1, 4]


def pass_and_step(sequence: Sequence) -> tuple[Operation, Operation]:
    """Give a pass and the step behind it, both accepted, the step's result there first."""
    passed = make(1, name="forward_backward", makes_gradients=True)
    step = make(2, name="optim_step", uses_gradients=True)
    for operation, request_id in ((passed, "r1"), (step, "r2")):
        sequence.add(operation)
        sequence.accept(operation, taken(sequence).part, request_id)
    assert sequence.finish(step, step.parts[0], "stepped") == []
    return passed, step


def test_a_step_is_answered_when_the_gradients_before_it_are_known_to_be_sound() -> None:
    sequence = Sequence()
    passed, step = pass_and_step(sequence)
    answers = sequence.finish(passed, passed.parts[0], "passed")
    assert answers == [Answer(passed, Ok(["passed"])), Answer(step, Ok(["stepped"]))]
    assert sequence.idle


def test_a_step_whose_result_overtook_a_failed_pass_is_not_vouched_for() -> None:
    sequence = Sequence()
    passed, step = pass_and_step(sequence)
    failed, refused = sequence.fail(passed, BOOM)
    assert (failed.operation, refused.operation) == (passed, step)
    assert isinstance(refused.result, Err)
    assert (refused.result.error.kind, refused.result.error.data["outcome"]) == ("client_suspect", "running")


def test_a_step_waits_for_no_pass_whose_caller_has_stopped_waiting() -> None:
    sequence = Sequence()
    passed, step = pass_and_step(sequence)
    withdrawn, answered = sequence.withdraw(passed, BOOM)
    assert withdrawn.operation is passed
    assert answered == Answer(step, Ok(["stepped"]))


def test_a_step_is_not_vouched_for_because_its_model_is_gone() -> None:
    sequence = Sequence()
    passed, step = pass_and_step(sequence)
    lost = TinkexError("gone", kind="session_lost", category="server")
    answers = sequence.end(lost)
    assert [answer.operation for answer in answers] == [passed, step]
    for answer in answers:
        assert isinstance(answer.result, Err)
        assert (answer.result.error.kind, answer.result.error.data["outcome"]) == ("session_lost", "running")
    assert sequence.idle


def test_what_is_being_sent_when_the_client_turns_suspect_is_answered_unknown() -> None:
    sequence = Sequence()
    backward, step = make(1, name="forward_backward", makes_gradients=True), make(2, name="optim_step")
    sequence.add(backward)
    sequence.accept(backward, taken(sequence).part, "r1")
    sequence.add(step)
    taken(sequence)
    outcomes = {answer.operation.number: answer.result for answer in sequence.fail(backward, BOOM)}
    assert outcomes[2].error.data["outcome"] == "unknown"  # type: ignore[union-attr]
    assert sequence.sending is None


def test_a_withdrawn_request_that_was_not_sent_spends_no_number() -> None:
    sequence = Sequence()
    first, second, third = make(1), make(2), make(3)
    for operation in (first, second, third):
        sequence.add(operation)
    send = taken(sequence)
    (answer,) = sequence.withdraw(second, BOOM)
    assert isinstance(answer.result, Err)
    assert answer.result.error.data["outcome"] == "not_sent"
    sequence.accept(first, send.part, "r1")
    assert taken(sequence) == Send(third, third.parts[0], 2)


def test_a_call_withdrawn_in_the_middle_of_its_chunks_is_still_sent_whole() -> None:
    sequence = Sequence()
    call = make(1, parts=3, name="forward_backward", makes_gradients=True)
    sequence.add(call)
    sequence.accept(call, taken(sequence).part, "r1")
    (answer,) = sequence.withdraw(call, BOOM)
    assert isinstance(answer.result, Err)
    assert answer.result.error.data["outcome"] == "unknown"
    sequence.accept(call, taken(sequence).part, "r2")
    sequence.accept(call, taken(sequence).part, "r3")
    assert sequence.idle
    assert sequence.next_seq_id == 4


def test_results_are_joined_in_chunk_order_whatever_the_order_they_came_in() -> None:
    sequence = Sequence()
    call = make(1, parts=2)
    sequence.add(call)
    sequence.accept(call, taken(sequence).part, "r1")
    sequence.accept(call, taken(sequence).part, "r2")
    assert sequence.finish(call, call.parts[1], "b") == []
    assert sequence.finish(call, call.parts[0], "a") == [Answer(call, Ok(["a", "b"]))]


def test_a_client_that_is_not_suspect_refuses_nothing() -> None:
    with pytest.raises(AssertionError):
        Sequence()._refusal(make(1))


class Histories(RuleBasedStateMachine):
    """Any history: the numbers stay without gap, no number has two bodies that may have run, each call one answer."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = Sequence()
        self.made = 0
        self.may_have_run: dict[int, tuple[int, int]] = {}
        self.answers: dict[int, int] = {}
        self.line: list[Send] = []
        """As a server sees it: the first may be on its way."""
        self.accepted: list[tuple[Operation, Part]] = []

    def note(self, answers: list[Answer]) -> None:
        for operation, _ in answers:
            self.answers[operation.number] = self.answers.get(operation.number, 0) + 1

    def ran(self, send: Send) -> None:
        body = (send.operation.number, send.operation.parts.index(send.part))
        assert self.may_have_run.get(send.seq_id, body) == body, "one number, two bodies"
        self.may_have_run[send.seq_id] = body

    def recall(self) -> None:
        """What stands behind the first is called back, as before everything that is no acceptance."""
        while len(self.line) > 1:
            self.sequence.give_back(self.line.pop())

    def given_up(self) -> None:
        """Whether the first ran is unknown, where a client that has turned suspect does not wait for it."""
        if self.line and not self.sequence.line:
            self.ran(self.line.pop())

    @rule(parts=st.integers(1, 3), gradients=st.booleans())
    def call(self, parts: int, gradients: bool) -> None:
        self.made += 1
        name = "forward_backward" if gradients else "optim_step"
        operation = make(self.made, parts, name=name, makes_gradients=gradients, uses_gradients=not gradients)
        self.note(self.sequence.add(operation))

    @rule()
    def send(self) -> None:
        send = self.sequence.take()
        if send is not None:
            self.line.append(send)

    @precondition(lambda self: len(self.line) > 1)
    @rule()
    def give_back(self) -> None:
        self.sequence.give_back(self.line.pop())

    @precondition(lambda self: bool(self.line))
    @rule()
    def accept(self) -> None:
        send = self.line.pop(0)
        self.ran(send)
        self.accepted.append((send.operation, send.part))
        self.note(self.sequence.accept(send.operation, send.part, "r"))

    @precondition(lambda self: bool(self.line))
    @rule()
    def refuse(self) -> None:
        self.recall()
        send = self.line.pop()
        self.note(self.sequence.refuse(send.operation, send.part, BOOM))

    @precondition(lambda self: bool(self.line))
    @rule()
    def lose(self) -> None:
        self.recall()
        send = self.line.pop()
        self.ran(send)
        self.note(self.sequence.lose(send.operation, BOOM))

    @precondition(lambda self: bool(self.accepted))
    @rule(data=st.data(), good=st.booleans())
    def result(self, data: st.DataObject, good: bool) -> None:
        operation, part = self.accepted.pop(data.draw(st.integers(0, len(self.accepted) - 1)))
        if operation.answered:
            return
        if good or not operation.accepted:
            self.note(self.sequence.finish(operation, part, "value"))
        else:
            self.recall()
            self.note(self.sequence.fail(operation, BOOM))
            self.given_up()

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        candidates = [operation for operation in self.sequence.open_operations() if not operation.answered]
        if candidates:
            operation = data.draw(st.sampled_from(candidates))
            if any(send.operation is operation for send in self.line):
                self.recall()
            self.note(self.sequence.withdraw(operation, BOOM))

    @invariant()
    def numbers_have_no_gap(self) -> None:
        taken = {send.seq_id for send in self.line}
        assert set(self.may_have_run) | taken == set(range(1, self.sequence.next_seq_id))
        assert list(self.sequence.line) == self.line

    @invariant()
    def nobody_is_answered_twice(self) -> None:
        assert all(count == 1 for count in self.answers.values())

    @invariant()
    def who_is_not_answered_is_open(self) -> None:
        known = [operation.number for operation in self.sequence.open_operations()]
        assert len(known) == len(set(known))
        assert set(known) | set(self.answers) == set(range(1, self.made + 1))

    def teardown(self) -> None:
        self.send()
        while self.line:
            self.accept()
            self.send()
        for operation, part in self.accepted:
            if not operation.answered:
                self.note(self.sequence.finish(operation, part, "value"))
        assert set(self.answers) == set(range(1, self.made + 1)), "somebody waits for ever"


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
