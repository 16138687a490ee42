"""What a trainer is asked."""

from tinkex.protocol._checks import check_flag
from tinkex.protocol._errors import TinkexError
from tinkex.protocol._request import Request
from tinkex.protocol._run_status import CommittedCheckpoint, Explanation, RunStatus, StoppedRun


class Start(Request[RunStatus], frozen=True):
    """Begin, or go on from the last good checkpoint; answered at once. Without effect on a trainer that runs."""


class Pause(Request[RunStatus], frozen=True):
    """Send no further update; answered when those on their way are done."""


class Resume(Request[RunStatus], frozen=True):
    """Go on after a ``Pause``."""


class CheckpointNow(Request[CommittedCheckpoint], frozen=True):
    """Save behind the updates on their way; answered once the checkpoint is committed.

    Where no update was done since the last commit, that one is the answer.
    """


class Stop(Request[StoppedRun], frozen=True):
    """End the run so that it can be resumed; answered when it has ended."""

    save: bool = True
    """Whether a checkpoint is committed before; else the work since the last one is to be done again."""

    def check(self) -> TinkexError | None:
        return super().check() or check_flag("save", self.save)


class Why(Request[Explanation], frozen=True):
    """Explain the run's state in one sentence."""


class WaitUntilDone(Request[StoppedRun], frozen=True):
    """Answered when the run has finished, was stopped, or has failed (``Err``)."""
