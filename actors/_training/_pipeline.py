"""Sends and polls of one model: carries out what ``Sequence`` decides."""

from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from tinkex.actors._genserver._client import ClientActor, operation_status
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._leases._acquire import session_gone
from tinkex.actors._runtime._log import debugging
from tinkex.actors._training._callers import Callers, Settle
from tinkex.actors._training._operation import Operation, Part
from tinkex.actors._training._passes import (
    Outcome,
    Post,
    Verdict,
    read_part,
    send_and_ask,
    send_and_tell,
    send_part,
)
from tinkex.actors._training._proof import prove_save
from tinkex.actors._training._queue_watch import QueueWatch
from tinkex.actors._training._results import Results
from tinkex.actors._training._runway import Flight, Runway
from tinkex.actors._training._sequence import Answer, Send, Sequence
from tinkex.actors._transport import (
    Accepted,
    Departure,
    Done,
    Exists,
    Failed,
    PassForm,
    Refused,
    ResultLost,
    Transport,
    Unknown,
    conflict,
    future_of,
    read_inline,
)
from tinkex.protocol import Ok, Request, Result, TinkexError, wire
from tinkex.protocol.replies import OperationStatus

STAGED: Final = 8
"""Brief requests that are written ahead, behind the one on its way."""

LOW: Final = 4
"""With fewer than this ahead, and more to send, the actor hears of an acceptance at once; else when it is awake."""

_GONE: Final = frozenset({404, 410})


