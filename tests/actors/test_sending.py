"""What became of a request: the rules for repeats, attempt by attempt."""

import json
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tinkex.actors._transport import (
    Accepted,
    Again,
    Attempt,
    Exists,
    HttpReply,
    Lost,
    NotSent,
    Refused,
    Sending,
    Unknown,
)
from tinkex.actors._transport._sending import BILLING_LIMIT_SECONDS


def reply(status: int, *, own: bool = True, **headers: str) -> HttpReply:
    body = json.dumps({"detail": f"said {status}"}).encode() if own else b"<html>proxy</html>"
    return HttpReply(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


LOST = Lost("ReadError", timed_out=False)
LATE = Lost("ReadTimeout", timed_out=True)
DOWN = NotSent("ConnectError")
OK = HttpReply(200, {}, b'{"request_id": "r"}')


def judge(
    attempts: Sequence[Attempt], *, save: bool = False, timeout: float | None = 10.0, last_at: float = 0.0
) -> object:
    """Judge all but the last attempt at time 0 and the last one at ``last_at``."""
    sending = Sending("save_weights", 0.0, timeout, save=save)
    for attempt in attempts[:-1]:
        assert isinstance(sending.judge(attempt, 0.0, 0.0), Again)
    return sending.judge(attempts[-1], last_at, 0.0)


def test_a_success_is_accepted_with_its_answer() -> None:
    assert judge([OK]) == Accepted(OK.body, ambiguous=False)
    assert judge([LOST, OK]) == Accepted(OK.body, ambiguous=True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 413, 422])
def test_a_4xx_in_the_servers_own_words_refuses(status: int) -> None:
    verdict = judge([reply(status)])
    assert isinstance(verdict, Refused)
    assert (verdict.error.kind, verdict.error.category, verdict.error.status) == ("api_status", "user", status)
    assert f"said {status}" in verdict.error.message


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_4xx_in_a_proxys_words_proves_nothing(status: int) -> None:
    assert isinstance(judge([reply(status, own=False)]), Unknown)


@pytest.mark.parametrize("before", [LOST, LATE, reply(500), reply(503), reply(408)])
def test_a_refusal_after_an_attempt_that_may_have_run_is_unknown(before: Attempt) -> None:
    assert isinstance(judge([before, reply(400)]), Unknown)


@pytest.mark.parametrize("attempt", [LOST, LATE, reply(500), reply(502), reply(408)])
def test_what_may_have_run_is_repeated_until_the_send_timeout_and_then_unknown(attempt: Attempt) -> None:
    assert isinstance(judge([attempt], last_at=9.9), Again)
    assert isinstance(judge([attempt], last_at=10.0), Unknown)
    assert isinstance(judge([attempt], last_at=1e9, timeout=None), Again)


def test_a_server_that_is_down_makes_nobody_suspect() -> None:
    verdict = judge([DOWN, DOWN], last_at=10.0)
    assert isinstance(verdict, Refused)
    assert verdict.error.kind == "api_connection"


@pytest.mark.parametrize("status", [402, 425, 429])
def test_a_server_that_asks_for_patience_did_not_run_the_request(status: int) -> None:
    assert isinstance(judge([reply(status)]), Again)
    assert isinstance(judge([reply(status), reply(400)]), Refused)
    assert isinstance(judge([LOST, reply(status), reply(400)]), Unknown)


def test_rate_limits_are_waited_out_as_asked_and_refused_in_the_end() -> None:
    assert judge([reply(429, retry_after="7")]) == Again(7.0, "paused_rate_limit", "said 429")
    assert judge([reply(429, retry_after_ms="1500")]) == Again(1.5, "paused_rate_limit", "said 429")
    assert isinstance(judge([reply(429)], last_at=10.0), Refused)


def test_no_5xx_is_repeated_at_once() -> None:
    assert judge([reply(503, retry_after="0")]) == Again(None, "backing_off", "said 503")


def test_billing_pauses_for_an_hour_and_the_pause_does_not_count_against_the_send_timeout() -> None:
    sending = Sending("optim_step", 0.0, 10.0)
    assert sending.judge(reply(402), 0.0, 0.0) == Again(5.0, "paused_billing", "said 402")
    assert sending.judge(reply(402), BILLING_LIMIT_SECONDS - 1, 0.0) == Again(5.0, "paused_billing", "said 402")
    assert isinstance(sending.judge(LOST, BILLING_LIMIT_SECONDS - 0.5, 0.0), Again)
    fresh = Sending("optim_step", 0.0, 10.0)
    fresh.judge(reply(402), 0.0, 0.0)
    assert isinstance(fresh.judge(reply(402), BILLING_LIMIT_SECONDS, 0.0), Refused)


def test_a_save_is_told_that_its_name_is_taken() -> None:
    first = judge([reply(409)], save=True)
    assert isinstance(first, Refused)
    assert first.error.kind == "conflict"
    assert "overwrite=True" in first.error.message
    assert isinstance(judge([LOST, reply(409)], save=True), Exists)


def test_a_409_that_is_no_saves_or_no_servers_proves_nothing() -> None:
    assert isinstance(judge([reply(409)]), Unknown)
    assert isinstance(judge([reply(409, own=False)], save=True), Unknown)


ATTEMPTS = st.one_of(
    st.sampled_from([LOST, LATE, DOWN]),
    st.sampled_from([402, 408, 425, 429, 500, 503]).map(reply),
)
ENDS = st.sampled_from([OK, reply(400), reply(404, own=False), reply(409), LOST, DOWN, reply(500)])


@given(st.lists(ATTEMPTS, max_size=8), ENDS, st.booleans())
def test_refused_is_only_said_when_no_attempt_can_have_run(attempts: list[Attempt], end: Attempt, save: bool) -> None:
    sending = Sending("save_weights", 0.0, 100.0, save=save)
    for attempt in attempts:
        assert isinstance(sending.judge(attempt, 0.0, 0.0), Again)
    verdict = sending.judge(end, 1e6, 0.0)
    may_have_run = any(
        isinstance(attempt, Lost) or (isinstance(attempt, HttpReply) and attempt.status in (408, 500, 503))
        for attempt in [*attempts, end]
    )
    assert not (may_have_run and isinstance(verdict, Refused))
    billed = any(isinstance(attempt, HttpReply) and attempt.status == 402 for attempt in attempts)
    assert billed or not isinstance(verdict, Again)
