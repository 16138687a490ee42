"""One child of a supervisor, and what is refused about it."""

from collections.abc import Callable
from typing import Any

import msgspec

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._genserver import GenServer
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._watch import DownReason
from tinkex.actors._runtime._clock import Timer
from tinkex.protocol import ChildSpec, TinkexError
from tinkex.protocol.replies import ChildInfo


class Child(msgspec.Struct, eq=False):
    """A specification, and the actor that was started by it last."""

    spec: ChildSpec
    ref: GenRef[Any] | None = None
    """None while it is not running."""
    stopping: bool = False
    """Whether its supervisor has asked it to end."""
    deadline: Timer | None = None
    waiting: list[Callable[[], None]] = msgspec.field(default_factory=list[Callable[[], None]])
    """Told when it has ended."""
    restarts: int = 0
    last_reason: DownReason | None = None
    given_up: bool = False
    """Whether its supervisor does not start it again by itself."""

    @property
    def alive(self) -> bool:
        """Whether its actor runs."""
        return self.ref is not None and self.ref.is_alive()

    def end(self, reason: DownReason) -> None:
        """Note that its actor has ended."""
        if self.deadline is not None:
            self.deadline.cancel()
        self.ref, self.deadline, self.stopping, self.last_reason = None, None, False, reason

    def info(self) -> ChildInfo:
        """Return what ``WhichChildren`` tells of it."""
        return ChildInfo(
            id=self.spec.id,
            actor_urn=None if self.ref is None else self.ref.actor_urn,
            actor_class=self.spec.actor_class.__name__,
            restart=self.spec.restart,
            alive=self.alive,
            restarts=self.restarts,
            last_reason=self.last_reason,
        )

    def told(self) -> list[Callable[[], None]]:
        """Return those who wait for its end, each once."""
        waiting, self.waiting = self.waiting, []
        return waiting


def lists_leaks(spec: ChildSpec) -> bool:
    """Whether a child can be asked for leaks."""
    actor_class = spec.actor_class
    return issubclass(actor_class, ClientActor) and actor_class.lists_leaks


def refuse(spec: ChildSpec) -> TinkexError | None:
    """Return why a supervisor cannot keep a specification, or None."""
    if not issubclass(spec.actor_class, GenServer):
        return _invalid(f"child {spec.id!r}: actor_class must be a GenServer, not {spec.actor_class.__name__}")
    return None


def start_error(spec: ChildSpec, cause: BaseException) -> TinkexError:
    """Return what a child's init failed with, without holding on to its frames."""
    if isinstance(cause, TinkexError):
        return cause
    error = TinkexError(
        f"child {spec.id!r} did not start: {type(cause).__name__}: {cause}",
        kind="actor_crashed",
        category="unknown",
        data={"id": spec.id},
    )
    error.__cause__ = cause.with_traceback(None)
    return error


def check_options(strategy: Any, max_restarts: Any, max_seconds: Any) -> None:
    """Refuse a supervisor's options that make no sense.

    Raises:
        TinkexError: kind ``validation``.
    """
    if strategy not in ("one_for_one", "one_for_all", "rest_for_one"):
        raise _invalid(f"strategy must be one_for_one, one_for_all or rest_for_one, not {strategy!r}")
    if not isinstance(max_restarts, int) or isinstance(max_restarts, bool) or max_restarts < 0:
        raise _invalid(f"max_restarts must be a whole number of at least 0, not {max_restarts!r}")
    if not isinstance(max_seconds, int | float) or isinstance(max_seconds, bool) or not 0 < max_seconds < float("inf"):
        raise _invalid(f"max_seconds must be a finite number above 0, not {max_seconds!r}")


def conflict(child_id: str, message: str) -> TinkexError:
    """Return the error of a request that does not fit what a child is doing."""
    return TinkexError(message, kind="conflict", category="user", data={"id": child_id})


def stopping() -> TinkexError:
    """Return the error of a request to a supervisor that is about to end."""
    return TinkexError("this supervisor is stopping", kind="actor_dead", category="unknown")


def unknown_child(child_id: str) -> TinkexError:
    """Return the error of a request about nobody."""
    return TinkexError(
        f"there is no child with id {child_id!r}", kind="validation", category="user", data={"id": child_id}
    )


def _invalid(message: str) -> TinkexError:
    return TinkexError(message, kind="validation", category="user")
