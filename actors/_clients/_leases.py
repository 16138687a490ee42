"""What one service client holds, on the server and in its state folder, and what others have left there."""

from pathlib import Path

from tinkex.actors._clients._lease import LeaseBook
from tinkex.actors._clients._ledger import Ledger, open_ledger
from tinkex.actors._clients._predecessors import Estate, inherit
from tinkex.actors._clients._settings import Settings
from tinkex.actors._runtime._clock import Clock
from tinkex.protocol.replies import LeaseReport


class Leases:
    """The book, the ledger behind it if there is a state folder, and the ledgers of processes that are gone.

    Args:
        settings: which server, and which folder.
        clock: the time of what is written down.

    Raises:
        TinkexError: kind ``validation``: the state folder cannot be used.
    """

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """Begin a ledger, where there is a folder for it; nothing is taken over yet."""
        self._settings = settings
        self._clock = clock
        self._ledger: Ledger | None = None
        self._estate = Estate()
        if settings.state_dir is not None:
            self._ledger = open_ledger(settings.state_dir, settings.base_url, clock.time)
        self.book = LeaseBook(self._ledger)

    def inherit(self) -> None:
        """Take over what processes that are gone have left for this server: a reaper that starts now releases it."""
        if self._settings.state_dir is not None:
            folder = Path(self._settings.state_dir)
            self._estate = inherit(folder, self.book, self._settings.base_url, self._clock.time)
            for lease in self._estate.leases:
                self.book.inherit(lease)

    def leaks(self) -> list[LeaseReport]:
        """Return what ``Leaks()`` says: what nobody owns and is not released, here or by those that are gone."""
        ours = [lease.report() for lease in self.book.leaks(self._clock.time())]
        return [*ours, *(report for left in self._estate.left if left.path.exists() for report in left.reports)]

    def end(self) -> None:
        """Let go of the ledgers: what they still hold, the next start with this folder releases. Any thread."""
        for ledger in (self._ledger, *self._estate.ledgers):
            if ledger is not None:
                ledger.end()
