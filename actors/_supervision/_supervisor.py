"""The supervisor: owns its children, learns of every end, and stops them in reverse order of their start."""

from functools import partial
from typing import Any, ClassVar, Final

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import exposed, on
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._watch import Down, DownReason
from tinkex.actors._supervision._child import (
    Child,
    check_options,
    conflict,
    lists_leaks,
    refuse,
    stopping,
    unknown_child,
)
from tinkex.actors._supervision._events import Events, GivenUp
from tinkex.actors._supervision._gather import Gather
from tinkex.actors._supervision._names import names
from tinkex.actors._supervision._policy import Intensity, Strategy, wants_restart
from tinkex.actors._supervision._restarts import Restarts
from tinkex.actors._supervision._roster import Roster
from tinkex.actors._supervision._supervisor_proxy import SupervisorProxy
from tinkex.actors._supervision._tree import SHARE, complete, look, supervisor_state
from tinkex.protocol import ChildSpec, Err, Ok, Result, TinkexError, messages
from tinkex.protocol.replies import (
    ActorStatus,
    ChildCounts,
    ChildList,
    ChildStopped,
    LeakReport,
    SupervisionTree,
)


class RestartsExhaustedError(Exception):
    """A supervisor gives up: its children needed more restarts than it allows."""


class Supervisor(ClientActor[SupervisorProxy]):
    """An actor that starts, watches, restarts and ends other actors.

    A child that ends by itself is started again as its ``restart`` says, together with those of its siblings that the
    strategy names; they are stopped youngest first, and started oldest first. The first restart happens at once, later
    ones after a random wait that grows. With more than ``max_restarts`` of them within ``max_seconds`` the supervisor
    stops its children and crashes, which its own supervisor sees. A restarted child has a new ref: ``WhichChildren``
    tells its ``actor_urn``, and ``named`` reaches it by its name. When the supervisor itself crashes or is killed, its
    children are killed: none outlives it.

    Source of the rules: OTP's ``supervisor``. Unlike there, restarts back off.
    """

    shutdown: ClassVar[float] = 10.0
    lists_leaks: ClassVar[bool] = True

    def __init__(self, strategy: Strategy = "one_for_one", max_restarts: int = 3, max_seconds: float = 5.0) -> None:
        """Start without children; bad options are a ``TinkexError`` (kind ``validation``)."""
        super().__init__()
        check_options(strategy, max_restarts, max_seconds)
        self._strategy: Final[Strategy] = strategy
        self._max_restarts: Final = max_restarts
        self._max_seconds: Final = max_seconds
        self._events: Final = Events(self.actor_urn)
        self._roster: Final = Roster(names(self.runtime), self._events)
        intensity = Intensity(max_restarts, max_seconds)
        self._restarts: Final = Restarts(self, self._roster, self._events, strategy, intensity, self.runtime)
        self._stopping = False
        self._exhausted: str | None = None
        """Why it gives up."""
        self.add_finalizer(self._end)

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
    def tree(self, patience: float = 1.0) -> Any:
        """Show all that is below this supervisor; see ``messages.Tree``."""
        return self.handle_call(messages.Tree, patience=patience)

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
        refusal = refuse(spec) or self._refuse(spec.id)
        if refusal is not None:
            return Err(refusal)
        child = Child(spec)
        error = self.launch(child)
        return Ok(child.ref) if error is None else Err(error)

    def _refuse(self, child_id: str) -> TinkexError | None:
        if self._stopping or self._exhausted is not None:
            return stopping()
        known = self._roster.get(child_id)
        if known is None:
            return None
        way_out = "" if known.ref is not None else "; RestartChild starts it again"
        return conflict(child_id, f"a child with id {child_id!r} is there already{way_out}")

    def launch(self, child: Child) -> TinkexError | None:
        """Start a child by its specification; return what its init failed with."""
        error = stopping() if self.actor_stopped.is_set() else self._roster.start(child)
        if error is not None or child.ref is None:
            if child not in self._restarts:
                self._roster.free(child)
            return error
        self._roster.add(child)
        self.monitor(child.ref)
        if self.actor_stopped.is_set():  # killed while the child began: its finalizer did not see this one
            self._roster.kill()
            return stopping()
        self._roster.introduce(child)
        return None

    @on(messages.TerminateChild)
    def _on_terminate_child(self, message: messages.TerminateChild) -> Result[ChildStopped] | Deferred[ChildStopped]:
        child = self._roster.get(message.id)
        if child is None:
            return Err(unknown_child(message.id))
        self._restarts.discard(child)
        if child.ref is None:
            self._roster.give_up(child, "terminated")
            return Ok(ChildStopped(id=message.id))
        call = self.begin_call("terminate_child", message)
        child.waiting.append(lambda: self.end_call(call, Ok(ChildStopped(id=message.id))))
        self.end_child(child)
        return call.deferred

    @on(messages.RestartChild)
    def _on_restart_child(self, message: messages.RestartChild) -> Result[Any]:
        child = self._roster.get(message.id)
        if child is None:
            return Err(unknown_child(message.id))
        if self._exhausted is not None:
            return Err(stopping())
        if child.ref is not None or child in self._restarts:
            state = "running" if child.ref is not None else "being restarted"
            return Err(conflict(message.id, f"child {message.id!r} is {state}; TerminateChild stops it"))
        error = self.launch(child)
        return Ok(child.ref) if error is None else Err(error)

    @on(messages.WhichChildren)
    def _on_which_children(self, _message: messages.WhichChildren) -> Result[ChildList]:
        return Ok(ChildList(children=[child.info() for child in self._roster]))

    @on(messages.CountChildren)
    def _on_count_children(self, _message: messages.CountChildren) -> Result[ChildCounts]:
        supervisors = sum(is_supervisor(child) for child in self._roster)
        return Ok(
            ChildCounts(
                specs=len(self._roster),
                active=sum(child.alive for child in self._roster),
                supervisors=supervisors,
                workers=len(self._roster) - supervisors,
            )
        )

    @on(messages.Leaks)
    def _on_leaks(self, message: messages.Leaks) -> Deferred[LeakReport]:
        call = self.begin_call("leaks", message)
        asked = {
            child.spec.id: child.ref.ask(message, block=False)
            for child in self._roster
            if child.ref is not None and lists_leaks(child.spec)
        }

        def told(found: dict[str, Result[LeakReport]]) -> None:
            reports = [result.value for result in found.values() if isinstance(result, Ok)]
            self.end_call(call, Ok(LeakReport(leases=[lease for report in reports for lease in report.leases])))

        Gather(self, "leaks", asked, told)
        return call.deferred

    @on(messages.Tree)
    def _on_tree(self, message: messages.Tree) -> Deferred[SupervisionTree]:
        call = self.begin_call("tree", message)
        vitals = self.ref.vitals()
        state = supervisor_state(self._stopping, self._exhausted is not None)
        nodes = {child.spec.id: look(child, child in self._restarts, self._restarts.pausing) for child in self._roster}
        below = messages.Tree(patience=SHARE * message.patience)
        asked = {
            child.spec.id: child.ref.ask(below, block=False)
            for child in self._roster
            if child.ref is not None and is_supervisor(child)
        }

        def told(found: dict[str, Result[SupervisionTree]]) -> None:
            tree = SupervisionTree(
                actor_class=type(self).__name__,
                actor_urn=self.actor_urn,
                strategy=self._strategy,
                state=state,
                mailbox=vitals.mailbox,
                uptime=vitals.uptime,
                children=complete(nodes, asked, found),
            )
            self.end_call(call, Ok(tree))

        Gather(self, "tree", asked, told, message.patience)
        return call.deferred

    @on(messages.Status)
    def _on_status(self, _message: messages.Status) -> Result[ActorStatus]:
        return Ok(ActorStatus(actor=self.actor_urn, state="stopping" if self._stopping else "ready"))

    @on(Down)
    def _on_down(self, message: Down) -> None:
        for child in self._roster.running():
            if child.ref is not None and child.ref.actor_urn == message.urn:
                self._ended(child, message)

    def _ended(self, child: Child, down: Down) -> None:
        asked_to = child.stopping
        self._roster.ended(child, down)
        if child.spec.restart == "temporary":
            self._restarts.discard(child)
        again = not asked_to and wants_restart(child.spec, down.reason)
        if self._ending is not None or not (again or child in self._restarts):
            self._roster.give_up(child, self._ending or ("terminated" if asked_to else "ended"))
        for tell in child.told():
            tell()
        if self._ending is not None:
            self._stop_next()
        elif again and child not in self._restarts:
            self._restarts.begin(child)
        elif self._restarts:
            self._restarts.go_on()

    @property
    def _ending(self) -> GivenUp | None:
        """Why it starts nobody more."""
        if self._stopping:
            return "supervisor stops"
        return None if self._exhausted is None else "restarts exhausted"

    def exhausted(self, child: Child) -> None:
        """Stop the children, the youngest first, and crash then: ``child`` needed too many restarts."""
        self._exhausted = f"child {child.spec.id!r} needed more restarts than this supervisor allows"
        self._events.restarts_exhausted(child)
        self._start_nobody_more()
        self._stop_next()

    def on_start(self) -> None:
        """Say that it takes children."""
        self._events.supervisor_started(self._strategy, self._max_restarts, self._max_seconds)

    def on_drain(self) -> None:
        """Stop the children one after another, the youngest first."""
        self._stopping = True
        self._events.supervisor_stopping(len(self._roster.running()))
        self._start_nobody_more()
        self._stop_next()

    def _start_nobody_more(self) -> None:
        self._restarts.forget()
        for child in self._roster:
            if child.ref is None:
                self._roster.give_up(child, self._ending or "ended")

    def _stop_next(self) -> None:
        running = self._roster.running()
        if running:
            self.end_child(running[-1])
        elif self._stopping:
            self.drained()
        else:
            raise RestartsExhaustedError(self._exhausted)

    def end_child(self, child: Child) -> None:
        """Begin to stop a child; it is killed when its ``shutdown`` seconds are over."""
        if child.stopping or child.ref is None:
            return
        child.stopping = True
        self._events.child_terminating(child)
        child.ref.stop(block=False, reason="shutdown", shutdown=child.spec.shutdown)
        kill = partial(self._kill, child, child.ref)
        child.deadline = self.run_after(f"kill {child.spec.id}", child.spec.shutdown, kill)

    def _kill(self, child: Child, ref: GenRef[Any]) -> None:
        if ref.kill("killed"):  # never its successor
            self._events.child_killed(child)

    def _end(self, reason: DownReason) -> None:
        self._roster.kill()
        self._events.supervisor_stopped(reason)


def is_supervisor(child: Child) -> bool:
    """Whether a child has children of its own, which it tells."""
    return issubclass(child.spec.actor_class, Supervisor)
