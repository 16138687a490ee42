"""A model with a checkpoint's weights: opened, loaded, and tried once more where the first load's fate is unknown."""

from collections.abc import Callable
from functools import partial
from typing import Final

from tinkex.actors._leases._lease import Lease
from tinkex.actors._training._hold import Hold
from tinkex.actors._training._restore import Source
from tinkex.protocol import Err, Ok, Result, TinkexError

_CLIENT_ERRORS: Final = range(400, 500)


class Restoring:
    """One restore on its way, in its actor's thread.

    Servers take a load only as a model's first request. Where the answer to a first attempt was lost and a repeat is
    refused, the load may have run or not; a second model, in a session of its own, then settles it, once.

    Args:
        source: what is loaded.
        hold: makes a hold of a lease.
        another: makes the lease of the second try.
        let_go: takes a hold that is not needed any more.
        then: told the hold that has the weights, or the error with its step; once, and not after ``abandon``.
    """

    def __init__(
        self,
        source: Source,
        *,
        hold: Callable[[Lease], Hold],
        another: Callable[[], Lease],
        let_go: Callable[[Hold, TinkexError], None],
        then: Callable[[Result[Hold]], None],
    ) -> None:
        """Begin nothing yet."""
        self.hold: Hold | None = None
        self._source = source
        self._make_hold = hold
        self._another = another
        self._let_go = let_go
        self._then = then
        self._again = True
        self._over = False

    def begin(self, lease: Lease) -> None:
        """Make ``lease`` real from the checkpoint."""
        self.hold = hold = self._make_hold(lease)
        hold.restore(self._source, partial(self._restored, hold))

    def abandon(self, error: TinkexError) -> None:
        """Give up, and let go what was begun."""
        if self._over:
            return
        self._over = True
        if self.hold is not None:
            self._let_go(self.hold, error)

    def fail(self, error: TinkexError) -> None:
        """Give up for ``error``, which is told."""
        if not self._over:
            self.abandon(error)
            self._then(Err(error))

    def _restored(self, hold: Hold, result: Result[str]) -> None:
        if self._over:
            return
        match result:
            case Ok():
                self._over = True
                self._then(Ok(hold))
            case Err(error) if self._again and refused_after_unknown(error):
                self._again = False
                self._let_go(hold, error)
                self.begin(self._another())
            case Err(error):
                self.fail(error)


def refused_after_unknown(error: TinkexError) -> bool:
    """Whether a load was refused although an earlier attempt may have run."""
    return error.data.get("outcome") == "unknown" and error.status in _CLIENT_ERRORS
