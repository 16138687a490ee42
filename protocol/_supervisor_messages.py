"""What a supervisor is asked, and what every client and supervisor is."""

from typing import Any, cast

from tinkex.protocol._checks import check_number, check_text, shown
from tinkex.protocol._child_spec import ChildSpec
from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._replies import ActorStatus, ChildCounts, ChildList, ChildStopped, LeakReport
from tinkex.protocol._request import Request
from tinkex.protocol._supervision_tree import SupervisionTree


class StartChild(Request[Any], frozen=True):
    """Start a child; answered with its ref once its init is done."""

    spec: ChildSpec

    def check(self) -> TinkexError | None:
        spec = cast("object", self.spec)
        if not isinstance(spec, ChildSpec):
            return super().check() or validation(f"spec must be a ChildSpec, not {shown(spec)}", field="spec")
        return super().check() or spec.check()


class TerminateChild(Request[ChildStopped], frozen=True):
    """Stop a child and keep its spec, so that ``RestartChild`` can start it again."""

    id: str

    def check(self) -> TinkexError | None:
        return super().check() or check_text("id", self.id)


class RestartChild(Request[Any], frozen=True):
    """Start a stopped child again by its spec; answered with its ref."""

    id: str

    def check(self) -> TinkexError | None:
        return super().check() or check_text("id", self.id)


class WhichChildren(Request[ChildList], frozen=True):
    """List the children in the order of their start."""


class CountChildren(Request[ChildCounts], frozen=True):
    """Count specs and running children."""


class Tree(Request[SupervisionTree], frozen=True):
    """Show the whole tree: every child, and those of child supervisors. A child that is stuck is shown all the same."""

    patience: float = 1.0
    """Seconds to wait for child supervisors; of one that takes longer, only itself is shown. Each waits less itself."""

    def check(self) -> TinkexError | None:
        return super().check() or check_number("patience", self.patience, 0.0)


class Leaks(Request[LeakReport], frozen=True):
    """List what may still be held on servers though nobody here uses it."""


class Status(Request[ActorStatus], frozen=True):
    """Ask an actor what it is doing; answered from memory, at once."""
