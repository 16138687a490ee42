"""What came of one HTTP exchange: it is all that the rules for repeats know of the network."""

from collections.abc import Mapping

import msgspec


class HttpReply(msgspec.Struct, frozen=True):
    """A complete answer of the server."""

    status: int
    headers: Mapping[str, str]
    """Found by their names in lower case."""

    body: bytes


class NotSent(msgspec.Struct, frozen=True):
    """The attempt failed before a byte was written: the server cannot have seen it."""

    cause: str


class Lost(msgspec.Struct, frozen=True):
    """The attempt was written, in part or whole, and no answer came: it may have run."""

    cause: str
    timed_out: bool


Attempt = HttpReply | NotSent | Lost


def cause_of(error: BaseException) -> str:
    """Return what failed, by the name of the error and what it says."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
