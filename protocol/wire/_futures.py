"""Results that come later."""

from typing import Any, Final, cast, get_args

from tinkex.protocol._errors import ErrorCategory
from tinkex.protocol.wire._base import Body

_CATEGORIES: Final = get_args(ErrorCategory)


class UntypedFuture(Body, frozen=True):
    """The receipt of a request whose result is to be asked for."""

    request_id: str
    model_id: str | None = None
    """Given with the receipt of a ``create_model``, for clients that do not ask for its result."""


class RetrieveFutureRequest(Body, frozen=True):
    """``POST /api/v1/retrieve_future``."""

    request_id: str
    allow_metadata_only: bool = False


class TryAgain(Body, frozen=True):
    """Not done yet: ask again."""

    request_id: str
    queue_state: str = "active"
    """``active``, ``paused_capacity`` or ``paused_rate_limit``."""
    queue_state_reason: str | None = None
    type: str = "try_again"


class FailedFuture(Body, frozen=True):
    """The request ran and failed, in the one form that all known clients understand."""

    error: str | dict[str, Any]
    category: str = "unknown"
    status: str = "failed"

    @classmethod
    def of(cls, message: str, category: ErrorCategory) -> "FailedFuture":
        """Build the failure that says ``message``."""
        return cls({"message": message, "category": category}, category)

    @property
    def message(self) -> str:
        """The server's sentence."""
        if isinstance(self.error, str):
            return self.error
        return str(self.error.get("message", "no reason given"))

    @property
    def error_category(self) -> ErrorCategory:
        """Whose fault the server says it is."""
        inner = None if isinstance(self.error, str) else self.error.get("category")
        text = str(inner or self.category).lower()
        return cast("ErrorCategory", text) if text in _CATEGORIES else "unknown"


class ErrorReply(Body, frozen=True):
    """The body of an HTTP status that is no success."""

    detail: str
