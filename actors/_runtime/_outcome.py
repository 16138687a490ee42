"""How a coroutine of the io thread ended."""

import asyncio
from typing import Generic, TypeVar, cast

import msgspec

from tinkex.protocol import Err, Ok, Result, TinkexError

T = TypeVar("T")


class Outcome(msgspec.Struct, Generic[T], frozen=True):
    """A value, an exception, or neither because it was cancelled."""

    value: T | None = None
    error: BaseException | None = None
    cancelled: bool = False

    def unwrap(self) -> T:
        """Return the value.

        Raises:
            BaseException: what the coroutine raised; ``asyncio.CancelledError`` if it was cancelled.
        """
        if self.cancelled:
            raise asyncio.CancelledError
        if self.error is not None:
            raise self.error
        return cast("T", self.value)

    def result(self) -> Result[T]:
        """Return ``Ok`` of the value, or ``Err`` of a ``TinkexError`` or of the cancelling.

        Raises:
            BaseException: any other exception of the coroutine: a bug, never a value.
        """
        if self.cancelled:
            return Err(
                TinkexError("the request was cancelled", kind="cancelled", category="user", data={"outcome": "unknown"})
            )
        if isinstance(self.error, TinkexError):
            return Err(self.error)
        return Ok(self.unwrap())
