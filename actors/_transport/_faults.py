"""From what a server or the network did to the ``TinkexError`` that says so."""

from typing import Any, cast

import msgspec

from tinkex.actors._transport._backoff import retry_after
from tinkex.actors._transport._http import HttpReply, Lost, NotSent
from tinkex.protocol import TinkexError

_CLIENT_ERRORS = range(400, 500)
_TEXT_LIMIT = 500


def own_words(reply: HttpReply) -> str | None:
    """Return the server's own sentence for an error, or None where the body is not recognisably the server's.

    Proxies answer errors too. Only JSON with ``detail``, ``error`` or ``message`` counts as the server speaking.
    """
    try:
        body: Any = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    fields = cast("dict[str, Any]", body)
    for name in ("message", "error", "detail"):
        if fields.get(name) is not None:
            return _sentence(fields[name])
    return None


def _sentence(value: Any) -> str:
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value).get("message")
        if isinstance(inner, str):
            return inner[:_TEXT_LIMIT]
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text[:_TEXT_LIMIT]


def status_error(what: str, reply: HttpReply, now: float, **data: Any) -> TinkexError:
    """Build the error for an HTTP status that is no success."""
    words = own_words(reply)
    said = words if words is not None else "the answer is not one of the API; check base_url and any proxy"
    return TinkexError(
        f"{what} was answered {reply.status}: {said}",
        kind="api_status",
        category="user" if reply.status in _CLIENT_ERRORS and reply.status not in (408, 425, 429) else "server",
        status=reply.status,
        retry_after=retry_after(reply.headers, now),
        data=data,
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
