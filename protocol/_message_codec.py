"""Messages and results as bytes, for queues, logs and workflow engines that pass them on."""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final, TypeVar, cast

import msgspec

from tinkex.protocol import messages, replies
from tinkex.protocol._checks import shown
from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._request import Request
from tinkex.protocol._result import Err, Ok, Result
from tinkex.protocol.wire import decode, encode

T = TypeVar("T")

LOCAL: Final = frozenset({"StartChild"})
"""Messages that hold a class and its arguments: what lives in one process is no data for another."""


def _types(module: ModuleType) -> dict[str, type[Any]]:
    return {name: getattr(module, name) for name in cast("list[str]", module.__all__)}


_MESSAGES: Final = _types(messages)
_REPLIES: Final = _types(replies)


class _Named(msgspec.Struct, frozen=True):
    type: str
    fields: msgspec.Raw


class _Whole(msgspec.Struct, frozen=True):
    type: str
    fields: Any


class _Told(msgspec.Struct, frozen=True):
    ok: _Named | None = None
    error: dict[str, Any] | None = None


def encode_message(message: Request[Any]) -> bytes:
    """Return ``message`` as JSON in UTF-8: ``{"type":"SaveState","fields":{"name":"ckpt", ...}}``.

    Every field is written, None as null. Tensors are ``{"data", "dtype", "shape"}``. A ``weights_access_token`` is
    written like any other field, as the message could not be carried out without it: keep the bytes as you keep it.

    Raises:
        TinkexError: kind ``validation``, where ``check()`` finds something, or the message is none of
            ``tinkex.protocol.messages``, or lives in this process only, as ``StartChild`` does.
    """
    name = _name_of(message, _MESSAGES, "a message of tinkex.protocol.messages")
    if name in LOCAL:
        raise validation(f"{name} holds a class and its arguments, which only this process has; it has no bytes")
    error = message.check()
    if error is not None:
        raise error
    return _write(_Whole(name, message))


def decode_message(body: bytes) -> Request[Any]:
    """Read what ``encode_message`` wrote. Unknown fields are passed over, and missing ones get their default.

    Raises:
        TinkexError: kind ``protocol``, where the bytes are no message of this version; kind ``validation``, where they
            are one whose ``check()`` finds something.
    """
    named = _read(body, _Named, "a message")
    kind = _MESSAGES.get(named.type)
    if kind is None or named.type in LOCAL:
        raise _unreadable(f"there is no message {shown(named.type)} that can be read from bytes")
    message: Request[Any] = _read(bytes(named.fields), kind, named.type)
    error = message.check()
    if error is not None:
        raise error
    return message


def encode_result(result: Result[Any]) -> bytes:
    """Return ``result`` as JSON in UTF-8.

    ``Ok`` is ``{"ok":{"type":"SavedState","fields":{"path": ...}}}``; ``Err`` is ``{"error":{"message": ...}}``, with
    what ``TinkexError.to_dict`` gives. NaN and infinities in tensors and metrics survive.

    Raises:
        TinkexError: kind ``validation``, where the value is none of ``tinkex.protocol.replies`` (a ref is not: the
            actor lives in this process), or an error's ``data`` holds what JSON cannot.
    """
    match result:
        case Err(error):
            return b'{"error":' + _write(error.to_dict()) + b"}"
        case Ok(value):
            name = _name_of(value, _REPLIES, "a reply of tinkex.protocol.replies")
            return b'{"ok":' + _write(_Whole(name, value)) + b"}"


def decode_result(body: bytes) -> Result[Any]:
    """Read what ``encode_result`` wrote. Unknown fields are passed over, and missing ones get their default.

    Raises:
        TinkexError: kind ``protocol``, where the bytes are no result of this version.
    """
    told = _read(body, _Told, "a result")
    if told.error is not None and told.ok is None:
        return Err(TinkexError.from_dict(told.error))
    if told.ok is None or told.error is not None:
        raise _unreadable("a result has either ok or error")
    kind = _REPLIES.get(told.ok.type)
    if kind is None:
        raise _unreadable(f"there is no reply {shown(told.ok.type)}")
    return Ok(_read(bytes(told.ok.fields), kind, told.ok.type))


def _name_of(value: object, kinds: Mapping[str, type[Any]], wanted: str) -> str:
    name = type(value).__name__
    if kinds.get(name) is not type(value):
        raise validation(f"only {wanted} has bytes, not {name}")
    return name


def _write(value: object) -> bytes:
    try:
        return encode(value, nulls=True)
    except (NotImplementedError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise validation(f"it cannot be written as JSON: {error}") from error


def _read(body: bytes, kind: type[T], what: str) -> T:
    try:
        return decode(body, kind)
    except TinkexError as error:
        raise _unreadable(f"{what} cannot be read: {error.message.partition(': ')[2]}", **error.data) from None


def _unreadable(message: str, **data: Any) -> TinkexError:
    return TinkexError(message, kind="protocol", category="unknown", data=data)
