"""What a supervisor writes into the log: one event for each transition. docs/guides/supervision.md lists them."""

from collections.abc import Collection
from typing import Final, Literal

from tinkex.actors._genserver._watch import Down, DownReason
from tinkex.actors._runtime._log import log
from tinkex.actors._supervision._child import Child
from tinkex.actors._supervision._policy import Strategy
from tinkex.protocol import TinkexError

GivenUp = Literal["terminated", "ended", "supervisor stops", "restarts exhausted"]
"""Why a child is not started again."""


class Events:
    """The log of one supervisor. The names of the events and of their fields are stable. Any thread.

    Args:
        urn: the supervisor's ``actor_urn``, which every event carries, beside ``actor="Supervisor"``.
    """

    def __init__(self, urn: str) -> None:
        """Write nothing yet."""
        self._log: Final = log(actor="Supervisor", actor_urn=urn)

    # The supervisor itself

    def supervisor_started(self, strategy: Strategy, max_restarts: int, max_seconds: float) -> None:
        """It takes children."""
        self._log.debug("supervisor started", strategy=strategy, max_restarts=max_restarts, max_seconds=max_seconds)

    def supervisor_stopping(self, children: int) -> None:
        """It was told to stop, with so many running children."""
        self._log.debug("supervisor stopping", children=children)

    def supervisor_stopped(self, reason: DownReason) -> None:
        """It has ended, and its children have or were killed."""
        self._log.debug("supervisor stopped", reason=reason)

    def restarts_exhausted(self, child: Child) -> None:
        """A child needed more restarts than are allowed: the supervisor stops the others and crashes."""
        self._log.error("restarts exhausted", child=child.spec.id)

    # Its children

    def child_starting(self, child: Child) -> None:
        """Its init begins."""
        self._log.debug("child starting", child=child.spec.id, restarts=child.restarts)

    def child_started(self, child: Child) -> None:
        """Its init is done."""
        self._log.debug("child started", child=child.spec.id, child_urn=_urn(child), restarts=child.restarts)

    def child_init_failed(self, child: Child, error: TinkexError) -> None:
        """Its init failed, or its name is in use."""
        self._log.warning("child init failed", child=child.spec.id, error=error.message)

    def child_terminating(self, child: Child) -> None:
        """It was told to stop."""
        self._log.debug("child terminating", child=child.spec.id, child_urn=_urn(child), seconds=child.spec.shutdown)

    def child_killed(self, child: Child) -> None:
        """It did not stop in time."""
        self._log.warning("child killed at deadline", child=child.spec.id, child_urn=_urn(child))

    def child_ended(self, child: Child, down: Down) -> None:
        """It has ended, by itself or because it was told to."""
        event = self._log.bind(child=child.spec.id, child_urn=down.urn, reason=down.reason)
        if down.error is not None and down.reason == "crashed":
            event.error("child crashed", error=down.error.message)
        else:
            event.debug("child ended")

    def restart_scheduled(self, children: Collection[str], seconds: float) -> None:
        """Children are started again after ``seconds``."""
        self._log.info("restart scheduled", children=sorted(children), seconds=seconds)

    def child_restarted(self, child: Child) -> None:
        """It was started again by its supervisor."""
        self._log.warning(
            "child restarted",
            child=child.spec.id,
            child_urn=_urn(child),
            restarts=child.restarts,
            reason=child.last_reason,
        )

    def child_given_up(self, child: Child, why: GivenUp) -> None:
        """It is not started again by its supervisor."""
        self._log.debug("child given up", child=child.spec.id, why=why)

    # Their names

    def name_registered(self, child: Child) -> None:
        """Its actor bears its name."""
        self._log.debug("name registered", child=child.spec.id, child_urn=_urn(child), name=child.spec.name)

    def name_lost(self, child: Child) -> None:
        """Nobody bears its name until it is started again."""
        self._log.debug("name lost", child=child.spec.id, name=child.spec.name)

    def name_unregistered(self, child: Child) -> None:
        """Its name is free."""
        self._log.debug("name unregistered", child=child.spec.id, name=child.spec.name)


def _urn(child: Child) -> str | None:
    return None if child.ref is None else child.ref.actor_urn
