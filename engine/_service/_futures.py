"""Results that come later, and those who wait for them. Lives on the event loop."""

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from tinkex.engine._base._errors import OperationFailed
from tinkex.protocol import wire

_UNREAD_RETENTION: Final = 24 * 3600.0
"""Seconds for which a result is kept that nobody asks for."""


@dataclass
class _Entry:
    owner: str
    answer: msgspec.Struct | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)
    read: bool = False


class Futures:
    """All accepted requests by their ids. Reading a result does not remove it; time does, once it was read.

    Args:
        clock: monotonic seconds.
        retention: seconds for which a result that was read can be read again.
    """

    def __init__(self, clock: Callable[[], float], retention: float) -> None:
        self._clock: Final = clock
        self._retention: Final = retention
        self._entries: dict[str, _Entry] = {}
        self._settled: deque[tuple[float, str]] = deque()
        """When each may be forgotten if nobody reads it, in order of time."""
        self._read: deque[tuple[float, str]] = deque()
        """When each that was read may be forgotten, in order of time."""
        self._closing = False
        self.polls = 0
        """How many waits are open."""
        self.pending = 0
        """How many futures have no answer yet."""

    def open(self, owner: str) -> str:
        """Begin a future of an owner; return its id."""
        request_id = f"req-{secrets.token_hex(12)}"
        self._entries[request_id] = _Entry(owner)
        self.pending += 1
        return request_id

    def cancel(self, request_id: str) -> None:
        """Forget a future that nobody was told of."""
        del self._entries[request_id]
        self.pending -= 1

    def settle(self, request_id: str, outcome: msgspec.Struct | OperationFailed) -> None:
        """End a future; the first outcome stays."""
        entry = self._entries.get(request_id)
        if entry is not None and entry.answer is None:
            self.pending -= 1
            entry.answer = failed_future(outcome) if isinstance(outcome, OperationFailed) else outcome
            self._settled.append((self._clock() + _UNREAD_RETENTION, request_id))
            entry.done.set()

    def known(self, request_id: str, owner: str) -> bool:
        """Whether the id is one of that owner's, and not forgotten."""
        entry = self._entries.get(request_id)
        return entry is not None and entry.owner == owner

    async def wait(self, request_id: str, seconds: float) -> msgspec.Struct | None:
        """Return the answer of a known future, or None where ``seconds`` pass without one."""
        entry = self._entries[request_id]
        if entry.answer is None and not self._closing:
            self.polls += 1
            try:
                async with asyncio.timeout(seconds):
                    await entry.done.wait()
            except TimeoutError:
                pass
            finally:
                self.polls -= 1
        if entry.answer is not None and not entry.read:
            entry.read = True
            self._read.append((self._clock() + self._retention, request_id))
        return entry.answer

    def release(self) -> None:
        """End all waits, for the engine's own end; what is not done stays so."""
        self._closing = True
        for entry in self._entries.values():
            entry.done.set()

    def sweep(self) -> None:
        """Forget what was read long enough ago, and what was not read for much longer."""
        now = self._clock()
        while self._read and self._read[0][0] <= now:
            del self._entries[self._read.popleft()[1]]
        while self._settled and self._settled[0][0] <= now:
            request_id = self._settled.popleft()[1]
            entry = self._entries.get(request_id)
            if entry is not None and not entry.read:
                del self._entries[request_id]


def failed_future(failure: OperationFailed) -> wire.FailedFuture:
    """Build the answer that tells of a failure."""
    error = {"message": failure.message, "category": failure.category}
    if failure.code is not None:
        error["code"] = failure.code
    return wire.FailedFuture(error, failure.category)
