"""What the engine refuses, fails and cannot start with."""

import traceback
from typing import Final, Literal

Category = Literal["user", "server"]


class EngineError(Exception):
    """The engine cannot start or go on; ``str(error)`` is one sentence that says what to do."""


class Refusal(Exception):  # noqa: N818 - an answer to one request, not a fault of the engine
    """An HTTP request that is answered with a 4xx: nothing of it was done, and its number is not used up.

    Args:
        status: the HTTP status.
        detail: one sentence that says what is wrong and what to do.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status: Final = status
        self.detail: Final = detail


class OperationFailed(Exception):  # noqa: N818 - an outcome of one operation, not a fault of the engine
    """An accepted operation that ended in a failed future.

    Args:
        message: one sentence that says what failed and what to do.
        category: whose fault it is.
        code: a word for programs, where there is one (``exists``).
    """

    def __init__(self, message: str, category: Category = "user", code: str | None = None) -> None:
        super().__init__(message)
        self.message: Final = message
        self.category: Final[Category] = category
        self.code: Final = code


def told(error: BaseException) -> str:
    """Return an error's traceback for the log: code and messages only, no values, which could be secrets."""
    return "".join(traceback.format_exception(error))
