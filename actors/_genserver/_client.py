"""What the client actors have in common: work that is done elsewhere and goes on in the mailbox."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from tinkex.actors._genserver._deferred import AbandonReason, Deferred
from tinkex.actors._genserver._dispatch import on
from tinkex.actors._genserver._genserver import GenServer
from tinkex.actors._genserver._reply import Reply
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._runtime._io import IoTask
from tinkex.actors._runtime._log import log
from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._runtime._waiting import LEAST_SECONDS, Waiting, waiting_as
from tinkex.protocol import Err, Request, Result, TinkexError
from tinkex.protocol.replies import OperationStatus

OTHER_PROGRESS_SECONDS: Final = 120.0

P = TypeVar("P")
T = TypeVar("T")


class Continue(msgspec.Struct, frozen=True):
    """Go on with ``step`` in the actor's thread; ``label`` names it in traces."""

    label: str
    step: Callable[[], None]


class Call(msgspec.Struct, eq=False):
    """A request without a number on its way."""

    name: str
    deferred: Deferred[Any]
    waiting: Waiting
    task: IoTask[Any] | None = None
    timer: Timer | None = None
    expires: float | None = None
    """When its ``await_timeout`` ends, in monotonic seconds."""

    progress: Timer | None = None
    """Fires when it may be overdue."""


