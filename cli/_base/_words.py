"""Numbers in words, short enough for a line."""

import math
from typing import Final

_UNITS: Final = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))
NOTHING: Final = "-"


def span(seconds: float | None) -> str:
    """Return a span, such as ``2 h 5 min``."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    seconds = max(seconds, 0.0)
    for size, unit, next_size, next_unit in _UNITS:
        if seconds >= size:
            first, rest = divmod(int(seconds), size)
            second = rest // next_size
            return f"{first} {unit} {second} {next_unit}" if second else f"{first} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1.0 else f"{seconds:.1f} s"


def count(number: float | None) -> str:
    """Return a whole number with its thousands apart."""
    return NOTHING if number is None or not math.isfinite(number) else f"{number:,.0f}"


def loss_word(loss: float | None) -> str:
    """Return a loss, four digits behind the point."""
    return NOTHING if loss is None else f"{loss:.4f}"


def of_updates(update: int, updates: int | None) -> str:
    """Return ``12 of 400``, or ``12`` where nobody knows how many there are."""
    return count(update) if updates is None else f"{count(update)} of {count(updates)}"


def plural(number: int, noun: str) -> str:
    """Return ``1 update`` or ``2 updates``."""
    return f"{count(number)} {noun}" + ("" if number == 1 else "s")
