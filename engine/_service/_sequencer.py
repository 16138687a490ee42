"""In which order a model's numbered requests run: pure, without clock, threads or I/O."""

from collections import deque
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

T = TypeVar("T")

Verdict = Literal["new", "repeat", "conflict", "late", "far"]


@dataclass(frozen=True)
class _Seen:
    digest: bytes
    ticket: str


class Sequencer(Generic[T]):
    """Takes numbered requests in any order and hands them out in strict order, each once.

    Numbers start at 1. A request whose number is above the next one is held until the gap closes or, after
    ``timeout`` seconds without progress, given up together with all that are held beside it. A number that was
    refused is no gap: its client may use it again, with another body, until a later number has passed it.

    Args:
        timeout: seconds that a gap may last.
        reach: how far above the next number a request may be.
        window: how many of the last numbers are remembered to recognise repeats.
    """

    def __init__(self, timeout: float, *, reach: int = 4096, window: int = 8192) -> None:
        self._timeout: Final = timeout
        self._reach: Final = reach
        self._window: Final = window
        self._next = 1
        self._held: dict[int, T] = {}
        self._refused: set[int] = set()
        self._seen: dict[int, _Seen] = {}
        self._order: deque[int] = deque()
        self._stuck_since: float | None = None

    @property
    def next(self) -> int:
        """The lowest number that has not been handed out or given up."""
        return self._next

    @property
    def awaited(self) -> int:
        """The lowest number that has neither come nor been refused: a client that sends in order sends this one."""
        number = self._next
        while number in self._refused or number in self._held:
            number += 1
        return number

    @property
    def held(self) -> int:
        """How many requests wait behind a gap."""
        return len(self._held)

    def judge(self, number: int, digest: bytes) -> Verdict:
        """Say what a request of this number and body is.

        ``new`` may be accepted; ``repeat`` was accepted before; ``conflict`` is another body under a used number;
        ``late`` is below the next number and unknown (given up, or too long ago); ``far`` is out of reach.
        """
        seen = self._seen.get(number)
        if seen is not None:
            return "repeat" if seen.digest == digest else "conflict"
        if number < self._next:
            return "late"
        return "far" if number >= self._next + self._reach else "new"

    def ticket(self, number: int) -> str:
        """Return the ticket under which a remembered number was accepted."""
        return self._seen[number].ticket

    def accept(self, number: int, digest: bytes, ticket: str, item: T, now: float) -> list[T]:
        """Take a request that was judged ``new``; return what may run now, in order.

        ``item`` is held only until it is handed out; ``ticket`` is remembered, for repeats.
        """
        self._seen[number] = _Seen(digest, ticket)
        self._order.append(number)
        while len(self._order) > self._window and self._order[0] < self._next:
            del self._seen[self._order.popleft()]
        self._held[number] = item
        self._refused.discard(number)
        return self._advance(now)

    def refuse(self, number: int, now: float) -> list[T]:
        """Note that a request of this number was refused; return what may run now, in order."""
        if number in self._held or not self._next <= number < self._next + self._reach:
            return []
        self._refused.add(number)
        return self._advance(now)

    def expire(self, now: float) -> tuple[list[int], list[T]]:
        """Give up a gap that has lasted too long; return the missing numbers below the first held one, and all held.

        The numbers go on above the highest that was held.
        """
        if self._stuck_since is None or now - self._stuck_since < self._timeout:
            return [], []
        missing = [number for number in range(self._next, min(self._held)) if number not in self._refused]
        return missing, self.give_up()

    def give_up(self) -> list[T]:
        """Stop holding; return what was held, in order."""
        given_up = [self._held[number] for number in sorted(self._held)]
        if self._held:
            self._next = max(self._held) + 1
            self._refused = {number for number in self._refused if number >= self._next}
        self._held.clear()
        self._stuck_since = None
        return given_up

    def _advance(self, now: float) -> list[T]:
        ready: list[T] = []
        while self._held:
            if self._next in self._held:
                ready.append(self._held.pop(self._next))
            elif self._next in self._refused:
                self._refused.remove(self._next)
            else:
                break
            self._next += 1
        if not self._held:
            self._stuck_since = None
        elif ready or self._stuck_since is None:
            self._stuck_since = now
        return ready
