"""How a lease finds its reaper, whatever has ended meanwhile."""

import pykka

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._leases._acquire import release
from tinkex.actors._leases._lease import Lease, LeaseBook
from tinkex.actors._leases._reaper import Reap
from tinkex.actors._runtime._io import IoThread
from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._transport import Transport


class Releaser:
    """Called with a lease by the finalizer of its owner, in any thread; never blocks, never loses one."""

    def __init__(self, transport: Transport, book: LeaseBook, io: IoThread) -> None:
        """Release over ``transport``, without a reaper until there is one."""
        self.reaper: GenRef[object] | None = None
        self._transport = transport
        self._book = book
        self._io = io

    def __call__(self, lease: Lease) -> None:
        """Hand ``lease`` to the reaper, or release it without one where the reaper has ended."""
        if lease.state == "released":
            return
        lease.state = "releasing"
        if self.reaper is not None:
            try:
                self.reaper.tell(Reap(lease))
            except pykka.ActorDeadError:
                pass
            else:
                return
        self._io.submit(release(self._transport, lease), lambda outcome: self._released(lease, outcome))

    def _released(self, lease: Lease, outcome: Outcome[bool]) -> None:
        if outcome.error is None and not outcome.cancelled and outcome.unwrap():
            self._book.close(lease)
