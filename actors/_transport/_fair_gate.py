"""How many requests, and how many bytes of them, are on their way at once. Pure."""

from collections import deque
from collections.abc import Callable


class Place:
    """A request's place behind the gate, or in the queue before it."""

    __slots__ = ("entered", "size", "wake")

    def __init__(self, size: int) -> None:
        self.size = size
        self.entered = False
        self.wake: Callable[[], object] | None = None
        """Told when it enters after a wait."""


class FairGate:
    """Lets requests in strictly in the order in which they asked, so that none starves.

    Args:
        places: how many may be inside, above 0.
        size: how many bytes; a body larger than that goes alone. None for any number.
    """

    def __init__(self, places: int, size: int | None = None) -> None:
        """Begin empty."""
        self.places = places
        self.size = size
        self.inside = 0
        self.bytes_inside = 0
        self._queue = deque[Place]()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    def ask(self, size: int = 0) -> Place:
        """Return a place for a body of ``size`` bytes: entered already, or to be told when it is."""
        place = Place(size)
        self._queue.append(place)
        if len(self._queue) == 1:
            self._let_in()
        return place

    def give_back(self, place: Place) -> None:
        """Leave, from inside or from the queue; whoever can enter now does. To be called once."""
        if place.entered:
            place.entered = False
            self.inside -= 1
            self.bytes_inside -= place.size
        else:
            self._queue.remove(place)
        self._let_in()

    def _let_in(self) -> None:
        while self._queue and self._fits(self._queue[0]):
            place = self._queue.popleft()
            place.entered = True
            self.inside += 1
            self.bytes_inside += place.size
            if place.wake is not None:
                place.wake()

    def _fits(self, place: Place) -> bool:
        if self.inside >= self.places:
            return False
        return self.size is None or self.inside == 0 or self.bytes_inside + place.size <= self.size
