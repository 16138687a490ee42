"""One message on its way to a name, which may have to wait until somebody bears it."""

import math
import threading
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from tinkex.actors._genserver._client import await_timeout
from tinkex.actors._genserver._envelope import Promise, Tell, cancelled
from tinkex.actors._genserver._mailbox import Mailbox
from tinkex.actors._runtime._clock import Clock, Timer
from tinkex.actors._runtime._log import log
from tinkex.protocol import Err, Request, TinkexError

HELD: Final = 0
"""It waits."""

OFFERED: Final = 1
"""It is being put into a mailbox."""

SENT: Final = 2
"""A mailbox has it."""

OVER: Final = 3
"""It was answered here: nobody gets it any more."""

_LEAST_SECONDS: Final = 0.001
"""What is left of an ``await_timeout`` that passes just now; the actor answers it."""


class Carrier(Protocol):
    """Who brings parcels to names."""

    @property
    def clock(self) -> Clock:
        """Its time."""
        ...

    def send(self, parcel: "Parcel") -> bool:
        """Deliver or hold; False if there is nobody to wait for."""
        ...

    def forget(self, parcel: "Parcel") -> None:
        """Hold it no longer."""
        ...


class Parcel:
    """A message to ``name``. To the promise of an asked one it stands for the mailbox, until there is one.

    Its lock is never held while it calls out. What waits is delivered, withdrawn, expired or given up: one of them.

    Args:
        carrier: who brings it.
        name: whom to.
        waits: whether it is held while nobody bears the name.
    """

    __slots__ = (
        "_by",
        "_carrier",
        "_envelope",
        "_lock",
        "_mailbox",
        "_seconds",
        "_state",
        "_timer",
        "_unwanted",
        "name",
        "waits",
    )

    def __init__(self, carrier: Carrier, name: str, waits: bool) -> None:
        self.name: Final = name
        self.waits: Final = waits
        self._carrier: Final = carrier
        self._lock = threading.RLock()
        self._state = HELD
        self._unwanted = False
        self._envelope: Promise | Tell | None = None
        self._mailbox: Mailbox | None = None
        self._seconds: float | None = None
        self._by = math.inf
        self._timer: Timer | None = None

    # What a promise wants of its mailbox

    def offer(self, envelope: Promise | Tell, /) -> bool:
        """Send it; False if nobody bears the name, nor will as far as is known."""
        self._envelope = envelope
        self._seconds = _seconds(envelope.message)
        if self.waits and self._seconds is not None:
            self._by = self._carrier.clock.monotonic() + self._seconds
        return self._carrier.send(self)

    def refusal(self) -> TinkexError:
        """Say why."""
        return nobody(self.name)

    def hold(self, promise: Promise) -> bool:
        """See ``Mailbox.hold``."""
        return self._there.hold(promise)

    def release(self, promise: Promise) -> None:
        """See ``Mailbox.release``."""
        self._there.release(promise)

    def drop(self, promise: Promise) -> None:
        """See ``Mailbox.drop``."""
        self._there.drop(promise)

    def withdraw(self, promise: Promise) -> bool:
        """Keep it from being handled; False if it is too late."""
        with self._lock:
            state = self._state
            if state == HELD:
                self._state = OVER
            elif state == OFFERED:
                self._unwanted = True
        if state == HELD:
            promise.taken = True
            promise.message = None
            self._finish()
            return True
        return state == SENT and self._there.withdraw(promise)

    # The carrier's side

    def deliver(self, mailbox: Mailbox, *, late: bool = False) -> bool:
        """Put it into ``mailbox``; False if that takes nothing, and it is to be held on.

        Args:
            mailbox: of the actor that bears the name.
            late: whether it was held; its actor gets what is left of its ``await_timeout``.
        """
        with self._lock:
            envelope = self._envelope
            if self._state == OVER or envelope is None:
                return True
            self._state, self._mailbox = OFFERED, mailbox
        if late:
            self._shorten(envelope)
        sent = mailbox.offer(envelope)
        with self._lock:
            self._state = SENT if sent else OVER if self._unwanted else HELD
            over = self._state == OVER
        if over:
            self._answer(envelope, cancelled("not_sent"))
        if sent or over:
            self._finish()
        return sent or over

    def arm(self) -> None:
        """Let it wait no longer than its ``await_timeout``."""
        seconds = self._seconds
        if seconds is None or not self.waits or self._timer is not None:
            return
        clock = self._carrier.clock
        self._timer = timer = clock.call_later(self._by - clock.monotonic(), self._expire)
        if self._state in (SENT, OVER):
            timer.cancel()

    def give_up(self, why: Callable[[], TinkexError]) -> bool:
        """Answer it, if it still waits."""
        with self._lock:
            if self._state != HELD:
                return False
            self._state = OVER
        envelope = self._envelope
        self._finish()
        if envelope is not None:
            self._answer(envelope, why())
        return True

    def abandon_after_fork(self) -> None:
        """Answer it in the child of a fork, where nobody bears the name. Takes no lock of before."""
        self._lock = threading.RLock()
        self.give_up(lambda: nobody(self.name))

    def _expire(self) -> None:
        seconds, envelope = self._seconds, self._envelope
        if seconds is not None and envelope is not None:
            what = f"{type(envelope.message).__name__} to {self.name!r}"
            self.give_up(lambda: await_timeout(what, seconds, "not_sent"))

    def _shorten(self, envelope: Promise | Tell) -> None:
        message = envelope.message
        if self._seconds is not None and isinstance(message, msgspec.Struct):
            left = max(self._by - self._carrier.clock.monotonic(), _LEAST_SECONDS)
            envelope.message = msgspec.structs.replace(message, await_timeout=left)

    def _answer(self, envelope: Promise | Tell, error: TinkexError) -> None:
        if isinstance(envelope, Promise):
            envelope.message = None
            envelope.settle(Err(error))
        else:
            log().warning("a told message was refused", error=str(error))

    def _finish(self) -> None:
        self._envelope = None
        if self._timer is not None:
            self._timer.cancel()
        self._carrier.forget(self)

    @property
    def _there(self) -> Mailbox:
        assert self._mailbox is not None
        return self._mailbox


def nobody(name: str) -> TinkexError:
    """Build the error of a message to a name that nobody bears."""
    return TinkexError(
        f"no actor is there under the name {name!r}",
        kind="actor_dead",
        category="unknown",
        data={"name": name, "outcome": "not_sent"},
    )


def _seconds(message: object) -> float | None:
    """Return how long a message may wait; one that makes no sense is left to the actor to refuse."""
    seconds: object = message.await_timeout if isinstance(message, Request) else None
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0.0 < seconds < math.inf:
        return seconds
    return None
