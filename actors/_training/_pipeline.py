"""Sends and polls of one model: carries out what ``Sequence`` decides."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from tinkex.actors._genserver._client import ClientActor, await_timeout, cancelled, operation_status
from tinkex.actors._genserver._deferred import AbandonReason, Deferred
from tinkex.actors._leases._acquire import session_gone
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._runtime._io import IoTask
from tinkex.actors._runtime._log import debugging
from tinkex.actors._training._operation import Operation, Part
from tinkex.actors._training._passes import Outcome, Verdict, poll_part, read_part, send_and_ask, send_part
from tinkex.actors._training._proof import prove_save
from tinkex.actors._training._queue_watch import QueueWatch
from tinkex.actors._training._sequence import Answer, Sequence
from tinkex.actors._transport import (
    Accepted,
    Departure,
    Done,
    Exists,
    Failed,
    Observe,
    PassForm,
    Refused,
    ResultLost,
    Transport,
    Unknown,
    conflict,
    future_of,
    read_inline,
)
from tinkex.protocol import Err, Ok, Request, Result, TinkexError, wire
from tinkex.protocol.replies import OperationStatus

POLL_WINDOW: Final = 32
"""Results that are asked for at once; a model's results come in order, so later ones lose nothing by waiting."""

_GONE: Final = frozenset({404, 410})

Settle = Callable[[Result[Any]], object]


