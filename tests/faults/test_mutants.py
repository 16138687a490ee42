"""Clients that are broken on purpose, each in one rule: the simulation catches every one of them."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from faults.batch import run_case, seeded
from tinkex.actors._leases._release import Releaser
from tinkex.actors._leases._session import Session
from tinkex.actors._service._creations import Creations
from tinkex.actors._training._callers import Callers
from tinkex.actors._training._sequence import Sequence
from tinkex.actors._transport._attempt import Lost, NotSent
from tinkex.actors._transport._sending import Refused, Sending
from tinkex.protocol import TinkexError

SEEDS = range(1500)


def nothing_happens(*_: object) -> None:
    """In place of what should."""


def nobody_is_told(*_: object) -> list[object]:
    """In place of what decides the answers."""
    return []


Break = Callable[[pytest.MonkeyPatch], None]


def skips_a_refused_number(patch: pytest.MonkeyPatch) -> None:
    refuse = Sequence.refuse

    def broken(self: Sequence, *args: Any) -> Any:
        answers = refuse(self, *args)
        self.next_seq_id += 1
        return answers

    patch.setattr(Sequence, "refuse", broken)


def repeats_under_a_new_number(patch: pytest.MonkeyPatch) -> None:
    def broken(self: Sequence, operation: Any, _error: Any) -> list[Any]:
        self.accepted.pop(operation.number, None)
        self._drop(operation)
        for part in operation.parts:
            part.state = "unsent"
        self.waiting.appendleft(operation)
        return []

    patch.setattr(Sequence, "lose", broken)


def is_never_suspect(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sequence, "suspect", nobody_is_told)


def forgives_failed_gradients(patch: pytest.MonkeyPatch) -> None:
    fail = Sequence.fail

    def broken(self: Sequence, operation: Any, error: Any) -> Any:
        operation.makes_gradients = False
        return fail(self, operation, error)

    patch.setattr(Sequence, "fail", broken)


def releases_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Releaser, "__call__", nothing_happens)


def kills_no_failed_client(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Creations, "_kill", nothing_happens)


def asks_for_a_session_under_another_key_each_time(patch: pytest.MonkeyPatch) -> None:
    key = property(lambda _self: uuid.uuid4().hex, lambda _self, _value: None)
    patch.setattr(Session, "idempotency_key", key, raising=False)


def uses_a_model_number_twice(patch: pytest.MonkeyPatch) -> None:
    start = Creations._start

    def broken(self: Creations, creation: Any, session: Any, owns: bool, _number: int, *rest: Any) -> None:
        start(self, creation, session, owns, 0, *rest)

    patch.setattr(Creations, "_start", broken)


def takes_a_lost_request_for_one_that_was_not_sent(patch: pytest.MonkeyPatch) -> None:
    judge = Sending.judge

    def broken(self: Sending, attempt: Any, now: float, wall: float) -> Any:
        return judge(self, NotSent(attempt.cause) if isinstance(attempt, Lost) else attempt, now, wall)

    patch.setattr(Sending, "judge", broken)


def takes_a_500_for_refused(patch: pytest.MonkeyPatch) -> None:
    judge = Sending.judge

    def broken(self: Sending, attempt: Any, now: float, wall: float) -> Any:
        verdict = judge(self, attempt, now, wall)
        error = TinkexError("refused", kind="api_status", category="server", status=500)
        return Refused(error) if getattr(attempt, "status", 0) == 500 else verdict

    patch.setattr(Sending, "judge", broken)


def forgets_await_timeout(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Callers, "_expired", nothing_happens)


def forgets_abandoned_creates(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Creations, "_abandoned", nothing_happens)


def answers_nobody_in_the_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Sequence, "finish", nobody_is_told)


BREAKS: list[Break] = [
    skips_a_refused_number,
    repeats_under_a_new_number,
    is_never_suspect,
    forgives_failed_gradients,
    releases_nothing,
    kills_no_failed_client,
    asks_for_a_session_under_another_key_each_time,
    uses_a_model_number_twice,
    takes_a_lost_request_for_one_that_was_not_sent,
    takes_a_500_for_refused,
    forgets_await_timeout,
    forgets_abandoned_creates,
    answers_nobody_in_the_end,
]


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.__name__)
def test_the_simulation_catches_a_client_that(broken: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(monkeypatch)
    caught = next((case.seed for case in seeded(SEEDS) if run_case(case).failures), None)
    assert caught is not None
