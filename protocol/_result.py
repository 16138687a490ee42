"""What an ask is answered with: ``Ok(value)`` or ``Err(error)``."""

from collections.abc import Callable
from typing import Any, Generic, Literal, NoReturn, TypeAlias, TypeVar

import msgspec

from tinkex.protocol._errors import TinkexError

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)


class Ok(msgspec.Struct, Generic[T_co], frozen=True):
    """Success, with its value."""

    value: T_co

    @property
    def is_ok(self) -> Literal[True]:
        """True: this is a success."""
        return True

    def unwrap(self) -> T_co:
        """Return the value."""
        return self.value

    def unwrap_or(self, default: object) -> T_co:  # noqa: ARG002 - the same shape as Err.unwrap_or
        """Return the value."""
        return self.value

    def map(self, function: Callable[[T_co], U]) -> "Ok[U]":
        """Return ``Ok(function(value))``; what ``function`` raises is raised."""
        return Ok(function(self.value))


class Err(msgspec.Struct, frozen=True):
    """An expected failure, with its error."""

    error: TinkexError

    @property
    def is_ok(self) -> Literal[False]:
        """False: this is a failure."""
        return False

    def unwrap(self) -> NoReturn:
        """Raise the error."""
        raise self.error

    def unwrap_or(self, default: U) -> U:
        """Return ``default``."""
        return default

    def map(self, function: Callable[[Any], object]) -> "Err":  # noqa: ARG002 - the same shape as Ok.map
        """Return this failure; ``function`` is not called."""
        return self


Result: TypeAlias = Ok[T] | Err
"""``Result[T]``: what an ask for a ``T`` gives."""
