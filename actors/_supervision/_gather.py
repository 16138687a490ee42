"""Asking several actors and going on when all have answered, or those that do in time."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._reply import Reply
from tinkex.protocol import Result

T = TypeVar("T")


class Gather(Generic[T]):
    """Collects replies for ``actor``, in its thread.

    Args:
        actor: who goes on.
        label: names the steps in traces.
        replies: what to wait for, by the id of who owes it.
        then: called once with the results that came, by id.
        seconds: how long to wait, then the other requests are withdrawn; None for as long as it takes.
    """

    def __init__(
        self,
        actor: ClientActor[Any],
        label: str,
        replies: Mapping[str, Reply[T]],
        then: Callable[[dict[str, Result[T]]], None],
        seconds: float | None = None,
    ) -> None:
        """Begin to wait; without replies ``then`` is called here and now."""
        self._open = dict(replies)
        self._found: dict[str, Result[T]] = {}
        self._then = then
        self._timer = None
        if not replies:
            then({})
            return
        if seconds is not None:
            self._timer = actor.run_after(label, seconds, self._late)
        for who, reply in replies.items():
            actor.run_when(label, reply, partial(self._told, who))

    def _told(self, who: str, result: Result[T]) -> None:
        if self._open.pop(who, None) is None:
            return
        self._found[who] = result
        if not self._open:
            if self._timer is not None:
                self._timer.cancel()
            self._then(self._found)

    def _late(self) -> None:
        late, self._open = self._open, {}
        if late:
            for reply in late.values():
                reply.cancel()
            self._then(self._found)
