"""What references and proxies of a trainer look like to a type checker."""

from typing import Protocol

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Reply
from tinkex.protocol.replies import ActorStatus, CommittedCheckpoint, Explanation, RunStatus, StoppedRun


class TrainerProxy(Protocol):
    """The methods of a ``Trainer``, each returning a ``Reply`` at once. See ``tinkex.protocol.messages``.

    Two have other names than their messages, since a reference has ``start`` and ``stop`` of its own.
    """

    def begin(self, *, await_timeout: float | None = None) -> Reply[RunStatus]:
        """Begin, or go on from the last good checkpoint; see ``messages.Start``."""
        ...

    def pause(self, *, await_timeout: float | None = None) -> Reply[RunStatus]:
        """Send no further update."""
        ...

    def resume(self, *, await_timeout: float | None = None) -> Reply[RunStatus]:
        """Go on after a pause."""
        ...

    def checkpoint_now(self, *, await_timeout: float | None = None) -> Reply[CommittedCheckpoint]:
        """Commit a checkpoint behind the updates on their way."""
        ...

    def stop_run(self, save: bool = True, *, await_timeout: float | None = None) -> Reply[StoppedRun]:
        """End the run so that it can be resumed; see ``messages.Stop``."""
        ...

    def wait_until_done(self, *, await_timeout: float | None = None) -> Reply[StoppedRun]:
        """Wait for the run's end."""
        ...

    def status(self) -> Reply[ActorStatus]:
        """Say what the run is doing."""
        ...

    def why(self) -> Reply[Explanation]:
        """Explain the run's state in one sentence."""
        ...


class TrainerRef(GenRef[TrainerProxy]):
    """Reference to a ``Trainer``; adds types only."""
