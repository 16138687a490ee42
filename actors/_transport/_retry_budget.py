"""How many repeats a server is asked to bear. Pure."""

from typing import Final

SHARE: Final = 0.2
"""Repeats that every new request pays for."""

PER_SECOND: Final = 10.0
"""Repeats that are always to be had."""

BURST: Final = 20.0
"""Repeats that can be saved up."""

LONGEST_SECONDS: Final = 10.0
"""The longest that a repeat waits for the budget."""


class RetryBudget:
    """A bucket of tokens, of which every repeat takes one; where there is none, the repeat waits for its own.

    In ``s`` seconds with ``n`` new requests no more than ``BURST + SHARE * n + PER_SECOND * s`` repeats go out, unless
    that would hold one up for more than ``LONGEST_SECONDS``: a budget delays, it never decides.
    """

    def __init__(self) -> None:
        """Begin with a full bucket."""
        self._tokens = BURST
        self._at = 0.0

    def deposit(self) -> None:
        """Note a new request."""
        self._tokens = min(BURST, self._tokens + SHARE)

    def withdraw(self, now: float) -> float:
        """Take a token for a repeat; return the seconds that it waits longer than its back-off."""
        self._tokens = min(BURST, self._tokens + max(0.0, now - self._at) * PER_SECOND)
        self._at = max(self._at, now)
        self._tokens = max(self._tokens - 1.0, -LONGEST_SECONDS * PER_SECOND)
        return max(0.0, -self._tokens / PER_SECOND)
