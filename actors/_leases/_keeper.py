"""Where a training client gets further leases, and who takes them back."""

import threading
from collections.abc import Callable

import msgspec

from tinkex.actors._leases._lease import Lease, LeaseBook
from tinkex.protocol import LoraConfig, QueueStateChange


class Keeper(msgspec.Struct, frozen=True):
    """A service client's leases, as its training clients see them. Safe from any thread."""

    book: LeaseBook
    release: Callable[[Lease], None]
    """Called with a lease that nobody holds any more; never blocks."""

    told: Callable[[QueueStateChange], None]
    """Told when the server pauses a client's request or goes on with it."""

    tags: list[str]
    user_metadata: dict[str, str]

    def another(self, old: Lease, base_model: str, lora: LoraConfig, now: float) -> Lease:
        """Note the intent to ask for a model that replaces ``old``, in a session of its own."""
        return self.book.intend(
            self.book.open_session(self.tags, self.user_metadata),
            owns_session=True,
            model_seq_id=0,
            base_model=base_model,
            lora=lora,
            user_metadata=old.user_metadata,
            since=now,
        )


class Holdings:
    """The leases of one training client. Whatever ends the client releases them; safe from any thread."""

    def __init__(self, release: Callable[[Lease], None]) -> None:
        """Hold nothing."""
        self._release = release
        self._lock = threading.Lock()
        self._leases: list[Lease] = []
        self._ended = False

    def add(self, lease: Lease) -> None:
        """Hold ``lease`` too; after the end it is released at once."""
        with self._lock:
            ended = self._ended
            if not ended and lease not in self._leases:
                self._leases.append(lease)
        if ended:
            self._release(lease)

    def let_go(self, lease: Lease) -> None:
        """Release ``lease``, unless that was done before."""
        with self._lock:
            held = lease in self._leases
            if held:
                self._leases.remove(lease)
        if held:
            self._release(lease)

    def end(self, _reason: object) -> None:
        """Release all: the finalizer of the client."""
        with self._lock:
            self._ended = True
            leases, self._leases = self._leases, []
        for lease in leases:
            self._release(lease)
