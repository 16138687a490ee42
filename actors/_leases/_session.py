"""A session on the server, and who must learn of its loss."""

import asyncio
import itertools
import threading
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from tinkex.actors._leases._ledger_records import SessionOpened
from tinkex.protocol import TinkexError

if TYPE_CHECKING:
    from tinkex.actors._leases._ledger import Ledger

Told = Callable[[TinkexError], object]


class Loss:
    """Something that happens at most once, and is heard by all who listen, then or afterwards. Safe from any thread."""

    def __init__(self) -> None:
        """Begin with nothing lost and nobody listening."""
        self._lock = threading.Lock()
        self._error: TinkexError | None = None
        self._numbers = itertools.count()
        self._listeners: dict[int, Told] = {}

    def listen(self, told: Told) -> Callable[[], None]:
        """Call ``told`` when it happens, at once if it has; in any thread, so be quick.

        Returns:
            what takes it back.
        """
        number = next(self._numbers)
        with self._lock:
            error = self._error
            if error is None:
                self._listeners[number] = told
        if error is not None:
            told(error)
        return lambda: self._forget(number)

    def happen(self, error: TinkexError) -> None:
        """Tell everybody; without effect when it has happened before."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
            listeners = list(self._listeners.values())
            self._listeners.clear()
        for told in listeners:
            told(error)

    def _forget(self, number: int) -> None:
        with self._lock:
            self._listeners.pop(number, None)


class Session(msgspec.Struct, eq=False):
    """A session on the server, which a heartbeat keeps alive. Changed on the io loop only, read anywhere."""

    tags: list[str]
    user_metadata: dict[str, str]
    idempotency_key: str = msgspec.field(default_factory=lambda: f"tinkex-{uuid.uuid4()}")
    """Every repeat of its creation carries this, so that a lost reply makes no second session."""

    session_id: str | None = None
    asked: bool = False
    """Whether a create_session may have reached the server."""

    finished: bool = False
    lock: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    """Held by whoever is asking for it, so that a release learns what came of it."""

    loss: Loss = msgspec.field(default_factory=Loss)
    """That the server ended it before we did."""

    ledger: "Ledger | None" = None
    """Where it is written down; None where nothing is."""

    expires: float | None = None
    """Epoch seconds by when it must have expired, where a process that is gone left it, and may have asked for it."""

    @property
    def inherited(self) -> bool:
        """Whether a process left it that is gone."""
        return self.expires is not None

    def opened(self, session_id: str) -> str:
        """Keep the id that the server gave it, and return it."""
        self.session_id = session_id
        if self.ledger is not None:
            self.ledger.note(SessionOpened(self.idempotency_key, session_id))
        return session_id
