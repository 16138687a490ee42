"""The results of one model that are asked for, and those that wait to be."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._runtime._io import IoTask
from tinkex.actors._training._operation import Operation, Part
from tinkex.actors._training._passes import Outcome, poll_part
from tinkex.actors._transport import Transport
from tinkex.protocol import Result

POLL_WINDOW: Final = 32
"""Results that are asked for at once; a model's results come in order, so later ones lose nothing by waiting."""

Then = Callable[[Operation, Part, Outcome], object]


class Results:
    """Asks for them, the oldest first. Used in its actor's thread only.

    Args:
        actor: whose thread and io scope this runs in.
        transport: the way to the server.
        failed: told on the io loop, before ``then``, of what is no result.
        then: told what came of one that was asked for here.
    """

    def __init__(self, actor: ClientActor[Any], transport: Transport, failed: Callable[[], object], then: Then) -> None:
        """Ask for nothing yet."""
        self._actor = actor
        self._transport = transport
        self._failed = failed
        self._then = then
        self._polls: dict[tuple[int, int], IoTask[Any]] = {}
        self._waiting: deque[tuple[Operation, Part]] = deque()

    def room(self, others: int) -> bool:
        """Whether one more may be asked for, beside ``others`` that will be, and none waits for that."""
        return not self._waiting and len(self._polls) + others < POLL_WINDOW

    def asked(self, operation: Operation, task: IoTask[Any]) -> None:
        """Note that ``task`` asks for the one result of ``operation``."""
        self._polls[operation.number, 0] = task

    def came(self, operation: Operation, part: Part) -> None:
        """Note that one is not asked for any more."""
        self._polls.pop((operation.number, operation.parts.index(part)), None)

    def ask(self, operation: Operation) -> None:
        """Ask for all of ``operation``, when there is room."""
        self._waiting.extend((operation, part) for part in operation.parts if part.request_id is not None)

    def forget(self, operation: Operation) -> None:
        """Ask for none of ``operation`` any more."""
        for index in range(len(operation.parts)):
            poll = self._polls.pop((operation.number, index), None)
            if poll is not None:
                poll.cancel()

    def ask_more(self, others: int) -> None:
        """Ask for what waits and there is room for, beside ``others`` that will be asked for."""
        while self._waiting and len(self._polls) + others < POLL_WINDOW:
            operation, part = self._waiting.popleft()
            if operation.answered or part.state != "accepted" or part.request_id is None:
                continue
            observe = operation.observe
            work = poll_part(self._transport, part, part.request_id, self._failed, what=operation.name, observe=observe)
            key = operation.number, operation.parts.index(part)
            then = partial(self._ended, operation, part)
            self._polls[key] = self._actor.run_io(f"result of {operation.name} {part.seq_id}", work, then)

    def _ended(self, operation: Operation, part: Part, result: Result[Outcome]) -> None:
        self._then(operation, part, result.unwrap())
