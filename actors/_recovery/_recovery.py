"""A service client's side of recovery: keeps a recoverer alive and tells it of the clients."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pykka

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._runtime._log import log
from tinkex.actors._transport import Transport
from tinkex.protocol import ChildSpec, Err, Recovered, RecoveryFailed, RecoveryPolicy, Result, messages
from tinkex.protocol.replies import OperationStatus

if TYPE_CHECKING:
    from tinkex.actors._recovery._recoverer import Board

RESTART_SECONDS: Final = 1.0
"""Before a recoverer that ended is replaced: what ended it may do so again."""


class Recovery:
    """The recoverer of one service client, where it has a policy; else nothing. Used in its actor's thread only.

    Args:
        actor: the service client.
        transport: its way to the server.
        policy: None recovers nothing, and does not even load what would.
        supervisor: of the recoverer.
        on_recovery: told by the recoverer of a run that goes on; None tells nobody.
        on_failure: told of a run that was given up.
    """

    def __init__(
        self,
        actor: ClientActor[Any],
        transport: Transport,
        policy: RecoveryPolicy | None,
        supervisor: GenRef[Any],
        *,
        on_recovery: Callable[[Recovered], Any] | None,
        on_failure: Callable[[RecoveryFailed], Any] | None,
    ) -> None:
        """Start the recoverer under ``supervisor``."""
        self._actor = actor
        self._transport = transport
        self._policy = policy
        self._supervisor = supervisor
        self._on_recovery = on_recovery
        self._on_failure = on_failure
        self._child_id = f"recoverer-{actor.actor_urn}"
        self._board: Board | None = None
        self._recoverer: GenRef[Any] | None = None
        self._clients: dict[str, GenRef[Any]] = {}
        self._stopping = policy is None
        self._start()

    @property
    def child_ids(self) -> list[str]:
        """Return the supervisor's ids of what was started here."""
        return [] if self._policy is None else [self._child_id]

    def status(self) -> list[OperationStatus]:
        """Return what ``Status()`` says about recoveries under way."""
        return [] if self._board is None else list(self._board.operations)

    def watch(self, client: GenRef[Any]) -> None:
        """Have ``client`` watched from now until it ends."""
        if self._policy is None:
            return
        urn = client.actor_urn
        self._clients[urn] = client
        client.monitor(lambda _down: self._actor.run_soon("client down", partial(self._forget, urn)))
        self._tell(client)

    def _forget(self, urn: str) -> None:
        self._clients.pop(urn, None)

    def stop(self) -> None:
        """Recover nothing more, and withdraw what is under way."""
        self._stopping = True
        if self._recoverer is not None:
            self._recoverer.stop(block=False, reason="shutdown")

    def _start(self) -> None:
        if self._policy is None or self._stopping:
            return
        from tinkex.actors._recovery._recoverer import (  # noqa: PLC0415 - for those who have a policy
            Board,
            Callbacks,
            Recoverer,
        )

        self._board = self._board or Board()
        args = (self._transport, self._policy, Callbacks(self._on_recovery, self._on_failure), self._board)
        spec = ChildSpec(self._child_id, Recoverer, args=args, restart="temporary")
        started = self._supervisor.ask(messages.StartChild(spec), block=False)
        self._actor.run_when("recoverer started", started, self._started)

    def _started(self, result: Result[Any]) -> None:
        if isinstance(result, Err):
            log(actor_urn=self._actor.actor_urn).error("recoverer not started", error=result.error.message)
            self._start_later()
            return
        recoverer: GenRef[Any] = result.value
        self._recoverer = recoverer
        recoverer.monitor(lambda _down: self._actor.run_soon("recoverer down", self._down))
        if self._stopping:
            self.stop()
        for client in self._clients.values():
            self._tell(client)

    def _down(self) -> None:
        self._recoverer = None
        if not self._stopping and self._supervisor.is_alive():
            log(actor_urn=self._actor.actor_urn).error("recoverer down, starting another")
            self._start_later()

    def _start_later(self) -> None:
        if not self._stopping and self._supervisor.is_alive():
            self._actor.run_after("another recoverer", RESTART_SECONDS, self._start)

    def _tell(self, client: GenRef[Any]) -> None:
        if self._recoverer is not None:
            from tinkex.actors._recovery._recoverer import Watch  # noqa: PLC0415 - as above

            with contextlib.suppress(pykka.ActorDeadError):  # then another is started, and told
                self._recoverer.tell(Watch(client))
