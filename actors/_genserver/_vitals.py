"""What an actor is at, seen from outside without asking it."""

from typing import Literal

import msgspec

VitalState = Literal["idle", "busy", "stopping", "dead"]


class Vitals(msgspec.Struct, frozen=True):
    """One look at an actor; ``GenRef.vitals`` takes it."""

    state: VitalState
    """``idle``: it waits for messages; ``busy``: it handles one; ``stopping``: it takes nothing more from outside."""

    mailbox: int
    """Messages that wait; the one that is handled is not among them."""

    uptime: float
    """Seconds since its start."""