class Pipeline:
    """The requests of one model on their way. Used in its actor's thread only.

    Args:
        actor: whose thread and io scope this runs in.
        transport: the way to the server.
        model_id: the model.
        session_id: the session that it lives in.
        settled: told after every event, for an actor that waits until nothing is open.
        session_lost: told when a lost result turns out to be a lost session.
        queue: follows what the requests wait for.
    """

    def __init__(
        self,
        actor: ClientActor[Any],
        transport: Transport,
        model_id: str,
        session_id: str,
        *,
        settled: Callable[[], None],
        session_lost: Callable[[TinkexError], None],
        queue: QueueWatch,
        log: Any,
    ) -> None:
        """Begin at number 1 with nothing under way."""
        self.sequence = Sequence()
        self._actor = actor
        self._transport = transport
        self._model_id = model_id
        self._session_id = session_id
        self._settled = settled
        self._session_lost = session_lost
        self._queue = queue
        self._log = log
        self._settles: dict[int, Settle] = {}
        self._timers: dict[int, Timer] = {}
        self._send: IoTask[Any] | None = None
        self._departure = Departure()
        self._polls: dict[tuple[int, int], IoTask[Any]] = {}
        self._doubts = 0

    def submit(self, message: Request[Any], operation: Operation) -> Deferred[Any]:
        """Queue ``operation`` for ``message`` and return what its caller waits for."""
        deferred = Deferred[Any]()
        self.resume(message, operation, deferred, message.await_timeout)
        return deferred

    def resume(
        self, message: Request[Any], operation: Operation, deferred: Deferred[Any], seconds: float | None
    ) -> None:
        """Queue ``operation`` for a caller who waits already and has ``seconds`` left of his ``await_timeout``."""
        self.enqueue(operation, deferred.settle)
        if not operation.answered:
            abandon = partial(self._abandoned, operation)
            deferred.on_abandon(lambda reason: self._actor.run_soon(operation.name, partial(abandon, reason)))
            if seconds is not None and message.await_timeout is not None:
                expire = partial(self._expired, operation, message.await_timeout)
                self._timers[operation.number] = self._actor.run_after(operation.name, seconds, expire)

    def enqueue(self, operation: Operation, settle: Settle) -> None:
        """Queue ``operation``; ``settle`` is given its result."""
        self._settles[operation.number] = settle
        self._queue.follow(operation)
        self._react(self.sequence.add(operation))

    def abort(self, error: TinkexError) -> None:
        """Answer everything that is open with ``error``: the model is gone."""
        answers: list[Answer] = []
        for operation in list(self.sequence.open_operations()):
            answers += self.sequence.withdraw(operation, error)
        self.sequence.sending = None
        self.sequence.suspicion = error
        self._react(answers)

    def status(self) -> list[OperationStatus]:
        """Return what ``Status()`` says about every open operation, oldest first."""
        suspicion = self.sequence.suspicion
        return [
            operation_status(
                operation.name,
                operation.waiting,
                seq_id=operation.first_seq_id,
                request_id=operation.parts[0].request_id,
                suspicion=None if suspicion is None else suspicion.message,
            )
            for operation in self.sequence.open_operations()
        ]

    def _react(self, answers: list[Answer]) -> None:
        for operation, result in answers:
            self._deliver(operation, result)
        if self.sequence.suspicion is not None and self._send is not None and self.sequence.sending is None:
            self._send.cancel()
            self._send = None
        self._pump()
        self._poll_more()
        self._queue.look(next(self.sequence.open_operations(), None))
        self._settled()

    def _deliver(self, operation: Operation, result: Result[Any]) -> None:
        self._queue.answered(operation)
        timer = self._timers.pop(operation.number, None)
        if timer is not None:
            timer.cancel()
        for index in range(len(operation.parts)):
            poll = self._polls.pop((operation.number, index), None)
            if poll is not None:
                poll.cancel()
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

    # Sending

    def _pump(self) -> None:
        if self._doubts:
            return
        while (send := self.sequence.take()) is not None:
            operation, part, seq_id = send
            try:
                self._begin(operation, part, seq_id)
            except TinkexError as error:  # it has no form that this server takes; the next one has its number
                for refused, result in self.sequence.refuse(operation, part, error):
                    self._deliver(refused, result)

    def _begin(self, operation: Operation, part: Part, seq_id: int) -> None:
        if operation.server_time is None:
            operation.server_time = self._transport.server_time
        observe, save = _observer(operation), operation.save_name is not None
        observe("sending", None)
        self._departure = gone = Departure()
        what, label = operation.name, f"sent {operation.name} {seq_id}"
        send = send_part(self._transport, part, seq_id, what=what, observe=observe, save=save, departure=gone)
        if debugging():
            self._log.debug("sending", operation=what, seq_id=seq_id)
        if len(operation.parts) > 1 or len(self._polls) >= POLL_WINDOW:
            work: Coroutine[Any, Any, Verdict | Outcome] = send()
        else:
            accepted = partial(self._accepted_soon, operation, part)
            work = send_and_ask(self._transport, part, send, accepted, what=what, observe=observe)
        self._send = self._actor.run_io(label, work, partial(self._on_sent, operation, part))

    def _accepted_soon(self, operation: Operation, part: Part, sent: Accepted, request_id: str) -> None:
        """On the io loop: it was accepted, and its result is asked for."""
        then = partial(self._on_asked, operation, part, sent, request_id)
        self._actor.run_soon(f"accepted {operation.name} {part.seq_id}", then)

    def _on_asked(self, operation: Operation, part: Part, sent: Accepted, request_id: str) -> None:
        if self.sequence.sending is not operation or self._send is None:
            return
        poll, self._send = self._send, None
        if operation.answered:  # its caller has stopped waiting
            poll.cancel()
        else:
            self._polls[operation.number, 0] = poll
        operation.ambiguous = operation.ambiguous or sent.ambiguous
        self._react(self.sequence.accept(operation, part, request_id))

    def _on_sent(self, operation: Operation, part: Part, result: Result[Verdict | Outcome]) -> None:
        key = (operation.number, 0)
        if key in self._polls:  # it was accepted, and its result asked for: this is that
            self._on_polled(operation, part, key, result)
            return
        if self.sequence.sending is not operation:
            return
        self._send = None
        match result.unwrap():
            case Accepted(body, ambiguous):
                operation.ambiguous = operation.ambiguous or ambiguous
                self._on_accepted(operation, part, body)
            case Refused(error):
                self._react(self.sequence.refuse(operation, part, error))
            case Unknown(error):
                self._react(self.sequence.lose(operation, error))
            case Exists(error):
                self._prove(operation, part, error)
            case Done() | Failed() | ResultLost():
                raise AssertionError("a result is asked for behind an acceptance, of which this actor hears first")

    def _on_accepted(self, operation: Operation, part: Part, body: bytes) -> None:
        try:
            request_id = future_of(body, operation.name)
        except TinkexError as error:  # a success that is not the API's: a proxy's, say
            self._react(self.sequence.lose(operation, error))
            return
        answers = self.sequence.accept(operation, part, request_id)
        _observer(operation)("running" if operation.accepted else "sending", None)
        if request_id is None:
            self._on_result(operation, part, read_inline(operation.name, body))
        else:
            self._react(answers)

    # Waiting for results

    def _poll_more(self) -> None:
        for operation in self.sequence.accepted.values():
            for index, part in enumerate(operation.parts):
                if len(self._polls) >= POLL_WINDOW:
                    return
                key = (operation.number, index)
                if part.state == "accepted" and part.request_id is not None and key not in self._polls:
                    work = poll_part(
                        self._transport, part, part.request_id, what=operation.name, observe=_observer(operation)
                    )
                    then = partial(self._on_polled, operation, part, key)
                    self._polls[key] = self._actor.run_io(f"result of {operation.name} {part.seq_id}", work, then)

    def _on_polled(self, operation: Operation, part: Part, key: tuple[int, int], result: Result[Any]) -> None:
        self._polls.pop(key, None)
        if operation.answered:
            return
        self._on_result(operation, part, result.unwrap())

    def _on_result(self, operation: Operation, part: Part, verdict: Done | Failed | ResultLost) -> None:
        match verdict:
            case Done(body, form):
                self._react(self._read(operation, part, body, form))
            case Failed(error):
                self._on_failed(operation, part, error)
            case ResultLost(error) if error.status in _GONE:
                self._doubts += 1
                work = session_gone(self._transport, self._session_id)
                self._actor.run_io("is the session gone", work, partial(self._on_doubt, operation, error))
            case ResultLost(error):
                self._react(self.sequence.lose(operation, error))

    def _on_doubt(self, operation: Operation, error: TinkexError, result: Result[TinkexError | None]) -> None:
        self._doubts -= 1
        if isinstance(result, Ok) and result.value is not None:
            self._session_lost(result.value)
        else:
            self._react(self.sequence.lose(operation, error))

    def _on_failed(self, operation: Operation, part: Part, error: TinkexError) -> None:
        taken = operation.save_name is not None and error.category == "user" and "exists" in error.message
        if taken and operation.ambiguous:
            self._prove(operation, part, conflict(operation.name))
        else:
            self._react(self.sequence.fail(operation, conflict(operation.name) if taken else error))

    def _read(self, operation: Operation, part: Part, body: bytes, form: PassForm) -> list[Answer]:
        try:
            value = read_part(part, body, form)
        except TinkexError as error:
            return self.sequence.lose(operation, error)
        return self.sequence.finish(operation, part, value)

    def _prove(self, operation: Operation, part: Part, error: TinkexError) -> None:
        work = prove_save(self._transport, self._model_id, operation)
        self._actor.run_io(f"whose {operation.name}", work, partial(self._on_proved, operation, part, error))

    def _on_proved(self, operation: Operation, part: Part, error: TinkexError, result: Result[str | None]) -> None:
        if operation.answered and self.sequence.sending is not operation:
            return
        if isinstance(result, Ok) and result.value is not None:
            if part.state == "sending":
                self.sequence.accept(operation, part, None)
            saved = wire.encode(wire.SaveWeightsResult(path=result.value))
            self._react(self.sequence.finish(operation, part, part.decode(saved)))
        elif part.state == "sending":
            self._react(self.sequence.lose(operation, error))
        else:
            self._react(self.sequence.fail(operation, error))

    # Callers who stop waiting

    def _expired(self, operation: Operation, seconds: float) -> None:
        self._withdraw(operation, await_timeout(operation.name, seconds, operation.outcome))

    def _abandoned(self, operation: Operation, reason: AbandonReason) -> None:
        if reason == "cancelled":
            self._withdraw(operation, cancelled(operation.name, operation.outcome))

    def _withdraw(self, operation: Operation, error: TinkexError) -> None:
        """Answer ``operation`` with ``error``; where nothing of it went out, nothing will, and its number is free."""
        at_door = [part for part in operation.parts if part.state != "unsent"]
        first = self.sequence.sending is operation and [part.state for part in at_door] == ["sending"]
        if first and self._send is not None and self._departure.claim():
            self._send.cancel()
            self._send = None
            self._react(self.sequence.refuse(operation, at_door[0], error))
        else:
            self._react(self.sequence.withdraw(operation, error))


def _observer(operation: Operation) -> Observe:
    if operation.waiting is None:
        raise AssertionError("an operation is followed from the moment that it is queued")
    return operation.waiting.heard
