"""The supervisor: owns its children, learns of every end, and stops them in reverse order of their start."""

from functools import partial
from typing import Any, ClassVar, Final

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import exposed, on
from tinkex.actors._genserver._watch import Down
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._runtime._log import log
from tinkex.actors._runtime._turns import WorldEnded
from tinkex.actors._supervision._child import (
    Child,
    check_options,
    conflict,
    kill,
    lists_leaks,
    refuse,
    start_error,
    stopping,
    unknown_child,
)
from tinkex.actors._supervision._policy import Intensity, Strategy, affected, delay, wants_restart
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


class RestartsExhaustedError(Exception):
    """A supervisor gives up: its children needed more restarts than it allows."""


class Supervisor(ClientActor[SupervisorProxy]):
    """An actor that starts, watches, restarts and ends other actors.

    A child that ends by itself is started again as its ``restart`` says, together with those of its siblings that the
    strategy names; they are stopped youngest first, and started oldest first. The first restart happens at once, later
    ones after a random wait that grows. With more than ``max_restarts`` of them within ``max_seconds`` the supervisor
    stops its children and crashes, which its own supervisor sees. A restarted child has a new ref: ``WhichChildren``
    tells its ``actor_urn``. When the supervisor itself crashes or is killed, its children are killed: none outlives it.

    Source of the rules: OTP's ``supervisor``. Unlike there, restarts back off.
    """

    shutdown: ClassVar[float] = 10.0
    lists_leaks: ClassVar[bool] = True

    def __init__(self, strategy: Strategy = "one_for_one", max_restarts: int = 3, max_seconds: float = 5.0) -> None:
        """Start without children; bad options are a ``TinkexError`` (kind ``validation``)."""
        super().__init__()
        check_options(strategy, max_restarts, max_seconds)
        self._strategy: Final[Strategy] = strategy
        self._intensity: Final = Intensity(max_restarts, max_seconds)
        self._random: Final = self.runtime.new_random()
        self._children: dict[str, Child] = {}
        self._plan: set[str] = set()
        """Children that are to be started again once those among them that run are stopped."""
        self._pause: Timer | None = None
        self._stopping = False
        self._exhausted: str | None = None
        """Why it gives up."""
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
        refusal = refuse(spec) or self._refuse(spec.id)
        if refusal is not None:
            return Err(refusal)
        child = self._children[spec.id] = Child(spec)
        error = self._launch(child)
        if error is not None:
            del self._children[spec.id]
            return Err(error)
        return Ok(child.ref)

    def _refuse(self, child_id: str) -> TinkexError | None:
        if self._stopping or self._exhausted is not None:
            return stopping()
        known = self._children.get(child_id)
        if known is None:
            return None
        way_out = "" if known.ref is not None else "; RestartChild starts it again"
        return conflict(child_id, f"a child with id {child_id!r} is there already{way_out}")

    def _launch(self, child: Child) -> TinkexError | None:
        """Start a child by its specification; return what its init failed with."""
        spec = child.spec
        try:
            ref = spec.actor_class.start(*spec.args, **dict(spec.kwargs))
        except WorldEnded:
            raise
        except BaseException as cause:  # noqa: BLE001 - whatever it is, it is the child's crash and not its supervisor's
            error = start_error(spec, cause)
            self._log.warning("child did not start", child=spec.id, error=error.message)
            return error
        child.ref = ref
        if self.actor_stopped.is_set():  # ended while the child started: the finalizer saw no ref of it
            ref.kill("killed")
        self.monitor(ref)
        self._log.debug("child started", child=spec.id, child_urn=ref.actor_urn, restarts=child.restarts)
        return None

    @on(messages.TerminateChild)
    def _on_terminate_child(self, message: messages.TerminateChild) -> Result[ChildStopped] | Deferred[ChildStopped]:
        child = self._children.get(message.id)
        if child is None:
            return Err(unknown_child(message.id))
        self._plan.discard(message.id)
        if child.ref is None:
            return Ok(ChildStopped(id=message.id))
        call = self.begin_call("terminate_child", message)
        child.waiting.append(lambda: self.end_call(call, Ok(ChildStopped(id=message.id))))
        self._end_child(child)
        return call.deferred

    @on(messages.RestartChild)
    def _on_restart_child(self, message: messages.RestartChild) -> Result[Any]:
        child = self._children.get(message.id)
        if child is None:
            return Err(unknown_child(message.id))
        if self._exhausted is not None:
            return Err(stopping())
        if child.ref is not None or message.id in self._plan:
            state = "running" if child.ref is not None else "being restarted"
            return Err(conflict(message.id, f"child {message.id!r} is {state}; TerminateChild stops it"))
        error = self._launch(child)
        return Ok(child.ref) if error is None else Err(error)

    @on(messages.WhichChildren)
    def _on_which_children(self, _message: messages.WhichChildren) -> Result[ChildList]:
        return Ok(
            ChildList(
                children=[
                    ChildInfo(
                        id=child.spec.id,
                        actor_urn=None if child.ref is None else child.ref.actor_urn,
                        actor_class=child.spec.actor_class.__name__,
                        restart=child.spec.restart,
                        alive=child.alive,
                        restarts=child.restarts,
                        last_reason=child.last_reason,
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
                active=sum(child.alive for child in self._children.values()),
                supervisors=supervisors,
                workers=len(self._children) - supervisors,
            )
        )

    @on(messages.Leaks)
    def _on_leaks(self, message: messages.Leaks) -> Deferred[LeakReport]:
        call = self.begin_call("leaks", message)
        asked = [
            child.ref.ask(message, block=False)
            for child in self._children.values()
            if child.ref is not None and lists_leaks(child.spec)
        ]
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
            if child.ref is not None and child.ref.actor_urn == message.urn:
                self._ended(child, message)

    def _ended(self, child: Child, down: Down) -> None:
        asked_to, child_id = child.stopping, child.spec.id
        child.end(down.reason)
        event = self._log.bind(child=child_id, child_urn=down.urn, reason=down.reason)
        if down.error is not None and down.reason == "crashed":
            event.error("child crashed", error=down.error.message)
        else:
            event.debug("child ended")
        if child.spec.restart == "temporary":
            del self._children[child_id]
            self._plan.discard(child_id)
        for tell in child.told():
            tell()
        if self._stopping or self._exhausted is not None:
            self._stop_next()
        elif child_id not in self._plan and not asked_to and wants_restart(child.spec, down.reason):
            self._restart(child_id)
        elif self._plan:
            self._go_on()

    def _restart(self, child_id: str) -> None:
        """Have a child that failed started again, and those that go with it."""
        if not self._intensity.allows(self.runtime.clock.monotonic()):
            self._give_up(child_id)
            return
        self._plan.update(affected(self._strategy, list(self._children), child_id))
        self._go_on()

    def _go_on(self) -> None:
        """Stop the youngest of those that run and must be started again; once none does, start them, after a wait."""
        running = [child for child in self._children.values() if child.ref is not None and child.spec.id in self._plan]
        if running:
            self._end_child(running[-1])
        elif self._pause is None:
            wait = delay(self._intensity.recent, self._random)
            if wait:
                self._log.info("restart waits", children=sorted(self._plan), seconds=wait)
                self._pause = self.run_after("restart", wait, self._start_again)
            else:
                self._start_again()

    def _start_again(self) -> None:
        self._pause = None
        for child in list(self._children.values()):
            child_id = child.spec.id
            if child_id not in self._plan or child.ref is not None:
                continue
            if self._launch(child) is not None:
                if self._intensity.allows(self.runtime.clock.monotonic()):
                    self._go_on()
                else:
                    self._give_up(child_id)
                return
            self._plan.discard(child_id)
            child.restarts += 1
            self._log.warning("child restarted", child=child_id, restarts=child.restarts, reason=child.last_reason)
        self._plan.clear()

    def _give_up(self, child_id: str) -> None:
        """Stop the children, the youngest first, and crash then."""
        self._exhausted = f"child {child_id!r} needed more restarts than this supervisor allows"
        self._log.error("restarts exhausted", child=child_id)
        self._forget_plan()
        self._stop_next()

    def on_drain(self) -> None:
        """Stop the children one after another, the youngest first."""
        self._stopping = True
        self._forget_plan()
        self._stop_next()

    def _forget_plan(self) -> None:
        self._plan.clear()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _stop_next(self) -> None:
        running = [child for child in self._children.values() if child.ref is not None]
        if running:
            self._end_child(running[-1])
        elif self._stopping:
            self.drained()
        else:
            raise RestartsExhaustedError(self._exhausted)

    def _end_child(self, child: Child) -> None:
        if child.stopping or child.ref is None:
            return
        child.stopping = True
        child.ref.stop(block=False, reason="shutdown", shutdown=child.spec.shutdown)
        child.deadline = self.run_after(f"kill {child.spec.id}", child.spec.shutdown, partial(kill, child.ref))

    def _kill_children(self, _reason: str) -> None:
        for child in reversed(list(self._children.values())):
            if child.ref is not None:
                child.ref.kill("killed")
