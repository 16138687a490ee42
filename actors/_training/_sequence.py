"""The order of a model's requests: which number goes out next, and what every outcome means. Pure.

One counter from 1, no gap, and no number carries two bodies of which one may have run. A number is taken when its
request is written and given back only when that request is known not to have run: it never went out, or was refused.
When that cannot be known the client is *suspect*: it sends nothing more, because the next request could train on the
wrong state.

Requests stand in line with their numbers: the first may be on its way, those behind it go out when the server has taken
the one before. An event that is no acceptance is only told here when nothing stands behind the first any more: its
number, and so theirs, may change.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from tinkex.actors._training._operation import Operation, Part
from tinkex.protocol import Err, Ok, Result, TinkexError


class Send(NamedTuple):
    """Send this part of this operation, under this number, when what stands before it in line was accepted."""

    operation: Operation
    part: Part
    seq_id: int


class Answer(NamedTuple):
    """Tell the caller of this operation this."""

    operation: Operation
    result: Result[Any]


class Sequence(msgspec.Struct):
    """The requests of one model. Every method returns the answers that its event brings about, in order."""

    next_seq_id: int = 1
    waiting: deque[Operation] = msgspec.field(default_factory=deque[Operation])
    """Those with a part that has no number yet; of the first, others may have."""

    line: deque[Send] = msgspec.field(default_factory=deque[Send])
    """What has a number and is not accepted yet, in the order of the numbers."""

    accepted: dict[int, Operation] = msgspec.field(default_factory=dict[int, Operation])
    held: dict[int, Operation] = msgspec.field(default_factory=dict[int, Operation])
    """Done, and not to be answered before the gradients that they use are known to be sound."""

    suspicion: TinkexError | None = None

    def add(self, operation: Operation) -> list[Answer]:
        """Queue ``operation`` behind the others; a suspect client refuses it at once."""
        if self.suspicion is not None:
            return [self._refusal(operation)]
        self.waiting.append(operation)
        return []

    @property
    def sending(self) -> Operation | None:
        """What is on its way to the server, or has been sent in part only."""
        if self.line:
            return self.line[0].operation
        return self.waiting[0] if self.waiting and self.waiting[0].sent else None

    def take(self) -> Send | None:
        """Give the next part a number and a place at the end of the line; None where nothing waits."""
        if self.suspicion is not None or not self.waiting:
            return None
        operation = self.waiting[0]
        part = next(part for part in operation.parts if part.state == "unsent")
        part.state = "sending"
        part.seq_id = self.next_seq_id
        self.next_seq_id += 1
        send = Send(operation, part, part.seq_id)
        self.line.append(send)
        if part is operation.parts[-1]:
            self.waiting.popleft()
        return send

    def give_back(self, send: Send) -> None:
        """Take the last in line out again: it never went out."""
        if self.line[-1] is not send:
            raise AssertionError("what stands last in line is given back first")
        self.line.pop()
        self._unsend(send.part)
        if not self.waiting or self.waiting[0] is not send.operation:
            self.waiting.appendleft(send.operation)

    def accept(self, operation: Operation, part: Part, request_id: str | None) -> list[Answer]:
        """Note that the server took ``part``; without a ``request_id`` its result came with the answer."""
        if self.line[0].part is not part:
            raise AssertionError("the first in line is accepted first")
        self.line.popleft()
        part.state = "accepted"
        part.request_id = request_id
        if operation.accepted and not operation.answered:
            self.accepted[operation.number] = operation
        return []

    def refuse(self, operation: Operation, part: Part, error: TinkexError) -> list[Answer]:
        """Note that ``part``, the last in line, was refused and never ran: the next request takes its number."""
        if self.line[-1].part is not part:
            raise AssertionError("a number is only free when none behind it is taken")
        self.line.pop()
        self._unsend(part)
        self._drop(operation)
        if not operation.sent:
            return self._answer(operation, Err(_with(error, operation, "not_sent")))
        answers = self._answer(operation, Err(_with(error, operation, "unknown")))
        return answers + self.suspect(
            error, f"a part of {operation.name} was refused after another part had been accepted", operation
        )

    def lose(self, operation: Operation, error: TinkexError) -> list[Answer]:
        """Note that nobody can know whether ``operation`` ran."""
        self._drop(operation)
        self.accepted.pop(operation.number, None)
        answers = self._answer(operation, Err(_with(error, operation, "unknown")))
        return answers + self.suspect(error, f"the outcome of {operation.name} is unknown", operation)

    def finish(self, operation: Operation, part: Part, value: Any) -> list[Answer]:
        """Note the result of ``part``; the operation is answered with its last one.

        One that uses gradients is answered when those before it are known to be sound.
        """
        part.state = "done"
        part.result = value
        if not operation.done:
            return []
        if self._in_doubt(operation):
            self.held[operation.number] = operation
            return []
        self.accepted.pop(operation.number, None)
        answers = self._answer(operation, Ok(operation.join([part.result for part in operation.parts])))
        return answers + self._vouch()

    def fail(self, operation: Operation, error: TinkexError) -> list[Answer]:
        """Note that ``operation`` was accepted and its result is an error."""
        self.accepted.pop(operation.number, None)
        answers = self._answer(operation, Err(_with(error, operation, None)))
        if operation.makes_gradients:
            answers += self.suspect(error, f"a {operation.name} failed after it had been accepted", operation)
        return answers

    def withdraw(self, operation: Operation, error: TinkexError) -> list[Answer]:
        """End the caller's wait: unsent, it is forgotten; sent, only its result is no longer waited for."""
        known = _with(error, operation, operation.outcome)
        if not operation.sent and operation in self.waiting:
            self.waiting.remove(operation)
        elif operation.accepted:
            self.accepted.pop(operation.number, None)
        return self._answer(operation, Err(known)) + self._vouch()

    def suspect(self, cause: TinkexError, why: str, culprit: Operation | None = None) -> list[Answer]:
        """Stop sending: what waits is refused, and steps behind ``culprit`` are not vouched for."""
        if self.suspicion is None:
            self.suspicion = TinkexError(
                f"{why}; this client sends nothing more until LoadState puts its last checkpoint in place",
                kind="client_suspect",
                category=cause.category,
                status=cause.status,
                data={"cause": cause.message},
            )
        answers: list[Answer] = []
        behind = culprit.first_seq_id if culprit is not None and culprit.makes_gradients else None
        for operation in list(self.accepted.values()) if behind is not None else []:
            if operation.uses_gradients and (operation.first_seq_id or 0) > (behind or 0):
                self.accepted.pop(operation.number)
                answers += self._answer(operation, Err(_with(self.suspicion, operation, "running")))
        return answers + self._clear(self.suspicion)

    def end(self, error: TinkexError) -> list[Answer]:
        """Answer everything that is open with ``error``, and all that is added later: the model is gone."""
        answers = [
            answer
            for operation in self.accepted.values()  # a held step among them: nobody can vouch for its gradients now
            for answer in self._answer(operation, Err(_with(error, operation, operation.outcome)))
        ]
        self.accepted.clear()
        self.held.clear()
        self.suspicion = error
        return answers + self._clear(error)

    def open_operations(self) -> Iterator[Operation]:
        """Yield every operation that is queued, being sent or running, oldest first."""
        yield from self.accepted.values()
        last: Operation | None = None
        for operation in (*(send.operation for send in self.line), *self.waiting):
            if operation is not last:
                yield operation
            last = operation

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, being sent or waited for."""
        return not self.waiting and not self.line and not self.accepted

    @property
    def unused(self) -> bool:
        """Whether nothing was ever sent or asked for: servers take a load only then."""
        return self.idle and self.next_seq_id == 1

    def _in_doubt(self, operation: Operation) -> bool:
        """Whether it uses gradients of which one is awaited still."""
        if not operation.uses_gradients:
            return False
        for earlier in self.accepted.values():  # in the order of their numbers
            if earlier is operation:
                return False
            if earlier.makes_gradients:
                return True
        return False

    def _vouch(self) -> list[Answer]:
        """Answer what waited only for the gradients before it."""
        answers: list[Answer] = []
        for number, operation in list(self.held.items()):
            if number not in self.accepted:
                del self.held[number]
            elif not self._in_doubt(operation):
                del self.held[number]
                self.accepted.pop(number)
                answers += self._answer(operation, Ok(operation.join([part.result for part in operation.parts])))
        return answers

    def _unsend(self, part: Part) -> None:
        if part.seq_id is not None:
            self.next_seq_id = part.seq_id
        part.state = "unsent"
        part.seq_id = None

    def _drop(self, operation: Operation) -> None:
        """Send no more of ``operation``."""
        if self.line and self.line[0].operation is operation:
            self.line.popleft()
        if self.waiting and self.waiting[0] is operation:
            self.waiting.popleft()

    def _clear(self, error: TinkexError) -> list[Answer]:
        """Send no more of anything."""
        if len(self.line) > 1:
            raise AssertionError("what stands behind the first may go out still: it is given back first")
        unsent = [operation for operation in self.open_operations() if operation.number not in self.accepted]
        self.line.clear()
        self.waiting.clear()
        return [
            answer
            for operation in unsent
            for answer in self._answer(operation, Err(_with(error, operation, operation.outcome)))
        ]

    def _refusal(self, operation: Operation) -> Answer:
        if self.suspicion is None:
            raise AssertionError("a client that is not suspect refuses nothing")
        operation.answered = True
        return Answer(operation, Err(_with(self.suspicion, operation, "not_sent")))

    def _answer(self, operation: Operation, result: Result[Any]) -> list[Answer]:
        if operation.answered:
            return []
        operation.answered = True
        return [Answer(operation, result)]


def _with(error: TinkexError, operation: Operation, outcome: str | None) -> TinkexError:
    data = {**error.data, "operation": operation.name}
    if operation.first_seq_id is not None:
        data["seq_id"] = operation.first_seq_id
    if outcome is not None:
        data["outcome"] = outcome
    elaborated = TinkexError(
        error.message,
        kind=error.kind,
        category=error.category,
        status=error.status,
        retry_after=error.retry_after,
        data=data,
    )
    elaborated.__cause__ = error.__cause__
    return elaborated
