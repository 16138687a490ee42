"""What one service client holds, on the server and in its state folder, and what others have left there."""

from typing import TYPE_CHECKING

from tinkex.actors._leases._lease import LeaseBook
from tinkex.actors._runtime._clock import Clock
from tinkex.protocol.replies import LeaseReport

if TYPE_CHECKING:
    from tinkex.actors._leases._ledger import Ledger
    from tinkex.actors._leases._predecessors import Estate


class Leases:
    """The book, the ledger behind it if there is a state folder, and the ledgers of processes that are gone.

    Args:
        state_dir: the folder; None keeps everything in memory.
        base_url: which server.
        clock: the time of what is written down.

    Raises:
        TinkexError: kind ``validation``: the state folder cannot be used.
    """

    def __init__(self, state_dir: str | None, base_url: str, clock: Clock) -> None:
        """Begin a ledger, where there is a folder for it; nothing is taken over yet."""
        self._state_dir = state_dir
        self._base_url = base_url
        self._clock = clock
        self._ledger: Ledger | None = None
        self._estate: Estate | None = None
        if state_dir is not None:
            from tinkex.actors._leases._ledger import open_ledger  # noqa: PLC0415 - for those who have a folder

            self._ledger = open_ledger(state_dir, base_url, clock.time)
        self.book = LeaseBook(self._ledger)

    def inherit(self) -> None:
        """Take over what processes that are gone have left for this server: a reaper that starts now releases it."""
        if self._state_dir is not None:
            from pathlib import Path  # noqa: PLC0415 - as above

            from tinkex.actors._leases._predecessors import inherit  # noqa: PLC0415 - as above

            self._estate = inherit(Path(self._state_dir), self.book, self._base_url, self._clock.time)
            for lease in self._estate.leases:
                self.book.inherit(lease)

    def leaks(self) -> list[LeaseReport]:
        """Return what ``Leaks()`` says: what nobody owns and is not released, here or by those that are gone."""
        ours = [lease.report() for lease in self.book.leaks(self._clock.time())]
        others = [] if self._estate is None else [left for left in self._estate.left if left.path.exists()]
        return [*ours, *(report for left in others for report in left.reports)]

    def end(self) -> None:
        """Let go of the ledgers: what they still hold, the next start with this folder releases. Any thread."""
        if self._ledger is not None:
            self._ledger.end()
        for ledger in self._estate.ledgers if self._estate is not None else ():
            ledger.end()
