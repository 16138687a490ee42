"""The supervisor: owns its children, learns of every end, and stops them in reverse order of their start."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import exposed, on
from tinkex.actors._genserver._genserver import GenServer
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._watch import Down
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._runtime._log import log
from tinkex.actors._runtime._turns import WorldEnded
from tinkex.actors._supervision._supervisor_proxy import SupervisorProxy
from tinkex.protocol import ChildSpec, Err, Ok, Result, TinkexError, messages
from tinkex.protocol.replies import (
    ActorStatus,
    ChildCounts,
    ChildInfo,
    ChildList,
    ChildStopped,
    LeakReport,
    LeaseReport,
)

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]


@dataclass(eq=False)
class _Child:
    spec: ChildSpec
    ref: GenRef[Any]
    stopping: bool = False
    deadline: Timer | None = None
    waiting: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])


class Supervisor(ClientActor[SupervisorProxy]):
    """An actor that starts, watches and ends other actors.

    Every child is ``temporary`` for now: watched, stopped with its supervisor, not started again. A specification that
    asks for restarts is refused rather than half kept. When the supervisor itself crashes or is killed, its children
    are killed: none outlives it.
    """

    shutdown: ClassVar[float] = 10.0
    lists_leaks: ClassVar[bool] = True

    def __init__(self, strategy: Strategy = "one_for_one", max_restarts: int = 3, max_seconds: float = 5.0) -> None:
        """Start without children; bad options are a ``TinkexError`` (kind ``validation``)."""
        super().__init__()
        _check_options(strategy, max_restarts, max_seconds)
        self._children: dict[str, _Child] = {}
        self._stopping = False
        self._log = log(actor="Supervisor", actor_urn=self.actor_urn)
        self.add_finalizer(self._kill_children)

    @exposed
    def start_child(self, spec: ChildSpec) -> Any:
        """Start a child; see ``messages.StartChild``."""
        return self.handle_call(messages.StartChild, spec)

    @exposed
    def terminate_child(self, id: str) -> Any:  # noqa: A002 - OTP's word
        """Stop a child; see ``messages.TerminateChild``."""
        return self.handle_call(messages.TerminateChild, id)

    @exposed
    def restart_child(self, id: str) -> Any:  # noqa: A002 - OTP's word
        """Start a stopped child again; see ``messages.RestartChild``."""
        return self.handle_call(messages.RestartChild, id)

    @exposed
    def which_children(self) -> Any:
        """List the children; see ``messages.WhichChildren``."""
        return self.handle_call(messages.WhichChildren)

    @exposed
    def count_children(self) -> Any:
        """Count the children; see ``messages.CountChildren``."""
        return self.handle_call(messages.CountChildren)

    @exposed
    def leaks(self) -> Any:
        """List what could not be released; see ``messages.Leaks``."""
        return self.handle_call(messages.Leaks)

    @exposed
    def status(self) -> Any:
        """Say what this supervisor is doing; see ``messages.Status``."""
        return self.handle_call(messages.Status)

    @on(messages.StartChild)
    def _on_start_child(self, message: messages.StartChild) -> Result[Any]:
        spec = message.spec
        refusal = self._refuse(spec)
        if refusal is not None:
            return Err(refusal)
        try:
            ref = spec.actor_class.start(*spec.args, **dict(spec.kwargs))
        except WorldEnded:
            raise
        except BaseException as cause:  # noqa: BLE001 - whatever it is, it is the child's crash and not its supervisor's
            error = _start_error(spec, cause)
            self._log.warning("child did not start", child=spec.id, error=error.message)
            return Err(error)
        child = _Child(spec, ref)
        self._children[spec.id] = child
        self.monitor(ref)
        self._log.debug("child started", child=spec.id, child_urn=ref.actor_urn)
        return Ok(ref)

    def _refuse(self, spec: ChildSpec) -> TinkexError | None:
        if not issubclass(spec.actor_class, GenServer):
            return _invalid(f"child {spec.id!r}: actor_class must be a GenServer, not {spec.actor_class.__name__}")
        if spec.restart != "temporary":
            return _invalid(
                f"child {spec.id!r}: restart={spec.restart!r} is not supported yet; use restart='temporary'"
            )
        if spec.name is not None:
            return _invalid(f"child {spec.id!r}: names are not supported yet; use the ref that StartChild answers with")
        if self._stopping:
            return TinkexError("this supervisor is stopping", kind="actor_dead", category="unknown")
        if spec.id in self._children:
            return TinkexError(
                f"a child with id {spec.id!r} is there already", kind="conflict", category="user", data={"id": spec.id}
            )
        return None

    @on(messages.TerminateChild)
    def _on_terminate_child(self, message: messages.TerminateChild) -> Result[ChildStopped] | Deferred[ChildStopped]:
        child = self._children.get(message.id)
        if child is None:
            return Err(_unknown_child(message.id))
        call = self.begin_call("terminate_child", message)
        child.waiting.append(lambda: self.end_call(call, Ok(ChildStopped(id=message.id))))
        self._end_child(child)
        return call.deferred

    @on(messages.RestartChild)
    def _on_restart_child(self, message: messages.RestartChild) -> Result[Any]:
        if message.id not in self._children:
            return Err(_unknown_child(message.id))
        return Err(
            TinkexError(
                f"child {message.id!r} is running; a temporary child is not started again",
                kind="conflict",
                category="user",
                data={"id": message.id},
            )
        )

    @on(messages.WhichChildren)
    def _on_which_children(self, _message: messages.WhichChildren) -> Result[ChildList]:
        return Ok(
            ChildList(
                children=[
                    ChildInfo(
                        id=child.spec.id,
                        actor_urn=child.ref.actor_urn,
                        actor_class=child.spec.actor_class.__name__,
                        restart=child.spec.restart,
                        alive=child.ref.is_alive(),
                    )
                    for child in self._children.values()
                ]
            )
        )

    @on(messages.CountChildren)
    def _on_count_children(self, _message: messages.CountChildren) -> Result[ChildCounts]:
        supervisors = sum(issubclass(child.spec.actor_class, Supervisor) for child in self._children.values())
        return Ok(
            ChildCounts(
                specs=len(self._children),
                active=sum(child.ref.is_alive() for child in self._children.values()),
                supervisors=supervisors,
                workers=len(self._children) - supervisors,
            )
        )

    @on(messages.Leaks)
    def _on_leaks(self, message: messages.Leaks) -> Deferred[LeakReport]:
        call = self.begin_call("leaks", message)
        asked = [child.ref.ask(message, block=False) for child in self._children.values() if _lists_leaks(child)]
        found: list[LeaseReport] = []
        left = len(asked)

        def told(result: Result[LeakReport]) -> None:
            nonlocal left
            left -= 1
            found.extend(result.value.leases if isinstance(result, Ok) else [])
            if not left:
                self.end_call(call, Ok(LeakReport(leases=found)))

        for reply in asked:
            self.run_when("leaks", reply, told)
        if not asked:
            self.end_call(call, Ok(LeakReport(leases=[])))
        return call.deferred

    @on(messages.Status)
    def _on_status(self, _message: messages.Status) -> Result[ActorStatus]:
        return Ok(
            ActorStatus(
                actor=self.actor_urn,
                state="stopping" if self._stopping else "ready",
                session_id=None,
                model_id=None,
                next_seq_id=None,
                operations=[],
            )
        )

    @on(Down)
    def _on_down(self, message: Down) -> None:
        for child in list(self._children.values()):
            if child.ref.actor_urn == message.urn:
                self._forget(child, message)

    def _forget(self, child: _Child, down: Down) -> None:
        del self._children[child.spec.id]
        if child.deadline is not None:
            child.deadline.cancel()
        event = self._log.bind(child=child.spec.id, child_urn=down.urn, reason=down.reason)
        if down.error is not None and down.reason == "crashed":
            event.error("child crashed", error=down.error.message)
        else:
            event.debug("child ended")
        for tell in child.waiting:
            tell()
        if self._stopping:
            self._stop_next()

    def on_drain(self) -> None:
        """Stop the children one after another, the youngest first."""
        self._stopping = True
        self._stop_next()

    def _stop_next(self) -> None:
        if not self._children:
            self.drained()
            return
        youngest = next(reversed(self._children.values()))
        self._end_child(youngest)

    def _end_child(self, child: _Child) -> None:
        if child.stopping:
            return
        child.stopping = True
        child.ref.stop(block=False, reason="shutdown", shutdown=child.spec.shutdown)
        child.deadline = self.run_after(f"kill {child.spec.id}", child.spec.shutdown, partial(_kill, child.ref))

    def _kill_children(self, _reason: str) -> None:
        for child in reversed(list(self._children.values())):
            child.ref.kill("killed")


def _kill(ref: GenRef[Any]) -> None:
    ref.kill("killed")


def _lists_leaks(child: _Child) -> bool:
    actor_class = child.spec.actor_class
    return issubclass(actor_class, ClientActor) and actor_class.lists_leaks


def _start_error(spec: ChildSpec, cause: BaseException) -> TinkexError:
    if isinstance(cause, TinkexError):
        return cause
    error = TinkexError(
        f"child {spec.id!r} did not start: {type(cause).__name__}: {cause}",
        kind="actor_crashed",
        category="unknown",
        data={"id": spec.id},
    )
    error.__cause__ = cause.with_traceback(None)
    return error


def _check_options(strategy: Any, max_restarts: Any, max_seconds: Any) -> None:
    if strategy not in ("one_for_one", "one_for_all", "rest_for_one"):
        raise _invalid(f"strategy must be one_for_one, one_for_all or rest_for_one, not {strategy!r}")
    if not isinstance(max_restarts, int) or isinstance(max_restarts, bool) or max_restarts < 0:
        raise _invalid(f"max_restarts must be a whole number of at least 0, not {max_restarts!r}")
    if not isinstance(max_seconds, int | float) or isinstance(max_seconds, bool) or not 0 < max_seconds < float("inf"):
        raise _invalid(f"max_seconds must be a finite number above 0, not {max_seconds!r}")


def _invalid(message: str) -> TinkexError:
    return TinkexError(message, kind="validation", category="user")


def _unknown_child(child_id: str) -> TinkexError:
    return TinkexError(
        f"there is no child with id {child_id!r}", kind="validation", category="user", data={"id": child_id}
    )
