"""How a training client is, told to whoever watches it at each change."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from tinkex.actors._genserver._deferred import Deferred
from tinkex.protocol import Ok, Result, TinkexError
from tinkex.protocol.replies import LoadedState, SavedState

S = TypeVar("S", SavedState, LoadedState)


class Vitals(NamedTuple):
    """What a training client knows of itself."""

    state: str
    """As its ``Status()`` says."""

    model_id: str | None = None
    checkpoint: str | None = None
    """The training checkpoint that it saved or loaded last."""

    error: TinkexError | None = None
    """Why it cannot train, where it cannot."""


Told = Callable[[Vitals], bool]
"""Called in the client's thread, so be quick; False ends the watch."""


class WatchVitals(msgspec.Struct, frozen=True):
    """Tell ``told`` of this client, at once and at each change; the message of a watcher."""

    told: Told


class Pulse:
    """Who watches a client, and what they were told. Used in its actor's thread only."""

    def __init__(self) -> None:
        """Begin with nobody watching a client that starts."""
        self._vitals = Vitals("starting")
        self._checkpoint: str | None = None
        self._watchers: list[Told] = []

    def watch(self, told: Told) -> None:
        """Tell ``told`` what was noted last, and from now on."""
        if told(self._vitals):
            self._watchers.append(told)

    def note(self, state: str, model_id: str | None, error: TinkexError | None) -> None:
        """Tell everybody, if something has changed."""
        vitals = Vitals(state, model_id, self._checkpoint, error)
        before, self._vitals = self._vitals, vitals
        if vitals[:3] != before[:3]:
            self._watchers = [told for told in self._watchers if told(vitals)]

    def loaded(self, path: str) -> None:
        """Note that the model is what the checkpoint at ``path`` holds; told with the next change."""
        self._checkpoint = path

    def follow(self, reply: Result[S] | Deferred[S]) -> Result[S] | Deferred[S]:
        """Return ``reply``; note the checkpoint of the save or load that it belongs to when it is there."""

        def done(result: Result[S]) -> None:
            if isinstance(result, Ok):
                self._checkpoint = result.value.path
                self.note(self._vitals.state, self._vitals.model_id, self._vitals.error)

        if isinstance(reply, Deferred):
            reply.subscribe(done)
        return reply
