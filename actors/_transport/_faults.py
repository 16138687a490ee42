"""From what a server or the network did to the ``TinkexError`` that says so."""

from typing import Any, Final, cast, get_args

import msgspec

from tinkex.actors._transport._attempt import HttpReply, Lost, NotSent
from tinkex.actors._transport._backoff import retry_after
from tinkex.protocol import ErrorCategory, TinkexError

_CATEGORIES: Final = get_args(ErrorCategory)
_WORDS: Final = ("message", "error", "detail")
_CLIENT_ERRORS = range(400, 500)
_TEXT_LIMIT = 500


def own_words(reply: HttpReply) -> str | None:
    """Return the server's own sentence for an error, or None where the body is not recognisably the server's.

    Proxies answer errors too. Only JSON with ``detail``, ``error`` or ``message`` counts as the server speaking.
    """
    return reason_in(object_in(reply.body) or {})


def own_category(reply: HttpReply) -> ErrorCategory | None:
    """Return whose fault the server itself says the error is, if it does."""
    return category_in(object_in(reply.body) or {})


def object_in(body: bytes) -> dict[str, Any] | None:
    """Return the JSON object that ``body`` is, or None where it is none."""
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def reason_in(fields: dict[str, Any]) -> str | None:
    """Return the sentence in ``fields`` that says what went wrong, in any of its known places, or None."""
    value = next((fields[name] for name in _WORDS if fields.get(name) is not None), None)
    if value is None:
        return None
    inner = reason_in(cast("dict[str, Any]", value)) if isinstance(value, dict) else None
    text = inner if inner is not None else value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:_TEXT_LIMIT]


def category_in(fields: dict[str, Any]) -> ErrorCategory | None:
    """Return the category that ``fields``, or the error inside them, name in any spelling, or None."""
    inner = fields.get("error")
    given = cast("dict[str, Any]", inner).get("category") if isinstance(inner, dict) else None
    text = str(given if given is not None else fields.get("category", "")).lower()
    return next((category for category in _CATEGORIES if category == text), None)


def status_error(what: str, reply: HttpReply, now: float, **data: Any) -> TinkexError:
    """Build the error for an HTTP status that is no success; ``data["said"]`` is the server's own sentence, if any."""
    words = own_words(reply)
    said = words if words is not None else "the answer is not one of the API; check base_url and any proxy"
    blamed: ErrorCategory = (
        "user" if reply.status in _CLIENT_ERRORS and reply.status not in (408, 425, 429) else "server"
    )
    return TinkexError(
        f"{what} was answered {reply.status}: {said}",
        kind="api_status",
        category=own_category(reply) or blamed,
        status=reply.status,
        retry_after=retry_after(reply.headers, now),
        data=data if words is None else {"said": words, **data},
    )


def network_error(what: str, fault: NotSent | Lost, **data: Any) -> TinkexError:
    """Build the error for an exchange that the network ended."""
    if isinstance(fault, Lost) and fault.timed_out:
        return TinkexError(
            f"{what} got no answer in time ({fault.cause})", kind="api_timeout", category="server", data=data
        )
    verb = "could not reach the server" if isinstance(fault, NotSent) else "lost the connection before the answer"
    return TinkexError(f"{what} {verb} ({fault.cause})", kind="api_connection", category="server", data=data)


def not_in_time(what: str, seconds: float) -> TinkexError:
    """Build the error for a result that did not come while somebody waited for it."""
    return TinkexError(f"{what} was not done after {seconds:g} s", kind="api_timeout", category="server")


def conflict(what: str, **data: Any) -> TinkexError:
    """Build the error for a name that is taken."""
    return TinkexError(
        f"{what}: a checkpoint of this name exists; choose another name or pass overwrite=True",
        kind="conflict",
        category="user",
        data=data,
    )