class Pipeline:
    """The requests of one model on their way. Used in its actor's thread only, where nothing else is said.

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
        self._callers = Callers(actor, self._withdraw, log)
        self._runway = Runway(lambda: actor.run_soon("accepted", self._on_heard))
        self._line: deque[Flight] = deque()
        """What the sequence has in line, and what sends it."""

        self._results = Results(actor, transport, self._runway.halt, self._on_result_of)
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
            self._callers.watch(message, operation, deferred, seconds)

    def enqueue(self, operation: Operation, settle: Settle) -> None:
        """Queue ``operation``; ``settle`` is given its result."""
        self._catch_up()
        self._callers.add(operation, settle)
        self._queue.follow(operation)
        self._react(self.sequence.add(operation))

    def abort(self, error: TinkexError) -> None:
        """Answer everything that is open with ``error``: the model is gone."""
        self._recall()
        self._react(self.sequence.end(error))

    @property
    def next_seq_id(self) -> int:
        """The number of the next request that is begun."""
        self._catch_up()
        line = self.sequence.line
        return line[1].seq_id if len(line) > 1 else self.sequence.next_seq_id

    def status(self) -> list[OperationStatus]:
        """Return what ``Status()`` says about every open operation, oldest first."""
        self._catch_up()
        suspicion = self.sequence.suspicion
        staged = {flight.send.operation.number for flight in list(self._line)[1:]}
        return [
            operation_status(
                operation.name,
                operation.waiting,
                seq_id=None if operation.number in staged else operation.first_seq_id,
                request_id=operation.parts[0].request_id,
                suspicion=None if suspicion is None else suspicion.message,
            )
            for operation in self.sequence.open_operations()
        ]

    def _react(self, answers: list[Answer]) -> None:
        """Do what an event brings about; whom it wakes last of all, as two threads cannot run at once."""
        if self._line and not self.sequence.line:  # it turned suspect, and waits for nothing more
            self._line[0].task.cancel()
            self._land()
        answers = answers + self._fill()
        self._queue.look(next(self.sequence.open_operations(), None))
        for operation, result in answers:
            self._deliver(operation, result)
        self._results.ask_more(self._asking())
        self._settled()
        self._runway.depart()

    def _deliver(self, operation: Operation, result: Result[Any]) -> None:
        self._queue.answered(operation)
        self._results.forget(operation)
        self._callers.answer(operation, result)

    # Sending

    def _fill(self) -> list[Answer]:
        """Write ahead what there is room for, and say when to hear of acceptances; return who is refused."""
        refused: list[Answer] = []
        while True:
            refused += self._pump()
            low = LOW if self.sequence.waiting else 0
            if any(flight.send.operation.answered for flight in self._line):  # their results are not to be asked for
                low = STAGED + 1
            if not self._runway.listen(low) or not low:
                return refused
            self._catch_up()  # of what was accepted before that was said

    def _pump(self) -> list[Answer]:
        refused: list[Answer] = []
        while self._may_stage() and (send := self.sequence.take()) is not None:
            try:
                self._stage(send)
            except TinkexError as error:  # it has no form that this server takes; the next one has its number
                refused += self.sequence.refuse(send.operation, send.part, error)
        return refused

    def _may_stage(self) -> bool:
        waiting = self.sequence.waiting
        if self._doubts or not waiting:
            return False
        return not self._line or (len(self._line) <= STAGED and waiting[0].brief)

    def _stage(self, send: Send) -> None:
        operation, part, seq_id = send
        what, observe, departure = operation.name, operation.observe, Departure()
        save = operation.save_name is not None
        post = send_part(self._transport, part, seq_id, what=what, observe=observe, save=save, departure=departure)
        begin, accepted = partial(self._begun, send, post), partial(self._runway.accepted, send)
        asks = len(operation.parts) == 1 and self._results.room(self._asking())
        if asks:
            work: Coroutine[Any, Any, Verdict | Outcome] = send_and_ask(
                self._transport, part, begin, accepted, self._runway.halt, what=what, observe=observe
            )
        else:
            work = send_and_tell(begin, accepted, what=what)
        task = self._actor.prepare_io(f"sent {what} {seq_id}", work, partial(self._on_sent, send))
        flight = Flight(send, task, departure, asks)
        self._line.append(flight)
        if self._runway.stage(flight):
            observe("sending", None)  # here, where it is no news to the actor

    def _asking(self) -> int:
        """How many in line will be asked for behind their acceptance."""
        return sum(flight.asks for flight in self._line)

    def _begun(self, send: Send, post: Post) -> Coroutine[Any, Any, Verdict]:
        """On the io loop: it is its turn."""
        operation = send.operation
        if operation.save_name is not None and operation.server_time is None:
            operation.server_time = self._transport.server_time
        operation.observe("sending", None)
        if debugging():
            self._log.debug("sending", operation=operation.name, seq_id=send.seq_id)
        return post()

    def _on_heard(self) -> None:
        self._catch_up()
        self._react([])

    def _catch_up(self) -> None:
        """Learn what the server has accepted meanwhile."""
        for send, sent, request_id in self._runway.heard():
            if self._line and self._line[0].send is send:  # else it was given up
                self._taken(self._line.popleft(), sent, request_id)

    def _taken(self, flight: Flight, sent: Accepted, request_id: str | None) -> None:
        operation, part, _ = flight.send
        operation.ambiguous = operation.ambiguous or sent.ambiguous
        self.sequence.accept(operation, part, request_id)
        if not flight.asks or request_id is None:
            operation.observe("running" if operation.accepted else "sending", None)
            if operation.accepted:
                self._results.ask(operation)
        elif operation.answered:  # its caller has stopped waiting
            flight.task.cancel()
        else:
            self._results.asked(operation, flight.task)

    def _recall(self, *, heard: bool = False) -> None:
        """Call back what has not begun, before numbers or the whole client are in question.

        ``heard`` says that it is for a failure of which the io loop knew first.
        """
        for flight in self._runway.recall(heard=heard):
            self._line.pop()
            self.sequence.give_back(flight.send)
        self._catch_up()

    def _land(self) -> None:
        """Note that what was on its way has ended there, and let what is behind it begin."""
        self._runway.land(self._line.popleft())

    def _on_sent(self, send: Send, result: Result[Verdict | Outcome]) -> None:
        self._catch_up()
        operation, part, _ = send
        outcome = result.unwrap()
        if isinstance(outcome, Done | Failed | ResultLost):
            self._on_outcome(operation, part, outcome)
        elif self._line and self._line[0].send is send:
            self._on_verdict(send, outcome)
        else:  # it was accepted, of which this actor has heard, or given up
            self._react([])

    def _on_verdict(self, send: Send, verdict: Verdict) -> None:
        operation, part, _ = send
        match verdict:
            case Accepted():
                self._on_inline(operation, part, verdict)
            case Refused(error):
                self._end_flight()
                self._react(self.sequence.refuse(operation, part, error))
            case Unknown(error):
                self._end_flight()
                self._react(self.sequence.lose(operation, error))
            case Exists(error):
                self._prove(operation, part, error)

    def _end_flight(self) -> None:
        """Note that the one on its way is not accepted."""
        self._recall()
        self._land()

    def _on_inline(self, operation: Operation, part: Part, sent: Accepted) -> None:
        try:
            future_of(sent.body, operation.name)
        except TinkexError as error:  # a success that is not the API's: a proxy's, say
            self._end_flight()
            self._react(self.sequence.lose(operation, error))
            return
        flight = self._line.popleft()
        self._taken(flight, sent, None)
        outcome = read_inline(operation.name, sent.body)
        if not isinstance(outcome, Done):
            self._recall()
        self._on_result(operation, part, outcome)
        self._runway.land(flight)  # last: behind a failure nothing begins

    # Results

    def _on_result_of(self, operation: Operation, part: Part, outcome: Outcome) -> None:
        self._catch_up()
        self._on_outcome(operation, part, outcome)

    def _on_outcome(self, operation: Operation, part: Part, outcome: Outcome) -> None:
        self._results.came(operation, part)
        failed = not isinstance(outcome, Done)
        if failed:
            self._recall(heard=True)
        spoils = failed and operation.makes_gradients and self.sequence.suspicion is None
        if spoils or not operation.answered:  # a failed pass is one, though its caller has just stopped waiting
            self._on_result(operation, part, outcome)
        elif failed:
            self._react([])

    def _on_result(self, operation: Operation, part: Part, outcome: Outcome) -> None:
        """React to ``outcome``; what had not begun was called back, unless it is ``Done``."""
        match outcome:
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
        self._recall()
        if isinstance(result, Ok) and result.value is not None:
            self._session_lost(result.value)
        else:
            self._react(self.sequence.lose(operation, error))

    def _on_failed(self, operation: Operation, part: Part, error: TinkexError) -> None:
        taken = operation.save_name is not None and error.category == "user" and "exists" in error.message
        if taken and operation.ambiguous:
            self._prove(operation, part, conflict(operation.name))
            self._react([])
        else:
            self._react(self.sequence.fail(operation, conflict(operation.name) if taken else error))

    def _read(self, operation: Operation, part: Part, body: bytes, form: PassForm) -> list[Answer]:
        try:
            value = read_part(part, body, form)
        except TinkexError as error:
            self._recall()
            return self.sequence.lose(operation, error)
        return self.sequence.finish(operation, part, value)

    def _prove(self, operation: Operation, part: Part, error: TinkexError) -> None:
        work = prove_save(self._transport, self._model_id, operation)
        self._actor.run_io(f"whose {operation.name}", work, partial(self._on_proved, operation, part, error))

    def _on_proved(self, operation: Operation, part: Part, error: TinkexError, result: Result[str | None]) -> None:
        self._recall()
        if operation.answered and self.sequence.sending is not operation:
            self._react([])
            return
        if isinstance(result, Ok) and result.value is not None:
            if part.state == "sending":
                self._land()
                self.sequence.accept(operation, part, None)
            saved = wire.encode(wire.SaveWeightsResult(path=result.value))
            self._react(self.sequence.finish(operation, part, part.decode(saved)))
        elif part.state == "sending":
            self._land()
            self._react(self.sequence.lose(operation, error))
        else:
            self._react(self.sequence.fail(operation, error))

    def _withdraw(self, operation: Operation, error: TinkexError) -> None:
        """Answer ``operation`` with ``error``; where nothing of it went out, nothing will, and its number is free."""
        self._catch_up()
        if any(flight.send.operation is operation for flight in self._line):
            self._recall()
        at_door = [part for part in operation.parts if part.state != "unsent"]
        first = bool(self._line) and self._line[0].send.operation is operation
        if first and [part.state for part in at_door] == ["sending"] and self._line[0].departure.claim():
            self._line[0].task.cancel()
            self._land()
            self._react(self.sequence.refuse(operation, at_door[0], error))
        else:
            self._react(self.sequence.withdraw(operation, error))
