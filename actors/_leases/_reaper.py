"""The reaper: releases what nobody owns any more, and says what could not be released."""

from functools import partial
from typing import Any, ClassVar, Final

import msgspec

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._dispatch import on
from tinkex.actors._leases._acquire import release
from tinkex.actors._leases._lease import SESSION_EXPIRES_SECONDS, Lease, LeaseBook
from tinkex.actors._runtime._log import log
from tinkex.actors._transport import Transport
from tinkex.protocol import Err, Result

RETRY_SECONDS: Final = 30.0
NOT_OURS: Final = frozenset({401, 403, 404})
"""What a server says of another key's session."""


class Reap(msgspec.Struct, frozen=True):
    """Release this lease; told by the finalizer of its owner."""

    lease: Lease


class Reaper(ClientActor[Any]):
    """A supervised actor that gives leases back to the server; a failure is tried again until the lease expires.

    When it is stopped it finishes the releases that are on their way.
    """

    shutdown: ClassVar[float] = 5.0

    def __init__(self, transport: Transport, book: LeaseBook) -> None:
        """Serve ``book`` over ``transport``."""
        super().__init__()
        self._transport = transport
        self._book = book
        self._busy: set[Lease] = set()
        self._stopping = False

    @on(Reap)
    def _on_reap(self, message: Reap) -> None:
        self._reap(message.lease)

    def on_drain(self) -> None:
        """Finish the releases that are on their way; whoever still owns a lease hands it over when it ends."""
        self._stopping = True
        for lease in self._book.leases():
            if lease.state == "releasing":
                self._reap(lease)
        self._maybe_drained()

    def _reap(self, lease: Lease) -> None:
        if lease in self._busy or lease.state == "released":
            return
        self._busy.add(lease)
        lease.state = "releasing"
        self.run_io("release", release(self._transport, lease), partial(self._released, lease))

    def _released(self, lease: Lease, result: Result[bool]) -> None:
        self._busy.discard(lease)
        event = log(model_id=lease.model_id, session_id=lease.session.session_id)
        if isinstance(result, Err):
            lease.reason = result.error.message
            event.warning("lease not released", error=result.error.message)
            if lease.session.inherited and result.error.status in NOT_OURS:
                self._leave(lease, result.error.message)
            elif self._has_expired(lease):
                self._book.close(lease)
            elif not self._stopping:
                self.run_after("release again", RETRY_SECONDS, partial(self._reap, lease))
        elif result.value:
            self._book.close(lease)
            event.info("lease released")
        elif lease.session.inherited:
            self._leave(lease, "the server does not know it under this key, or has no way to release it")
        else:
            lease.state = "expiring"
            lease.reason = "the server has no way to release it; it expires with its session"
            self._has_expired(lease)
            event.info("lease left to expire")
        self._maybe_drained()

    def _has_expired(self, lease: Lease) -> bool:
        """Whether the server must have ended ``lease`` by itself: no heartbeat keeps a session that is its own."""
        now = self.runtime.clock.time()
        if lease.owns_session and lease.expires is None and not lease.session.inherited:
            lease.expires = now + SESSION_EXPIRES_SECONDS
        return lease.has_expired(now)

    def _leave(self, lease: Lease, why: str) -> None:
        """Leave to its end, or to a client of another key, what a process left that is gone."""
        lease.state = "expiring"
        lease.reason = f"{why}; it expires, unless a client that may releases it before"
        lease.expires = lease.session.expires
        if lease.has_expired(self.runtime.clock.time()):
            self._book.close(lease)
        elif lease.session.ledger is not None:
            lease.session.ledger.leave(lease.session.idempotency_key)

    def _maybe_drained(self) -> None:
        if self._stopping and not self._busy:
            self.drained()
