"""One call of a training client on its way: pure data."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from tinkex.actors._runtime._waiting import Waiting

PartState = Literal["unsent", "sending", "accepted", "done"]


class ProtobufForm(msgspec.Struct, frozen=True):
    """The same request for servers that do not take it in JSON; its functions import protobuf when they are called."""

    pays: bool
    """Whether it is worth it where the server takes both: small bodies stay what everybody can read."""

    path: str
    encode: Callable[[int], bytes]
    decode: Callable[[bytes], Any]


class Part(msgspec.Struct):
    """One HTTP request of a call; calls with much data have several."""

    path: str
    encode: Callable[[int], bytes]
    """From the number to the body, so that a number is only taken when the request is sent."""

    decode: Callable[[bytes], Any]
    """From the raw result to its typed form; raises ``TinkexError`` (kind ``protocol``)."""

    protobuf: ProtobufForm | None = None
    """Passes have this other form; the rest of the wire is JSON everywhere."""

    state: PartState = "unsent"
    seq_id: int | None = None
    request_id: str | None = None
    result: Any = None


class Operation(msgspec.Struct, eq=False):
    """A call: what is sent for it, and how its caller is answered.

    Args:
        number: this client's own count of calls, for messages about it.
        name: the message's name in the wire's spelling, such as ``"save_weights"``.
        parts: its requests, in order, never empty.
        join: from the parts' typed results to the reply's value.
        makes_gradients: whether a failed result leaves gradients that nobody can vouch for.
        uses_gradients: whether it must not count as done behind such a failure.
        save_name: the checkpoint's name, where an "exists" answer may be our own doing.
        nonce: what proves that, found in the checkpoint's metadata.
    """

    number: int
    name: str
    parts: Sequence[Part]
    join: Callable[[Sequence[Any]], Any]
    makes_gradients: bool = False
    uses_gradients: bool = False
    save_name: str | None = None
    nonce: str | None = None
    ambiguous: bool = False
    """Whether an attempt to send it may have arrived without our learning of it."""

    server_time: float | None = None
    """The server's own clock (epoch seconds) as last heard before the first attempt."""

    answered: bool = False
    waiting: Waiting | None = None
    """What it waits for; None before it was queued."""

    def observe(self, state: str, reason: str | None) -> None:
        """Hear what it waits for, once it was queued."""
        if self.waiting is None:
            raise AssertionError("an operation is followed from the moment that it is queued")
        self.waiting.heard(state, reason)

    @property
    def brief(self) -> bool:
        """Whether it is one small request, of which many may be written ahead."""
        return len(self.parts) == 1 and (self.parts[0].protobuf is None or not self.parts[0].protobuf.pays)

    @property
    def sent(self) -> bool:
        """Whether any byte of it may have reached the server."""
        return any(part.state != "unsent" for part in self.parts)

    @property
    def accepted(self) -> bool:
        """Whether the server took all of it."""
        return all(part.state in ("accepted", "done") for part in self.parts)

    @property
    def done(self) -> bool:
        """Whether every result is there."""
        return all(part.state == "done" for part in self.parts)

    @property
    def first_seq_id(self) -> int | None:
        """The number of its first request, None before it was taken."""
        return self.parts[0].seq_id

    @property
    def outcome(self) -> Literal["not_sent", "running", "unknown"]:
        """What a caller who stops waiting must know: whether a repeat could train twice."""
        if not self.sent:
            return "not_sent"
        return "running" if self.accepted else "unknown"
