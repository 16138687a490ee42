"""What an answer to a poll means: the pure rules for results.

Servers differ in how they say pending, failed and done; all known forms are read here, in one place.
"""

from typing import Any, Final, Literal, cast

import msgspec

from tinkex.actors._transport._attempt import Attempt, HttpReply
from tinkex.actors._transport._backoff import LONGEST_HINT_SECONDS, retry_after
from tinkex.actors._transport._faults import (
    category_in,
    network_error,
    object_in,
    own_category,
    own_words,
    reason_in,
    status_error,
)
from tinkex.actors._transport._profile import PassForm
from tinkex.actors._transport._sending import BILLING_LIMIT_SECONDS, BILLING_PAUSE_SECONDS, WaitState
from tinkex.protocol import ErrorCategory, TinkexError

PROTOBUF: Final = "application/x-protobuf"
STRIKES: Final = 3
"""How often a 400 without a word, which is a proxy's and not the server's, is asked again."""

_OK: Final = range(200, 300)
_FAILURE_STATUSES: Final = frozenset({400, 409, 422})
_FAILED: Final = frozenset({"failed", "error", "cancelled"})


class Done(msgspec.Struct, frozen=True):
    """The final result: bytes of the result object itself, in ``form``."""

    body: bytes
    form: PassForm = "json"


class Failed(msgspec.Struct, frozen=True):
    """The server ran the request and says that it failed."""

    error: TinkexError


class ResultLost(msgspec.Struct, frozen=True):
    """The result can never be had: whether the request ran is unknown."""

    error: TinkexError


class Pending(msgspec.Struct, frozen=True):
    """Not done yet; ``delay`` asks for a pause before the next poll, None leaves it to the back-off.

    ``answered`` tells a server that answered (a long poll that ended) from one that did not.
    """

    delay: float | None
    state: WaitState | Literal["running"]
    reason: str | None
    answered: bool


Answer = Done | Failed | ResultLost | Pending


class Polling(msgspec.Struct):
    """The history of one result's polls. Pure: times come in, answers go out.

    Args:
        what: how errors name the request.
    """

    what: str
    strikes: int = 0
    billing_since: float | None = None

    def read(self, attempt: Attempt, now: float, wall: float) -> Answer:
        """Return what the latest ``attempt`` says; ``now`` is monotonic, ``wall`` epoch seconds.

        What is not recognisably the server's, a proxy's page or a torn body, says nothing about the result: it is asked
        for again, up to three times in a row. A refusal for billing that lasts for an hour ends the polling, too.
        """
        answer = read_answer(self.what, attempt, wall)
        if not isinstance(attempt, HttpReply):
            return answer
        foreign = isinstance(answer, ResultLost) and own_words(attempt) is None
        self.strikes = self.strikes + 1 if foreign else 0
        since = self.billing_since if self.billing_since is not None else now
        self.billing_since = since if attempt.status == 402 else None
        if isinstance(answer, ResultLost) and foreign and self.strikes <= STRIKES:
            return Pending(None, "backing_off", answer.error.message, answered=False)
        if attempt.status == 402 and now - since >= BILLING_LIMIT_SECONDS:
            return ResultLost(status_error(f"the result of {self.what}", attempt, wall))
        return answer


def read_answer(what: str, attempt: Attempt, wall: float) -> Answer:
    """Return what one poll's ``attempt`` says about the result of ``what``; ``wall`` is epoch seconds."""
    if not isinstance(attempt, HttpReply):
        return Pending(None, "backing_off", network_error(what, attempt).message, answered=False)
    if attempt.status in _OK:
        if PROTOBUF in attempt.headers.get("content-type", "").lower():
            return Done(attempt.body, "protobuf")
        return _read_body(what, attempt.body)
    hint = retry_after(attempt.headers, wall) or None
    words = own_words(attempt)
    if attempt.status == 402:
        return Pending(BILLING_PAUSE_SECONDS, "paused_billing", words, answered=False)
    if attempt.status == 429:
        return Pending(hint, "paused_rate_limit", words, answered=False)
    if attempt.status in (408, 425) or attempt.status >= 500:
        paused = _pending(object_in(attempt.body) or {})
        state: WaitState = "backing_off" if paused.state == "running" else paused.state
        return Pending(hint, state, paused.reason or words, answered=False)
    if attempt.status in _FAILURE_STATUSES and words is not None:
        return Failed(_failure(what, words, own_category(attempt) or "user"))
    return ResultLost(status_error(f"the result of {what}", attempt, wall))


def read_inline(what: str, body: bytes) -> Done | Failed | ResultLost:
    """Return what an accepted request's own answer, which has no request_id, says about its result."""
    answer = _read_body(what, body)
    if isinstance(answer, Pending):
        return ResultLost(_unreadable(what, "it is pending, and there is no request_id to ask for it by"))
    return answer


def _read_body(what: str, body: bytes) -> Answer:
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return ResultLost(_unreadable(what, str(error)))
    if not isinstance(value, dict):
        return ResultLost(_unreadable(what, "it is no JSON object"))
    return _read_object(what, cast("dict[str, Any]", value), body)


def _read_object(what: str, fields: dict[str, Any], body: bytes) -> Answer:
    status, kind = _word(fields, "status"), _word(fields, "type")
    if kind == "try_again" or status == "pending":
        return _pending(fields)
    if status == "complete_metadata":
        return Pending(None, "running", None, answered=True)
    if status == "completed" and isinstance(fields.get("result"), dict):
        return Done(msgspec.json.encode(fields["result"]))
    if fields.get("error") is not None or status in _FAILED or kind in _FAILED:
        return Failed(_failure(what, reason_in(_by_error(fields)) or "no reason given", category_in(fields)))
    return Done(body)


def _by_error(fields: dict[str, Any]) -> dict[str, Any]:
    """Return what tells the reason: the error where there is one, whatever else the result says."""
    return {"error": fields["error"]} if fields.get("error") is not None else fields


def _pending(fields: dict[str, Any]) -> Pending:
    queue_state = _word(fields, "queue_state")
    state: WaitState | Literal["running"] = "running"
    if queue_state == "paused_capacity":
        state = "paused_capacity"
    elif queue_state == "paused_rate_limit":
        state = "paused_rate_limit"
    reason = fields.get("queue_state_reason")
    return Pending(
        _delay(fields.get("retry_after_ms")), state, reason if isinstance(reason, str) else None, answered=True
    )


def _delay(milliseconds: Any) -> float | None:
    if not isinstance(milliseconds, int | float) or not milliseconds > 0:
        return None
    return min(milliseconds, 1000.0 * LONGEST_HINT_SECONDS) / 1000.0


def _word(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value.lower() if isinstance(value, str) else None


def _failure(what: str, message: str, category: ErrorCategory | None) -> TinkexError:
    return TinkexError(f"{what} failed on the server: {message}", kind="request_failed", category=category or "unknown")


def _unreadable(what: str, cause: str) -> TinkexError:
    return TinkexError(f"the result of {what} cannot be read: {cause}", kind="protocol", category="server")
