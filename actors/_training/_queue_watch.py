"""What the operations of one model wait for: who is told of pauses, and which one is overdue."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._runtime._waiting import PAUSES, Waiting, is_work
from tinkex.actors._training._operation import Operation
from tinkex.actors._training._progress import progress_seconds
from tinkex.protocol import QueueState, QueueStateChange

WARN_SECONDS: Final = 60.0


class QueueWatch:
    """Follows the operations of one model from their call to their answer. In its actor's thread.

    Only the oldest open operation works, so only its progress counts: one timer serves all.

    Args:
        actor: whose thread this runs in.
        model_id: the model.
        told: told when the server pauses an operation or goes on with it.
        log: where a pause is warned of, at most once a minute, and an overdue operation once.
    """

    def __init__(
        self, actor: ClientActor[Any], model_id: str, told: Callable[[QueueStateChange], None], log: Any
    ) -> None:
        """Follow nothing yet."""
        self._actor = actor
        self._model_id = model_id
        self._told = told
        self._log = log
        self._head: Operation | None = None
        self._timer: Timer | None = None
        self._fires = 0.0
        self._warned: float | None = None

    def follow(self, operation: Operation) -> None:
        """Note that ``operation`` is open."""
        changed = partial(self._heard, operation)
        operation.waiting = Waiting(self._actor.runtime.clock, progress_seconds(operation.name), changed)

    def answered(self, operation: Operation) -> None:
        """Note that ``operation`` is not open any more."""
        waiting = operation.waiting
        if waiting is not None:
            waiting.hush()
            if waiting.state in PAUSES:
                self._tell(operation, waiting.state, "active", None)

    def look(self, head: Operation | None) -> None:
        """Count the work of ``head``, which is the oldest open operation."""
        if head is self._head:
            return
        self._head = head
        if head is not None and head.waiting is not None:
            head.waiting.count()
        self._arm()

    def _heard(self, operation: Operation, old: str) -> None:
        """Any thread: what an operation waits for has changed."""
        waiting = operation.waiting
        if waiting is None:
            return
        paused = waiting.state in PAUSES or old in PAUSES
        if paused or (operation is self._head and is_work(waiting.state) != is_work(old)):
            change = partial(self._changed, operation, old, waiting.state, waiting.reason)
            self._actor.run_soon(f"{operation.name} waits", change)

    def _changed(self, operation: Operation, old: str, state: str, reason: str | None) -> None:
        if operation.answered:
            return
        if state in PAUSES or old in PAUSES:
            self._tell(operation, old, state, reason)
        if operation is self._head:
            self._arm()

    def _tell(self, operation: Operation, old: str, state: str, reason: str | None) -> None:
        clock = self._actor.runtime.clock
        change = QueueStateChange(
            state=_shown(state),
            previous=_shown(old),
            operation=operation.name,
            actor=self._actor.actor_urn,
            model_id=self._model_id,
            seq_id=operation.first_seq_id,
            reason=reason,
            since=clock.time(),
        )
        now = clock.monotonic()
        facts = {"operation": operation.name, "seq_id": operation.first_seq_id, "state": change.state}
        if change.state == "active":
            self._log.info("the server goes on", **facts)
        elif self._warned is None or now - self._warned >= WARN_SECONDS:
            self._warned = now
            self._log.warning("paused by the server", reason=reason, **facts)
        self._told(change)

    # Progress

    def _arm(self) -> None:
        """Have the timer fire when the oldest operation will be overdue, or earlier: one serves for many of them."""
        waiting = self._head.waiting if self._head is not None else None
        now = self._actor.runtime.clock.monotonic()
        due = None if waiting is None else waiting.due(now)
        if due is None:
            return
        if self._timer is not None and due < self._fires:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._fires = due
            self._timer = self._actor.run_after("progress", due - now, self._check)

    def _check(self) -> None:
        self._timer = None
        head = self._head
        waiting = head.waiting if head is not None else None
        if head is None or waiting is None:
            return
        if waiting.overdue:
            self._log.warning(
                "operation overdue",
                operation=head.name,
                seq_id=head.first_seq_id,
                state=waiting.state,
                reason=waiting.reason,
                seconds=waiting.worked,
                allowed=waiting.allowed,
            )
        else:
            self._arm()


def _shown(state: str) -> QueueState:
    return cast("QueueState", state) if state in PAUSES else "active"
