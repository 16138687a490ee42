"""Whether a request has gone out: decided once, between the io loop that sends it and an actor that calls it back."""


class Departure:
    """Claimed once: by the loop, and the request goes out, or by whoever calls it back, and it never does."""

    __slots__ = ("_claims",)

    def __init__(self) -> None:
        """Wait for the first claim."""
        self._claims = [True]

    def claim(self) -> bool:
        """Return True for the first caller only. Any thread, never waits."""
        try:
            return self._claims.pop()  # atomic
        except IndexError:
            return False
