"""Who is connected: sessions, alive by their heartbeats. Pure but for the clock; lives on the event loop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tinkex.engine._base._errors import Refusal
from tinkex.engine._store._records import SessionRow
from tinkex.protocol import wire


@dataclass(frozen=True)
class Created:
    """A model that a session asked for, to answer repeats of the request."""

    digest: bytes
    future: wire.UntypedFuture


@dataclass
class Session:
    """One session of this process."""

    row: SessionRow
    last_sign: float
    models: dict[int, Created] = field(default_factory=dict[int, Created])
    """By model_seq_id."""
    ended: bool = False


class Sessions:
    """The sessions of this process that have not ended.

    Args:
        clock: monotonic seconds.
        timeout: seconds without a sign of life after which a session has expired.
    """

    def __init__(self, clock: Callable[[], float], timeout: float) -> None:
        self._clock: Final = clock
        self._timeout: Final = timeout
        self._active: dict[str, Session] = {}
        self._by_key: dict[tuple[str, str], str] = {}

    def __len__(self) -> int:
        return len(self._active)

    def by_key(self, owner: str, key: str | None) -> Session | None:
        """Return the active session that the owner created under this idempotency key."""
        return self._active.get(self._by_key.get((owner, key), "")) if key else None

    def add(self, row: SessionRow, key: str | None) -> Session:
        """Begin a session."""
        session = self._active[row.session_id] = Session(row, self._clock())
        if key:
            self._by_key[row.owner, key] = row.session_id
        return session

    def find(self, session_id: str) -> Session | None:
        """Return an active session."""
        return self._active.get(session_id)

    def get(self, session_id: str, owner: str, former: SessionRow | None) -> Session:
        """Return an owner's active session, which has shown a sign of life by this.

        Raises:
            Refusal: 410 where it has ended, as ``former`` tells; 404 where the owner had none.
        """
        session = self._active.get(session_id)
        if session is not None and session.row.owner == owner:
            session.last_sign = self._clock()
            return session
        if former is None or former.owner != owner:
            raise Refusal(404, f"unknown session {session_id!r}; create one first")
        raise Refusal(410, f"session {session_id} {_ENDINGS.get(former.state, 'has ended')}; create a new one")

    def end(self, session_id: str) -> Session | None:
        """Forget a session that ends; return it if it was active."""
        session = self._active.pop(session_id, None)
        if session is not None:
            session.ended = True
            self._by_key = {key: value for key, value in self._by_key.items() if value != session_id}
        return session

    def expired(self) -> list[Session]:
        """Return the sessions without a sign of life for too long."""
        limit = self._clock() - self._timeout
        return [session for session in self._active.values() if session.last_sign <= limit]


_ENDINGS: Final = {
    "finished": "is finished",
    "expired": "has expired without heartbeats",
    "lost": "ended when the server stopped",
}
