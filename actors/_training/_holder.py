"""What a training client holds on the server: one model, and for the length of a load the next one too."""

from collections.abc import Callable
from typing import Any

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._leases._keeper import Holdings, Keeper
from tinkex.actors._leases._lease import Lease
from tinkex.actors._runtime._waiting import Waiting
from tinkex.actors._training._hold import Hold
from tinkex.actors._transport import Transport
from tinkex.protocol import LoraConfig, TinkexError


class Holder:
    """Makes holds of leases and lets them go; whatever ends the client releases them. Used in its actor's thread only.

    Args:
        actor: the client.
        transport: the way to the server.
        first: the lease that it was made for.
        keeper: gives further leases, and takes all of them back.
        heartbeat_seconds: between the beats of sessions that exist for one lease.
        settled: told after every event of a hold's requests.
        lost: told when the session of a hold is gone.
    """

    def __init__(
        self,
        actor: ClientActor[Any],
        transport: Transport,
        first: Lease,
        keeper: Keeper,
        heartbeat_seconds: float,
        *,
        settled: Callable[[], None],
        lost: Callable[[Hold, TinkexError], None],
        log: Any,
    ) -> None:
        """Take over ``first``, of which nothing is real yet."""
        self.first = first
        self.hold: Hold | None = None
        """What requests go to; None before the first model was made."""
        self._actor = actor
        self._transport = transport
        self._keeper = keeper
        self._heartbeat_seconds = heartbeat_seconds
        self._settled = settled
        self._lost = lost
        self._log = log
        self._numbers = 0
        self._holdings = Holdings(keeper.release)
        self._holdings.add(first)
        actor.add_finalizer(self._holdings.end)

    @property
    def lease(self) -> Lease:
        """The lease that stands behind the client now."""
        return self.first if self.hold is None else self.hold.lease

    @property
    def idle(self) -> bool:
        """Whether no request is open."""
        return self.hold is None or self.hold.idle

    @property
    def suspicion(self) -> TinkexError | None:
        """Why nothing more is sent to the model, None while all is well."""
        return None if self.hold is None else self.hold.suspicion

    def next_number(self) -> int:
        """Count one more call of the client."""
        self._numbers += 1
        return self._numbers

    def make(self, lease: Lease, waiting: Waiting | None) -> Hold:
        """Return a hold of ``lease`` that ends with the client; ``waiting`` is told what its making waits for."""
        self._holdings.add(lease)
        return Hold(
            self._actor,
            self._transport,
            lease,
            self._heartbeat_seconds,
            next_number=self.next_number,
            settled=self._settled,
            lost=self._lost,
            told=self._keeper.told,
            waiting=waiting,
            log=self._log,
        )

    def another(self, base_model: str, lora: LoraConfig) -> Lease:
        """Note the intent to ask for a further model."""
        return self._keeper.another(self.first, base_model, lora, self._actor.runtime.clock.time())

    def take(self, hold: Hold) -> None:
        """Let requests go to ``hold``."""
        self.hold = hold
        if hold.lease.state == "intent":  # else it was killed meanwhile, and is on its way back
            hold.lease.state = "owned"

    def let_go(self, hold: Hold, error: TinkexError) -> None:
        """Answer what is open on ``hold`` with ``error``, and release its lease."""
        hold.close(error)
        self._holdings.let_go(hold.lease)
