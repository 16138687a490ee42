"""What tests of replies share: one who owes an answer, and ways to hold an actor up."""

import threading

from support_genserver import SECONDS, Block, Later, Ping
from tinkex.actors import AbandonReason, Deferred, GenRef, Reply


class Owner:
    """A deferred whose hook writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[AbandonReason] = []
        self.deferred = Deferred[int]()
        self.event = threading.Event()
        self.deferred.on_abandon(self._tell)

    def _tell(self, reason: AbandonReason) -> None:
        self.told.append(reason)
        self.event.set()

    def wait(self) -> list[AbandonReason]:
        assert self.event.wait(SECONDS)
        return self.told


def hold_up(ref: GenRef) -> threading.Event:
    """Keep the actor busy until the event that is returned is set."""
    gate = threading.Event()
    ref.ask(Block(gate), block=False)
    while ref.actor_inbox.current is None:
        pass
    return gate


def linked(ref: GenRef, deferred: Deferred[int]) -> Reply[int]:
    """Ask, and wait until the handler has returned ``deferred``."""
    reply = ref.ask(Later(deferred), block=False)
    ref.ask(Ping())
    return reply