class ClientActor(GenServer[P]):
    """A GenServer whose handlers start work and return; what comes of it is a message to itself."""

    lists_leaks: ClassVar[bool] = False
    """Whether it answers ``Leaks``, so that a supervisor asks it."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        super().__init__()
        self._calls: dict[Call, None] = {}

    def run_io(self, label: str, work: Coroutine[Any, Any, T], then: Callable[[Result[T]], None]) -> IoTask[Any]:
        """Run ``work`` on the io loop and ``then`` in this actor with its result; ended with this actor.

        A ``TinkexError`` is an ``Err``. Any other exception is a bug and crashes this actor.
        """
        task = self.prepare_io(label, work, then)
        task.begin()
        return task

    def prepare_io(self, label: str, work: Coroutine[Any, Any, T], then: Callable[[Result[T]], None]) -> IoTask[Any]:
        """Like ``run_io``, but ``work`` waits to be begun."""
        return self.prepare_spawn(work, lambda outcome: Continue(label, partial(_resume, outcome, then)))

    def run_soon(self, label: str, then: Callable[[], None]) -> None:
        """Run ``then`` in this actor, from any thread; never, if the actor is gone by then."""
        self.post(Continue(label, then))

    def run_after(self, label: str, seconds: float, then: Callable[[], None]) -> Timer:
        """Run ``then`` in this actor after ``seconds``."""
        return self.send_after(seconds, Continue(label, then))

    def run_when(self, label: str, reply: Reply[T], then: Callable[[Result[T]], None]) -> None:
        """Run ``then`` in this actor when ``reply`` is settled."""
        reply.add_done_callback(lambda result: self.run_soon(label, partial(then, result)))

    def call(self, name: str, message: Request[T], work: Coroutine[Any, Any, T]) -> Deferred[T]:
        """Answer ``message`` with what ``work`` brings, within its ``await_timeout``; a cancel ends the work."""
        call = self.begin_call(name, message)
        self.run_call(call, work)
        return call.deferred

    def begin_call(self, name: str, message: Request[Any]) -> Call:
        """Note a call whose work begins later; its ``await_timeout`` runs from now."""
        call = Call(name, Deferred(), Waiting(self.runtime.clock, self.progress_seconds(name)))
        call.waiting.count()
        call.progress = self.run_after(f"progress of {name}", call.waiting.allowed, partial(self._check_progress, call))
        self._calls[call] = None
        call.deferred.on_abandon(lambda reason: self.run_soon(name, partial(self._abandoned, call, reason)))
        if message.await_timeout is not None:
            call.expires = self.runtime.clock.monotonic() + message.await_timeout
            expire = partial(self._expired, call, message.await_timeout)
            call.timer = self.run_after(name, message.await_timeout, expire)
        return call

    def run_call(self, call: Call, work: Coroutine[Any, Any, Any]) -> None:
        """Begin the work of ``call``."""
        call.waiting.heard("running")
        with waiting_as(call.waiting):
            call.task = self.run_io(call.name, work, partial(self.end_call, call))

    def open_calls(self) -> list[OperationStatus]:
        """Return what ``Status()`` says about calls that have no number."""
        return [operation_status(call.name, call.waiting) for call in self._calls]

    def progress_seconds(self, name: str) -> float:
        """Return after how many seconds of work a call of this name is overdue."""
        del name
        return OTHER_PROGRESS_SECONDS

    @property
    def calls_open(self) -> bool:
        """Whether a call is under way."""
        return bool(self._calls)

    def call_ended(self, call: Call, result: Result[Any]) -> None:
        """React to the end of ``call``; a stopping client may be done with it."""

    @on(Continue)
    def _continue(self, message: Continue) -> None:
        message.step()

    def _abandoned(self, call: Call, reason: AbandonReason) -> None:
        if reason == "cancelled":
            self.end_call(call, Err(cancelled(call.name, _outcome(call))))

    def _expired(self, call: Call, seconds: float) -> None:
        self.end_call(call, Err(await_timeout(call.name, seconds, _outcome(call))))

    def end_call(self, call: Call, result: Result[Any]) -> None:
        """Answer ``call``, unless that was done before."""
        if self.forget_call(call):
            if call.task is not None:
                call.task.cancel()
            call.deferred.settle(result)
            self.call_ended(call, result)

    def forget_call(self, call: Call) -> bool:
        """Leave ``call`` to somebody else to answer; False if it was answered before."""
        if call not in self._calls:
            return False
        del self._calls[call]
        for timer in (call.timer, call.progress):
            if timer is not None:
                timer.cancel()
        return True

    def _check_progress(self, call: Call) -> None:
        waiting = call.waiting
        if waiting.overdue:
            log(actor=type(self).__name__, actor_urn=self.actor_urn).warning(
                "operation overdue",
                operation=call.name,
                state=waiting.state,
                reason=waiting.reason,
                seconds=waiting.worked,
                allowed=waiting.allowed,
            )
        else:
            again = waiting.left or max(waiting.allowed - waiting.worked, LEAST_SECONDS)
            call.progress = self.run_after(f"progress of {call.name}", again, partial(self._check_progress, call))


def operation_status(
    name: str,
    waiting: Waiting | None,
    *,
    seq_id: int | None = None,
    request_id: str | None = None,
    suspicion: str | None = None,
) -> OperationStatus:
    """Return what ``Status()`` says about an open operation; ``suspicion`` is why its client sends nothing more."""
    if waiting is None:
        return OperationStatus(name, "queued", seq_id=seq_id, request_id=request_id)
    return OperationStatus(
        name=name,
        state=waiting.state if suspicion is None else "suspect",
        seq_id=seq_id,
        since=waiting.since,
        request_id=request_id,
        reason=waiting.reason if suspicion is None else suspicion,
        step=waiting.step,
        asked=waiting.asked,
        worked=waiting.worked,
        allowed=waiting.allowed,
        overdue=waiting.overdue,
    )


def _outcome(call: Call) -> str:
    return "not_sent" if call.task is None else "running"


def await_timeout(name: str, seconds: float, outcome: str) -> TinkexError:
    """Build the error of a caller whose ``await_timeout`` passed."""
    return TinkexError(
        f"{name} was not done within await_timeout={seconds:g} s",
        kind="await_timeout",
        category="unknown",
        data={"operation": name, "outcome": outcome},
    )


def cancelled(name: str, outcome: str) -> TinkexError:
    """Build the error of a caller who cancelled."""
    return TinkexError(
        f"{name} was cancelled", kind="cancelled", category="user", data={"operation": name, "outcome": outcome}
    )


def _resume(outcome: Outcome[T], then: Callable[[Result[T]], None]) -> None:
    if not outcome.cancelled:
        then(outcome.result())
