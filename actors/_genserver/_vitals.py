"""What an actor is at, seen from outside without asking it."""

from dataclasses import dataclass
from typing import Literal

VitalState = Literal["idle", "busy", "stopping", "dead"]


@dataclass(frozen=True)
class Vitals:
    """One look at an actor; ``GenRef.vitals`` takes it."""

    state: VitalState
    """``idle``: it waits for messages; ``busy``: it handles one; ``stopping``: it takes nothing more from outside."""

    mailbox: int
    """Messages that wait; the one that is handled is not among them."""

    uptime: float
    """Seconds since its start."""
