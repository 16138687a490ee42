"""The one error type of Tinkex: what failed, whose fault it is, and whether asking again can help."""

import copy
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, Self, cast, get_args

ErrorKind = Literal[
    "validation",
    "api_connection",
    "api_timeout",
    "api_status",
    "request_failed",
    "await_timeout",
    "client_suspect",
    "session_lost",
    "actor_dead",
    "actor_crashed",
    "conflict",
    "protocol",
    "cancelled",
    "fenced",
    "resume_refused",
    "program_failed",
    "run_failed",
]
"""What failed: a closed set."""

ErrorCategory = Literal["user", "server", "unknown"]
"""Whose fault it is, as far as anyone can tell."""

_KINDS: Final = get_args(ErrorKind)
_CATEGORIES: Final = get_args(ErrorCategory)

_RETRYABLE: Final[Mapping[str, bool | str]] = {
    "validation": False,
    "api_connection": True,
    "api_timeout": True,
    "api_status": "status",
    "request_failed": True,
    "await_timeout": "not_sent",
    "client_suspect": False,
    "session_lost": False,
    "actor_dead": False,
    "actor_crashed": False,
    "conflict": False,
    "protocol": False,
    "cancelled": False,
    "fenced": False,
    "resume_refused": False,
    "program_failed": False,
    "run_failed": False,
}
"""Can the same request, repeated as it stands, succeed?

``"status"``: where the HTTP status says so. ``"not_sent"``: only where the request is known not to have been sent.
"""

_KEY: Final = re.compile(r"\b(tml-|eyJ)[A-Za-z0-9_.-]{8,}")
_PASSING_STATUSES: Final = frozenset({408, 425, 429})
_GONE: Final = 410
_CLIENT_ERRORS: Final = range(400, 500)
_MAY_HAVE_RUN: Final = frozenset({"running", "unknown"})


class TinkexError(Exception):
    """An expected failure: the value inside an ``Err``, and what ``unwrap()`` raises.

    ``str(error)`` is the message. Copies, pickles and dictionaries of an error equal it; ``raise error from cause``
    also puts the cause into ``data["cause"]`` as text, which travels where the cause itself cannot.

    Args:
        message: one sentence that says what failed and what to do.
        kind: what failed.
        category: whose fault it is.
        status: the HTTP status, where there was one.
        retry_after: seconds after which the server asked to be tried again.
        data: further facts for programs (model_id, seq_id, path, request_id, outcome ...); plain JSON values.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: ErrorKind,
        category: ErrorCategory,
        status: int | None = None,
        retry_after: float | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        if kind not in _KINDS or category not in _CATEGORIES:
            raise ValueError(f"no such error: kind={kind!r}, category={category!r}")
        self.message: Final = mask_keys(message)
        super().__init__(self.message)
        self.kind: Final[ErrorKind] = kind
        self.category: Final[ErrorCategory] = category
        self.status: Final = status
        self.retry_after: Final = retry_after
        self._data: Final[dict[str, Any]] = dict(data or {})

    @property
    def data(self) -> dict[str, Any]:
        """Facts for programs; ``cause`` is the text of the exception that this error was raised from."""
        if self.__cause__ is not None and "cause" not in self._data:
            self._data["cause"] = _describe(self.__cause__)
        return self._data

    @property
    def user_error(self) -> bool:
        """Whether the caller must change something before asking again.

        So it is where the category is ``user``, and for an HTTP status of 400..499 other than 408, 410, 425 and 429.
        """
        if self.category == "user":
            return True
        return self.status in _CLIENT_ERRORS and self.status not in _PASSING_STATUSES and self.status != _GONE

    @property
    def retryable(self) -> bool:
        """Whether the same request, repeated as it stands, can succeed and cannot run twice.

        Never for a ``user_error``, nor where ``data["outcome"]`` is ``running`` or ``unknown``. Else
        ``api_connection``, ``api_timeout`` and ``request_failed`` are; ``api_status`` is for 408, 425, 429, 500 and
        above, and where no status is known; ``await_timeout`` is where the outcome is ``not_sent``; no other kind is.
        """
        outcome = self._data.get("outcome")
        if self.user_error or outcome in _MAY_HAVE_RUN:
            return False
        rule = _RETRYABLE[self.kind]
        if rule == "status":
            return self.status is None or self.status in _PASSING_STATUSES or self.status >= _CLIENT_ERRORS.stop
        return outcome == "not_sent" if rule == "not_sent" else bool(rule)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the traceback as plain values; ``from_dict`` reads it back."""
        return {
            "message": self.message,
            "kind": self.kind,
            "category": self.category,
            "status": self.status,
            "retry_after": self.retry_after,
            "data": dict(self.data),
        }

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build the error that ``to_dict`` described; unknown keys are passed over, optional ones may be missing.

        Raises:
            TinkexError: kind ``protocol``, where ``fields`` describe no error of this version.
        """
        message: Any = fields.get("message")
        kind: Any = fields.get("kind")
        category: Any = fields.get("category")
        status: Any = fields.get("status")
        retry_after: Any = fields.get("retry_after")
        data: Any = fields.get("data")
        if (
            not isinstance(message, str)
            or kind not in _KINDS
            or category not in _CATEGORIES
            or not isinstance(status, int | None)
            or not isinstance(retry_after, int | float | None)
            or not isinstance(data, Mapping | None)
        ):
            raise TinkexError(
                f"no error of this version: kind={kind!r}, category={category!r}", kind="protocol", category="unknown"
            )
        return cls(
            message,
            kind=kind,
            category=category,
            status=status,
            retry_after=retry_after,
            data=cast("Mapping[str, Any] | None", data),
        )

    def __eq__(self, other: object) -> bool:
        return self.to_dict() == other.to_dict() if isinstance(other, TinkexError) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.message, self.kind, self.category, self.status))

    def __repr__(self) -> str:
        status = "" if self.status is None else f", status={self.status}"
        return f"{type(self).__name__}({self.message!r}, kind={self.kind!r}, category={self.category!r}{status})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_dict, (self.to_dict(),)

    def __copy__(self) -> Self:
        twin = type(self).from_dict(self.to_dict())
        twin.__cause__ = self.__cause__
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).from_dict(copy.deepcopy(self.to_dict(), memo))
        twin.__cause__ = self.__cause__
        return twin


def validation(message: str, **data: Any) -> TinkexError:
    """Build the error for a value that the caller must correct."""
    return TinkexError(message, kind="validation", category="user", data=data)


def mask_keys(text: str) -> str:
    """Return ``text`` without what looks like an API key, as servers and libraries may repeat one."""
    return _KEY.sub(r"\1***", text)


def _describe(cause: BaseException) -> str:
    return mask_keys(f"{type(cause).__name__}: {cause}" if str(cause) else type(cause).__name__)
