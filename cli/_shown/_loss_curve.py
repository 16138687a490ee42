"""The losses of a run in a fixed space, however long it is."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

MOST: Final = 512
"""Buckets that are kept."""

_BARS: Final = " ▁▂▃▄▅▆▇█"
_STEPS: Final = len(_BARS) - 1
_RUNG: Final = 1e-12


class LossCurve:
    """Means over stretches of updates of equal length, which doubles whenever there are more than ``MOST``."""

    def __init__(self) -> None:
        self._length = 1
        self._buckets: dict[int, tuple[float, int]] = {}
        """From the number of a stretch to the sum of its losses, and how many there are."""

    def add(self, update: int, loss: float | None) -> None:
        """Note the loss of an update, counted from 1; one that is no finite number leaves no mark."""
        if loss is None or not math.isfinite(loss):
            return
        self._put((update - 1) // self._length, loss, 1)
        while len(self._buckets) > MOST or (update - 1) // self._length >= 2 * MOST:
            self._double()

    def rewind(self, update: int) -> None:
        """Forget what came after ``update``: it is trained anew.

        A stretch that ``update`` lies within is kept as it is.
        """
        self._buckets = {number: held for number, held in self._buckets.items() if number * self._length < update}

    def means(self) -> list[float]:
        """Return the means, oldest first."""
        return [self._buckets[number][0] / self._buckets[number][1] for number in sorted(self._buckets)]

    def _put(self, number: int, total: float, count: int) -> None:
        before = self._buckets.get(number, (0.0, 0))
        self._buckets[number] = before[0] + total, before[1] + count

    def _double(self) -> None:
        old, self._buckets = self._buckets, {}
        self._length *= 2
        for number, (total, count) in old.items():
            self._put(number // 2, total, count)


def draw_curve(values: Sequence[float], width: int, height: int = 1) -> list[str]:
    """Draw ``values`` with block characters: ``height`` lines, at most ``width`` columns, the largest value on top.

    The least value has the lowest block, so that a column is never empty.
    """
    columns = _columns([value for value in values if math.isfinite(value)], width)
    if not columns:
        return []
    low, high = min(columns), max(columns)
    levels = height * _STEPS
    filled = [1 + round((value / 2 - low / 2) / max(high / 2 - low / 2, _RUNG) * (levels - 1)) for value in columns]
    return [
        "".join(_BARS[min(max(level - below * _STEPS, 0), _STEPS)] for level in filled)
        for below in range(height - 1, -1, -1)
    ]


def _columns(values: Sequence[float], width: int) -> list[float]:
    """Return at most ``width`` means over neighbours."""
    if len(values) <= width:
        return list(values)
    edges = [len(values) * column // width for column in range(width + 1)]
    return [math.fsum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
