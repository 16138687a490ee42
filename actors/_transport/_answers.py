"""What an answer to a poll means: the pure rules for results.

Servers differ in how they say pending, failed and done; all known forms are read here, in one place.
"""

from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from tinkex.actors._transport._backoff import retry_after
from tinkex.actors._transport._faults import network_error, own_words, status_error
from tinkex.actors._transport._http import Attempt, HttpReply
from tinkex.actors._transport._sending import BILLING_PAUSE_SECONDS, WaitState
from tinkex.protocol import TinkexError

_OK: Final = range(200, 300)
_FAILURE_STATUSES: Final = frozenset({400, 409, 422})
_CATEGORIES: Final = frozenset({"user", "server", "unknown"})


class Done(NamedTuple):
    """The final result, as JSON bytes of the result object itself."""

    body: bytes


class Failed(NamedTuple):
    """The server ran the request and says that it failed."""

    error: TinkexError


class ResultLost(NamedTuple):
    """The result can never be had: whether the request ran is unknown."""

    error: TinkexError


class Pending(NamedTuple):
    """Not done yet; ``delay`` asks for a pause before the next poll, None leaves it to the back-off.

    ``answered`` tells a server that answered (a long poll that ended) from one that did not.
    """

    delay: float | None
    state: WaitState | Literal["running"]
    reason: str | None
    answered: bool


Answer = Done | Failed | ResultLost | Pending


def read_answer(what: str, attempt: Attempt, wall: float) -> Answer:
    """Return what one poll's ``attempt`` says about the result of ``what``; ``wall`` is epoch seconds."""
    if not isinstance(attempt, HttpReply):
        return Pending(None, "backing_off", network_error(what, attempt).message, answered=False)
    if attempt.status in _OK:
        return _read_body(what, attempt.body)
    hint = retry_after(attempt.headers, wall) or None
    if attempt.status == 402:
        return Pending(BILLING_PAUSE_SECONDS, "paused_billing", own_words(attempt), answered=False)
    if attempt.status == 429:
        return Pending(hint, "paused_rate_limit", own_words(attempt), answered=False)
    if attempt.status in (408, 425) or attempt.status >= 500:
        return Pending(hint, "backing_off", own_words(attempt), answered=False)
    if attempt.status in _FAILURE_STATUSES and own_words(attempt) is not None:
        return Failed(_failure(what, own_words(attempt) or "", "user"))
    return ResultLost(status_error(f"the result of {what}", attempt, wall))


def _read_body(what: str, body: bytes) -> Answer:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return ResultLost(_unreadable(what, str(error)))
    if not isinstance(value, dict):
        return ResultLost(_unreadable(what, "it is no JSON object"))
    return _read_object(what, cast("dict[str, Any]", value), body)


def _read_object(what: str, fields: dict[str, Any], body: bytes) -> Answer:
    status = fields.get("status")
    if fields.get("type") == "try_again" or status == "pending":
        return _pending(fields)
    if status == "complete_metadata":
        return Pending(None, "running", None, answered=True)
    if status == "completed" and "result" in fields:
        return Done(msgspec.json.encode(fields["result"]))
    if fields.get("error") is not None or "failed" in (status, fields.get("type")):
        error = fields.get("error", fields.get("message", fields.get("detail", "no reason given")))
        inner = cast("dict[str, Any]", error) if isinstance(error, dict) else {"message": error}
        category = inner.get("category", fields.get("category"))
        return Failed(_failure(what, str(inner.get("message", "no reason given")), category))
    return Done(body)


def _pending(fields: dict[str, Any]) -> Pending:
    queue_state = fields.get("queue_state")
    state: WaitState | Literal["running"] = "running"
    if queue_state == "paused_capacity":
        state = "paused_capacity"
    elif queue_state == "paused_rate_limit":
        state = "paused_rate_limit"
    reason = fields.get("queue_state_reason")
    milliseconds = fields.get("retry_after_ms")
    delay = milliseconds / 1000.0 if isinstance(milliseconds, int | float) and milliseconds > 0 else None
    return Pending(delay, state, reason if isinstance(reason, str) else None, answered=True)


def _failure(what: str, message: str, category: Any) -> TinkexError:
    return TinkexError(
        f"{what} failed on the server: {message}",
        kind="request_failed",
        category=category if category in _CATEGORIES else "unknown",
    )


def _unreadable(what: str, cause: str) -> TinkexError:
    return TinkexError(f"the result of {what} cannot be read: {cause}", kind="protocol", category="server")
