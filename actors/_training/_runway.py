"""The sends of one model on the io loop: each begins when the server has taken the one before, without its actor.

What to send, and under which number, is the actor's to decide. It may decide ahead, and call back what has not begun.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tinkex.actors._runtime._io import IoTask
from tinkex.actors._training._sequence import Send
from tinkex.actors._transport import Accepted, Departure


class Flight(NamedTuple):
    """What is to be sent, and what sends it."""

    send: Send
    task: IoTask[Any]
    departure: Departure
    asks: bool
    """Whether the task goes on to ask for the result."""


class Heard(NamedTuple):
    """An acceptance."""

    send: Send
    sent: Accepted
    request_id: str


class Runway:
    """One send at a time is on its way; those behind it are begun here, in order. Never waits.

    Args:
        wake: called on the io loop when the actor should look at what was accepted.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        """Begin with nothing on its way."""
        self._wake = wake
        self._lock = threading.Lock()
        self._staged: deque[Flight] = deque()
        self._flying: Flight | None = None
        self._ready: Flight | None = None
        self._halts = 0
        self._heard: deque[Heard] = deque()
        self._wake_below = 0
        self._woken = False

    # The actor's thread

    def stage(self, flight: Flight) -> bool:
        """Have ``flight`` begin behind what was staged before; return True for the first, which ``depart`` begins."""
        with self._lock:
            if self._flying is not None or self._halts:
                self._staged.append(flight)
                return False
            self._flying = self._ready = flight
            return True

    def depart(self) -> None:
        """Begin what was staged while nothing was on its way."""
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.task.begin()

    def recall(self, *, heard: bool) -> list[Flight]:
        """Take back what has not begun, newest first: it never will.

        ``heard`` says that the actor has heard of one of the failures that halt this. Only when it has heard of all of
        them does anything begin again: it may call back for another reason before it knows of a failure.
        """
        with self._lock:
            self._halts -= heard
            if self._halts < 0:
                raise AssertionError("a failure is heard of once, and on the io loop first")
            staged = list(reversed(self._staged))
            self._staged.clear()
        for flight in staged:
            flight.task.refuse()
        return staged

    def land(self, flight: Flight) -> None:
        """Hear that ``flight`` is not on its way any more, and begin what is staged behind it."""
        with self._lock:
            following = self._next(flight.send)
        if following is not None:
            following.task.begin()

    def listen(self, below: int) -> bool:
        """Be woken by an acceptance behind which fewer than ``below`` are staged; return whether one was heard yet."""
        self._wake_below = below
        return bool(self._heard)

    def heard(self) -> Iterator[Heard]:
        """Give each acceptance since the last time, in order."""
        self._woken = False
        while self._heard:
            yield self._heard.popleft()

    # The io loop

    def accepted(self, send: Send, sent: Accepted, request_id: str) -> None:
        """Note the acceptance, begin what is staged behind it, and wake the actor if it wants to be."""
        self._heard.append(Heard(send, sent, request_id))
        with self._lock:
            following = self._next(send)
            left = len(self._staged)
        if following is not None:
            following.task.begin_here()
        if left < self._wake_below and not self._woken:
            self._woken = True
            self._wake()

    def halt(self) -> None:
        """Begin nothing more until the actor has heard of this failure, and has called back what is staged."""
        with self._lock:
            self._halts += 1

    def _next(self, send: Send) -> Flight | None:
        if self._flying is None or self._flying.send is not send:  # it was given up, and others may be on their way
            return None
        self._flying = None
        if not self._halts and self._staged:
            self._flying = self._staged.popleft()
        return self._flying
