"""What all bodies on the wire have in common."""

from typing import ClassVar

import msgspec


class Body(msgspec.Struct, frozen=True):
    """A JSON object of the Tinker API.

    Reading: unknown fields are passed over, missing fields get their default, and so does an explicit null where null
    is no value of the field. Writing: fields that are None are left out, all others are written.
    """

    SENDS_NULL: ClassVar[bool] = False
    """Whether None is written as null, for the bodies in which null means something."""
