"""The base of every message that is asked for."""

from typing import Generic, TypeVar

import msgspec

from tinkex.protocol._checks import check_number
from tinkex.protocol._errors import TinkexError, validation

T_co = TypeVar("T_co", covariant=True)


class Request(msgspec.Struct, Generic[T_co], frozen=True, kw_only=True):
    """A message whose answer is ``Ok(T)`` or an ``Err``: ``ref.ask(request)`` is a ``Result[T]``.

    Subclasses are frozen structs that add their fields and extend ``check``.
    """

    await_timeout: float | None = None
    """Seconds after which the operation is answered ``Err(await_timeout)``; None waits as long as it takes."""
    key: str | None = None
    """Reserved for repeats of one request; must be None."""

    def check(self) -> TinkexError | None:
        """Return what is wrong with the fields, or None. Pure and cheap; the receiving actor calls it."""
        if self.key is not None:
            return validation("key is reserved and must be None", field="key")
        if self.await_timeout is None:
            return None
        return check_number("await_timeout", self.await_timeout, above=0.0)
