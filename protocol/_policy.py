"""The base of every policy: a frozen struct that checks itself, and that a configuration file may describe."""

from collections.abc import Mapping
from typing import Any, Self

import msgspec

from tinkex.protocol._checks import shown
from tinkex.protocol._errors import TinkexError, validation


class Policy(msgspec.Struct, frozen=True):
    """A policy; one whose fields are wrong cannot be made: that raises ``TinkexError``, kind ``validation``."""

    def __post_init__(self) -> None:
        error = self.check()
        if error is not None:
            raise error

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Build the policy that ``fields`` describe, as a configuration file may have them.

        Raises:
            TinkexError: kind ``validation``: a field is unknown or wrong.
        """
        for name in fields:
            if name not in cls.__struct_fields__:
                known = ", ".join(cls.__struct_fields__)
                raise validation(f"{cls.__name__} has no {shown(name)}; its fields are {known}", field=str(name))
        return cls(**fields)

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return None


def first_error(*errors: TinkexError | None) -> TinkexError | None:
    """Return the first that is none of None."""
    return next((error for error in errors if error is not None), None)
