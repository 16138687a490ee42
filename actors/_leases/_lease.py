"""What we hold on a server: sessions, and models in them. Data, from the intent to ask until the release."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from tinkex.actors._leases._ledger_records import (
    ModelIntended,
    ModelOpened,
    ModelReleased,
    SessionIntended,
    SessionReleased,
)
from tinkex.actors._leases._session import Session
from tinkex.protocol import LoraConfig
from tinkex.protocol.replies import LeaseReport

if TYPE_CHECKING:
    from tinkex.actors._leases._ledger import Ledger

LeaseState = Literal["intent", "owned", "releasing", "expiring", "released"]

SESSION_EXPIRES_SECONDS: Final = 300.0
"""After how long without a heartbeat servers sweep a session; a lease we could not release is gone by then."""


class Lease(msgspec.Struct, eq=False):
    """A model on the server. Changed on the io loop only, read anywhere.

    Args:
        number: this book's own count.
        session: where the model lives.
        owns_session: whether the session exists for this model alone, so that its finish is the model's end.
        model_seq_id: the model's number in its session; never used twice.
        base_model: the model's base.
        lora: the model's adapter.
        user_metadata: kept with the model.
        since: epoch seconds of the intent.
    """

    number: int
    session: Session
    owns_session: bool
    model_seq_id: int
    base_model: str
    lora: LoraConfig
    user_metadata: dict[str, str] | None
    since: float
    asked: bool = False
    """Whether a create_model may have reached the server."""

    model_id: str | None = None
    state: LeaseState = "intent"
    reason: str = ""
    expires: float | None = None
    inside: "tuple[Lease, ...]" = ()
    """Of a session that a process left which is gone: the models that may be in it."""

    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)

    def opened(self, model_id: str) -> str:
        """Keep the id that the server gave its model, and return it."""
        self.model_id = model_id
        if self.session.ledger is not None:
            self.session.ledger.note(ModelOpened(self.session.idempotency_key, self.model_seq_id, model_id))
        return model_id

    def has_expired(self, now: float) -> bool:
        """Whether its session must have expired by ``now``; a session that somebody keeps alive never has."""
        expires = self.expires if self.expires is not None else self.session.expires
        return expires is not None and expires <= now

    def report(self) -> LeaseReport:
        """Return what ``Leaks()`` says about this lease."""
        return LeaseReport(
            model_id=self.inside[0].model_id if len(self.inside) == 1 else self.model_id,
            session_id=self.session.session_id,
            state=self.state,
            since=self.since,
            reason=self.reason,
        )


class LeaseBook:
    """Every lease of one service client that is not released. Safe from any thread.

    Args:
        ledger: where all of it is written down before anything is sent; None keeps it in memory alone.
    """

    def __init__(self, ledger: "Ledger | None" = None) -> None:
        """Open an empty book."""
        self._ledger = ledger
        self._lock = threading.Lock()
        self._leases: dict[int, Lease] = {}
        self._sessions: list[Session] = []
        self._numbers = itertools.count(1)

    def open_session(self, tags: list[str], user_metadata: dict[str, str]) -> Session:
        """Note the intent to ask for a session, before anything is sent."""
        session = Session(tags, user_metadata, ledger=self._ledger)
        if self._ledger is not None:
            self._ledger.note(SessionIntended(session.idempotency_key, tags, user_metadata, self._ledger.now()))
        with self._lock:
            self._sessions.append(session)
        return session

    def intend(
        self,
        session: Session,
        *,
        owns_session: bool,
        model_seq_id: int,
        base_model: str,
        lora: LoraConfig,
        user_metadata: dict[str, str] | None,
        since: float,
    ) -> Lease:
        """Note the intent to ask for a model, before anything is sent."""
        lease = Lease(self.next_number(), session, owns_session, model_seq_id, base_model, lora, user_metadata, since)
        if session.ledger is not None:
            key = session.idempotency_key
            session.ledger.note(ModelIntended(key, model_seq_id, base_model, lora, user_metadata, since))
        with self._lock:
            self._leases[lease.number] = lease
        return lease

    def inherit(self, lease: Lease) -> None:
        """Take in what a process left that is gone; it is written down already."""
        with self._lock:
            self._leases[lease.number] = lease

    def next_number(self) -> int:
        """Return a number for a lease."""
        return next(self._numbers)

    def close(self, lease: Lease) -> None:
        """Forget a lease that is released, and with it the session that it owned."""
        lease.state = "released"
        with self._lock:
            self._leases.pop(lease.number, None)
        ledger = lease.session.ledger
        if lease.owns_session:
            self.close_session(lease.session)
        elif ledger is not None:
            ledger.note(ModelReleased(lease.session.idempotency_key, lease.model_seq_id))

    def close_session(self, session: Session) -> None:
        """Forget a session that is no more, and with it the models that lived in it."""
        with self._lock:
            if session in self._sessions:
                self._sessions.remove(session)
            inside = [lease for lease in self._leases.values() if lease.session is session]
            for lease in inside:
                lease.state = "released"
                del self._leases[lease.number]
        if session.ledger is not None:
            session.ledger.note(SessionReleased(session.idempotency_key))

    def leases(self) -> tuple[Lease, ...]:
        """Return the leases that are not released, oldest first."""
        with self._lock:
            return tuple(self._leases.values())

    def sessions(self) -> tuple[Session, ...]:
        """Return the sessions that are not finished, oldest first."""
        with self._lock:
            return tuple(self._sessions)

    def leaks(self, now: float) -> Iterator[Lease]:
        """Yield the leases that nobody owns and that could not be released yet.

        Those that must have expired by ``now`` are forgotten. A release that is on its way for the first time is none.
        """
        for lease in self.leases():
            if lease.expires is not None and lease.expires <= now:
                self.close(lease)
            elif lease.state == "expiring" or (lease.state == "releasing" and lease.reason):
                yield lease
