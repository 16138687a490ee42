"""What an answer to a poll means, in every form that a server is known to use."""

import json
from typing import Any

import pytest

from tinkex.actors._transport import Done, Failed, HttpReply, Lost, NotSent, Pending, ResultLost, read_answer


def answer(body: Any, status: int = 200, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_answer("optim_step", HttpReply(status, headers, raw), 0.0)


def test_a_result_is_at_the_top_level_or_wrapped() -> None:
    assert answer({"metrics": None, "type": "optim_step"}) == Done(b'{"metrics": null, "type": "optim_step"}')
    assert answer({"status": "completed", "result": {"path": "p"}}) == Done(b'{"path":"p"}')


@pytest.mark.parametrize(
    ("body", "state", "delay"),
    [
        ({"type": "try_again", "request_id": "r", "queue_state": "active"}, "running", None),
        (
            {"type": "try_again", "queue_state": "paused_capacity", "queue_state_reason": "full"},
            "paused_capacity",
            None,
        ),
        ({"type": "try_again", "queue_state": "paused_rate_limit", "retry_after_ms": 1500}, "paused_rate_limit", 1.5),
        ({"status": "pending"}, "running", None),
        ({"status": "complete_metadata", "response_payload_size": 3}, "running", None),
    ],
)
def test_pending_has_several_names(body: Any, state: str, delay: float | None) -> None:
    pending = answer(body)
    assert isinstance(pending, Pending)
    assert (pending.state, pending.delay, pending.answered) == (state, delay, True)
    assert pending.reason == body.get("queue_state_reason")


@pytest.mark.parametrize(
    ("body", "category"),
    [
        ({"error": "boom", "category": "user"}, "user"),
        ({"error": "boom", "category": "else"}, "unknown"),
        ({"status": "failed", "error": {"message": "boom", "category": "server"}, "category": "user"}, "server"),
        ({"error": {"message": "boom"}, "category": "user"}, "user"),
    ],
)
def test_a_failure_names_its_reason_and_category(body: Any, category: str) -> None:
    failed = answer(body)
    assert isinstance(failed, Failed)
    assert (failed.error.kind, failed.error.category) == ("request_failed", category)
    assert "boom" in failed.error.message


def test_a_400_in_the_servers_words_is_a_failed_result() -> None:
    failed = answer({"detail": "no such tensor"}, 400)
    assert isinstance(failed, Failed)
    assert "no such tensor" in failed.error.message


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_result_that_is_gone_is_lost_not_failed(status: int) -> None:
    lost = answer({"detail": "unknown request"}, status)
    assert isinstance(lost, ResultLost)
    assert lost.error.status == status


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b""])
def test_a_200_that_cannot_be_read_is_lost(body: bytes) -> None:
    lost = answer(body)
    assert isinstance(lost, ResultLost)
    assert lost.error.kind == "protocol"


@pytest.mark.parametrize(
    ("status", "state"),
    [(402, "paused_billing"), (408, "backing_off"), (429, "paused_rate_limit"), (503, "backing_off")],
)
def test_a_server_in_trouble_is_asked_again_later(status: int, state: str) -> None:
    pending = answer({"detail": "later"}, status)
    assert isinstance(pending, Pending)
    assert (pending.state, pending.answered, pending.reason) == (state, False, "later")


def test_a_retry_after_is_honoured() -> None:
    pending = answer({"detail": "later"}, 503, **{"retry-after": "9"})
    assert isinstance(pending, Pending)
    assert pending.delay == 9.0


@pytest.mark.parametrize("fault", [NotSent("ConnectError"), Lost("ReadTimeout", timed_out=True)])
def test_a_lost_poll_is_asked_again(fault: NotSent | Lost) -> None:
    pending = read_answer("optim_step", fault, 0.0)
    assert isinstance(pending, Pending)
    assert not pending.answered
