"""The timer queue that both clocks share."""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from math import isnan
from typing import Final

_SLACK: Final = 64


class TimerEntry:
    """One call in the future. Whoever takes the function out of the cell decides: the firing or the cancel."""

    __slots__ = ("_cell",)

    def __init__(self, fn: Callable[[], object]) -> None:
        """Hold ``fn`` until it is taken."""
        self._cell = [fn]

    @property
    def waiting(self) -> bool:
        """Whether it neither fired nor was cancelled."""
        return bool(self._cell)

    def take(self) -> Callable[[], object] | None:
        """Return the function to the first who asks, None to all others."""
        try:
            return self._cell.pop()
        except IndexError:
            return None

    def cancel(self) -> bool:
        """Return True only if it will not fire. Any thread, takes no lock."""
        return self.take() is not None


class TimerQueue:
    """Timers by due time, first come first served among equals.

    ``add`` may be called by any thread, inside a finalizer too: it takes no lock. All else is one owner's at a time.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._added: deque[tuple[float, int, TimerEntry]] = deque()
        self._heap: list[tuple[float, int, TimerEntry]] = []
        self._order = itertools.count()
        self._sweep_at = _SLACK

    def add(self, due: float, fn: Callable[[], object]) -> TimerEntry:
        """Add ``fn`` at ``due`` seconds of the owner's time."""
        if isnan(due):
            raise ValueError("a timer's delay must be a number")
        entry = TimerEntry(fn)
        self._added.append((due, next(self._order), entry))
        return entry

    def added(self) -> int:
        """How many the owner has not looked at yet. Any thread."""
        return len(self._added)

    def next_due(self) -> float | None:
        """When the next timer is due; None without one."""
        self._sort_in()
        heap = self._heap
        while heap and not heap[0][2].waiting:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_due(self, now: float) -> tuple[float, Callable[[], object]] | None:
        """Take out the first timer that is due at ``now``, with the time it was due at."""
        self._sort_in()
        heap = self._heap
        while heap and heap[0][0] <= now:
            due, _, entry = heapq.heappop(heap)
            fn = entry.take()
            if fn is not None:
                return due, fn
        return None

    def waiting(self) -> int:
        """How many timers wait."""
        self._sort_in()
        return sum(entry.waiting for _, _, entry in self._heap)

    def _sort_in(self) -> None:
        while self._added:
            heapq.heappush(self._heap, self._added.popleft())
        if len(self._heap) > self._sweep_at:  # the cancelled ones go when they are about half
            self._heap = [item for item in self._heap if item[2].waiting]
            heapq.heapify(self._heap)
            self._sweep_at = 2 * len(self._heap) + _SLACK
