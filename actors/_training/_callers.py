"""Who waits for the operations of one model: each is answered once, and may stop waiting before."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tinkex.actors._genserver._client import ClientActor, await_timeout, cancelled
from tinkex.actors._genserver._deferred import AbandonReason, Deferred
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._training._operation import Operation
from tinkex.protocol import Err, Request, Result, TinkexError

Settle = Callable[[Result[Any]], object]


class Callers:
    """Used in its actor's thread only.

    Args:
        actor: whose timers and mailbox this uses.
        withdraw: told of an operation whose caller waits no more, and what he is to be told.
        log: where failures are noted.
    """

    def __init__(self, actor: ClientActor[Any], withdraw: Callable[[Operation, TinkexError], None], log: Any) -> None:
        """Know nobody yet."""
        self._actor = actor
        self._withdraw = withdraw
        self._log = log
        self._settles: dict[int, Settle] = {}
        self._timers: dict[int, Timer] = {}

    def add(self, operation: Operation, settle: Settle) -> None:
        """Give ``settle`` the result of ``operation``."""
        self._settles[operation.number] = settle

    def watch(
        self, message: Request[Any], operation: Operation, deferred: Deferred[Any], seconds: float | None
    ) -> None:
        """Hear of it when the caller of ``message`` cancels, or has waited for ``seconds`` more."""
        abandon = partial(self._abandoned, operation)
        deferred.on_abandon(lambda reason: self._actor.run_soon(operation.name, partial(abandon, reason)))
        if seconds is not None and message.await_timeout is not None:
            expire = partial(self._expired, operation, message.await_timeout)
            self._timers[operation.number] = self._actor.run_after(operation.name, seconds, expire)

    def answer(self, operation: Operation, result: Result[Any]) -> None:
        """Tell whoever waits for ``operation``."""
        timer = self._timers.pop(operation.number, None)
        if timer is not None:
            timer.cancel()
        if isinstance(result, Err):
            self._log.info(
                "operation failed",
                operation=operation.name,
                seq_id=operation.first_seq_id,
                kind=result.error.kind,
                error=result.error.message,
            )
        settle = self._settles.pop(operation.number, None)
        if settle is not None:
            settle(result)

    def _expired(self, operation: Operation, seconds: float) -> None:
        self._withdraw(operation, await_timeout(operation.name, seconds, operation.outcome))

    def _abandoned(self, operation: Operation, reason: AbandonReason) -> None:
        if reason == "cancelled":
            self._withdraw(operation, cancelled(operation.name, operation.outcome))
