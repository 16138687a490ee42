"""What an ``ActorProxy`` of a supervisor looks like to a type checker; never instantiated."""

from typing import Any, Protocol

from tinkex.actors._genserver._reply import Reply
from tinkex.protocol import ChildSpec
from tinkex.protocol.replies import ActorStatus, ChildCounts, ChildList, ChildStopped, LeakReport, SupervisionTree


class SupervisorProxy(Protocol):
    """The methods of a ``Supervisor``, each returning a ``Reply`` at once. See ``tinkex.protocol.messages``."""

    def start_child(self, spec: ChildSpec) -> Reply[Any]:
        """Start a child and answer with its ref, after its init."""
        ...

    def terminate_child(self, id: str) -> Reply[ChildStopped]:  # noqa: A002 - OTP's word
        """Stop a child within its shutdown deadline, else kill it."""
        ...

    def restart_child(self, id: str) -> Reply[Any]:  # noqa: A002 - OTP's word
        """Start a stopped child again."""
        ...

    def which_children(self) -> Reply[ChildList]:
        """List the children, oldest first."""
        ...

    def count_children(self) -> Reply[ChildCounts]:
        """Count the children."""
        ...

    def tree(self, patience: float = 1.0) -> Reply[SupervisionTree]:
        """Show the children and all that is below them; ``patience`` seconds for child supervisors."""
        ...

    def leaks(self) -> Reply[LeakReport]:
        """List what could not be released."""
        ...

    def status(self) -> Reply[ActorStatus]:
        """Say what this supervisor is doing."""
        ...
