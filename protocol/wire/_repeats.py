"""Numbers that repeat, as JSON text: masks of weights are long runs of few numbers, which take long to write singly."""

from collections.abc import Callable
from typing import Final

MIN_VALUES: Final = 32
"""Fewer are written singly as fast."""

MAX_RUNS: Final = 8


def runs(buffer: bytes, width: int) -> list[tuple[int, int]] | None:
    """Find the runs of equal numbers in ``buffer``.

    Args:
        buffer: bytes of numbers behind each other.
        width: bytes of each number.

    Returns:
        The index of each run's first number, and how many it has; None where there are more than ``MAX_RUNS``, and
        where neither the first nor the last two numbers are equal, as hardly ever in a mask.
    """
    if buffer[:width] != buffer[width : 2 * width] and buffer[-width:] != buffer[-2 * width : -width]:
        return None
    found: list[tuple[int, int]] = []
    begin, end = 0, len(buffer)
    while begin < end:
        if len(found) == MAX_RUNS:
            return None
        size = width
        # Bytes that equal themselves moved by one number are a run. Each look is twice as far, or half as far.
        step = width
        while step >= width:
            wanted = min(size + step, end - begin)
            if wanted > size and _repeats(buffer[begin : begin + wanted], width):
                size, step = wanted, step * 2
            else:
                step //= 2
        found.append((begin // width, size // width))
        begin += size
    return found


def written(runs: list[tuple[int, int]], text: Callable[[int], bytes]) -> bytes:
    """Return a JSON list of runs; ``text`` writes the number at an index."""
    return b"[" + b",".join(b",".join([text(index)] * count) for index, count in runs) + b"]"


def _repeats(numbers: bytes, width: int) -> bool:
    return numbers[width:] == numbers[:-width]
