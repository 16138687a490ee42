"""The inbox of a GenServer: closing it and putting into it exclude each other, so that no message is lost."""

import threading
import weakref
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pykka
from pykka import messages

from tinkex.actors._genserver._envelope import Promise, Tell
from tinkex.actors._genserver._once import do_all
from tinkex.actors._runtime._park import Parker
from tinkex.protocol import Err, TinkexError

if TYPE_CHECKING:
    from pykka._envelope import Envelope

    from tinkex.actors._genserver._watch import Ending

OPEN: Final = 0
"""Everybody may put."""

DRAINING: Final = 1
"""Only the actor itself may put, by ``post``."""

CLOSED: Final = 2
"""Nobody may put; what is asked is answered with the ending."""


ActorStop: Final = messages._ActorStop  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
STOP: Final = ActorStop()
"""The message of an ordered stop; behind it, only the actor's own messages are queued."""


class Closed:
    """What the receive loop gets from a closed mailbox."""

    message: Any
    reply_to: ClassVar[None] = None

    def __init__(self) -> None:
        self.message = self


CLOSED_ENVELOPE: Final = Closed()


class Mailbox:
    """A queue of envelopes with one reader, the actor's thread.

    The lock is reentrant because a signal handler or a finalizer may interrupt a ``put`` and tell or stop the same
    actor. No callback runs under it.
    """

    __slots__ = (
        "__weakref__",
        "_answered",
        "_dropped",
        "_idle",
        "_lock",
        "_open",
        "_parker",
        "_queue",
        "current",
        "dead_letters",
        "ending",
        "forked",
        "state",
    )

    everyone: ClassVar["weakref.WeakSet[Mailbox]"] = weakref.WeakSet()
    """All mailboxes of the process, for the moment after a fork."""

    def __init__(self, parker: Parker) -> None:
        self._lock = threading.RLock()
        self._queue: deque[Tell | Promise] = deque()
        self._open: dict[Promise, None] = {}  # in order: who waits longest is answered first
        self._dropped: list[Promise] = []
        self._parker = parker
        self._idle = False
        self._answered = False
        self.current: Tell | Promise | None = None
        """What the actor is at; None while it waits."""
        self.state = OPEN
        self.ending: Ending | None = None
        """How it ends; set when it is closed."""
        self.dead_letters = 0
        """Told messages that were accepted and never handled."""
        self.forked = False
        self.everyone.add(self)

    # The senders' side

    def offer(self, envelope: Tell | Promise, limit: int = OPEN) -> bool:
        """Queue ``envelope`` unless the mailbox is beyond ``limit``; what is queued is handled or answered."""
        with self._lock:
            if self.state > limit:
                return False
            self._queue.append(envelope)
            if self.state == CLOSED:  # by what interrupted these lines; it answered the envelope if it saw it
                return not self._take_back(envelope)
            self._wake()
        return True

    def length(self) -> int:
        """How many messages wait. Any thread."""
        with self._lock:
            queued = tuple(self._queue)
        return sum(not envelope.taken and envelope.message is not STOP for envelope in queued)

    def put(self, envelope: "Envelope[Any]") -> None:
        """Queue an envelope of pykka's own, for the sake of whoever bypasses the ref."""
        future = envelope.reply_to
        if future is None:
            if not self.offer(Tell(envelope.message)):
                raise pykka.ActorDeadError(str(self.refusal()))
            return
        promise = Promise(envelope.message, self)
        promise.subscribe_once(lambda: future.set(promise.value()))
        if not self.offer(promise):
            promise.settle(Err(self.refusal()))

    def withdraw(self, promise: Promise) -> bool:
        """Keep a queued ask from being handled; False if the actor took it up, or it was answered."""
        with self._lock:
            if promise.taken or promise.settled:
                return False
            promise.taken = True
            promise.message = None
            return True

    def drop(self, promise: Promise) -> None:
        """Have the actor's thread tell a deferred that its reply was dropped. Takes no lock: finalizers call it."""
        self._dropped.append(promise)
        self._parker.unpark()

    def refusal(self) -> TinkexError:
        """Say why nothing can be put."""
        if self.forked:
            return TinkexError(
                "the actor lives in the parent of this process: start another one after the fork",
                kind="actor_dead",
                category="user",
            )
        if self.ending is not None:
            return self.ending.error()
        return TinkexError("the actor is stopping", kind="actor_dead", category="unknown", data={"reason": "stopping"})

    # The actor's side

    def get(self) -> Any:
        """Wait for the next envelope, in the actor's thread."""
        done = self.current
        if done is not None:
            done.message = None
        while True:
            while self._dropped:
                self._dropped.pop().abandon("dropped")
            with self._lock:
                if self.state == CLOSED:
                    self.current = None
                    return CLOSED_ENVELOPE
                while self._queue:
                    envelope = self._queue.popleft()
                    if not envelope.taken:
                        envelope.taken = True
                        self.current = envelope
                        return envelope
                self.current = None
                self._idle = True
            self._parker.park()

    def empty(self) -> bool:
        """Leave nothing to pykka's own teardown, which would answer with an exception."""
        return True

    def hold(self, promise: Promise) -> bool:
        """Keep an ask whose handler deferred the reply; False if the end has come and answered it."""
        with self._lock:
            if not self._answered:
                self._open[promise] = None
                return True
        promise.settle(Err(self.refusal()))
        return False

    def release(self, promise: Promise) -> None:
        """Forget an ask that was held."""
        with self._lock:
            self._open.pop(promise, None)

    # The end

    def drain(self) -> bool:
        """Queue a stop as the last thing that comes from outside; False if that was done before."""
        with self._lock:
            if self.state != OPEN:
                return False
            self.state = DRAINING
            self._queue.append(Tell(STOP))
            self._wake()
        return True

    def close(self, ending: "Ending") -> bool:
        """Take nothing more and answer what is queued; False if that was done before."""
        with self._lock:
            if self.state == CLOSED:
                return False
            self.state = CLOSED
            self.ending = ending
            queued = [envelope for envelope in self._queue if not envelope.taken]
            self._queue.clear()
        self._parker.unpark()
        asked = [envelope for envelope in queued if isinstance(envelope, Promise)]
        self.dead_letters += sum(envelope.message is not STOP for envelope in queued) - len(asked)
        _answer(asked, ending)
        return True

    def answer(self, ending: "Ending") -> None:
        """Answer everything that was taken up and not answered yet. The mailbox must be closed."""
        with self._lock:
            self._answered = True
            waiting = list(self._open)
            self._open.clear()
            current = self.current
        if isinstance(current, Promise):
            waiting.append(current)
        _answer(waiting, ending)

    def abandon_after_fork(self) -> None:
        """Be closed, in the child of a fork, where the actor's thread is no more. Takes no lock of before."""
        self._lock = threading.RLock()
        self.forked = True
        self.state = CLOSED
        waiting = [*self._queue, *self._open, self.current]
        self._answered = True
        self._queue.clear()
        self._open.clear()
        for envelope in waiting:
            if isinstance(envelope, Promise):
                envelope.settle(Err(self.refusal()))

    def _wake(self) -> None:
        # In this order: Ctrl-C in between wakes the reader once too often, never too seldom.
        if self._idle:
            self._parker.unpark()
            self._idle = False

    def _take_back(self, envelope: Tell | Promise) -> bool:
        try:
            self._queue.remove(envelope)
        except ValueError:
            return False
        return True


def _answer(promises: list[Promise], ending: "Ending") -> None:
    do_all(partial(_answer_one, promise, ending) for promise in promises)


def _answer_one(promise: Promise, ending: "Ending") -> None:
    promise.message = None
    if not promise.settled:
        promise.settle(Err(ending.error()))
