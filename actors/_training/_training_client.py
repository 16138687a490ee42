"""The training client: one model on the server, its requests in order, its results to whoever asked."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final, Literal, TypeVar

from tinkex.actors._genserver._client import Call, ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import exposed, on
from tinkex.actors._leases._keeper import Keeper
from tinkex.actors._leases._lease import Lease
from tinkex.actors._runtime._log import log
from tinkex.actors._training._hold import Hold
from tinkex.actors._training._holder import Holder
from tinkex.actors._training._loads import Loads
from tinkex.actors._training._operation import Operation
from tinkex.actors._training._pipeline import Pipeline
from tinkex.actors._training._progress import progress_seconds
from tinkex.actors._training._requests import (
    forward,
    forward_backward,
    optim_step,
    save_state,
    save_weights_for_sampler,
)
from tinkex.actors._training._restore import Source
from tinkex.actors._training._restoring import Restoring
from tinkex.actors._training._steps import at_step, get_info, is_unloaded, still_starting, unload_model
from tinkex.actors._training._training_proxy import TrainingClientProxy
from tinkex.actors._training._vitals import Pulse, WatchVitals
from tinkex.actors._transport import Transport
from tinkex.protocol import Err, Ok, Request, Result, TinkexError, messages
from tinkex.protocol.replies import (
    ActorStatus,
    ForwardBackwardOutput,
    LoadedState,
    ModelInfo,
    OptimStepOutput,
    SavedSamplerWeights,
    SavedState,
    UnloadedModel,
)

T = TypeVar("T")

State = Literal["starting", "ready", "unloading", "unloaded", "without_model", "session_lost", "stopping"]

_TAKES_NO_LOAD: Final = frozenset({"starting", "unloading", "unloaded"})


class Boot(Request[str], frozen=True):
    """Make the lease real and load ``source`` into it, where one is given; asked once, by the ServiceClient."""

    source: Source | None = None
    waiting: Any = None
    """The ``Waiting`` of the create, told what the making of the model waits for."""


class TrainingClient(ClientActor[TrainingClientProxy]):
    """An actor for one model: asks are sent in order under one counter, results are awaited side by side.

    Made by a ``ServiceClient``. It owns its model on the server, which is released however this actor ends. Every
    message is answered with ``Ok`` or ``Err``; no handler waits.
    """

    shutdown: ClassVar[float] = 5.0

    def __init__(self, transport: Transport, lease: Lease, keeper: Keeper, heartbeat_seconds: float) -> None:
        """Take over ``lease``; ``keeper`` gets it back when this actor ends, whatever the reason."""
        super().__init__()
        self._transport = transport
        self._state: State = "starting"
        self._refusal: TinkexError | None = still_starting()
        self._unload: Call | None = None
        self._boot: Deferred[str] = Deferred()
        self._pulse = Pulse()
        self._log = log(actor="TrainingClient", actor_urn=self.actor_urn)
        self._holder = Holder(
            self,
            transport,
            lease,
            keeper,
            heartbeat_seconds,
            settled=self._settled,
            lost=self._lose_session,
            log=self._log,
        )
        self._loads = Loads(self, self, self._holder, transport, self._log)

    # What orchestrators call through a proxy; each is a message too, documented in ``tinkex.protocol.messages``.

    @property
    @exposed
    def model_id(self) -> str | None:
        """The model's id on the server."""
        return self._holder.lease.model_id

    @exposed
    def forward(self, data: Any, loss_fn: str = "cross_entropy", loss_fn_config: Any = None, **options: Any) -> Any:
        """Run a forward pass; see ``messages.Forward``."""
        return self.handle_call(messages.Forward, data, loss_fn, loss_fn_config, **options)

    @exposed
    def forward_backward(
        self, data: Any, loss_fn: str = "cross_entropy", loss_fn_config: Any = None, **options: Any
    ) -> Any:
        """Accumulate gradients; see ``messages.ForwardBackward``."""
        return self.handle_call(messages.ForwardBackward, data, loss_fn, loss_fn_config, **options)

    @exposed
    def optim_step(self, adam_params: Any, **options: Any) -> Any:
        """Apply the accumulated gradients; see ``messages.OptimStep``."""
        return self.handle_call(messages.OptimStep, adam_params, **options)

    @exposed
    def save_state(self, name: str, *args: Any, **options: Any) -> Any:
        """Save weights and optimizer; see ``messages.SaveState``."""
        return self.handle_call(messages.SaveState, name, *args, **options)

    @exposed
    def load_state(self, path: str, **options: Any) -> Any:
        """Load weights only; see ``messages.LoadState``."""
        return self.handle_call(messages.LoadState, path, **options)

    @exposed
    def load_state_with_optimizer(self, path: str, **options: Any) -> Any:
        """Load weights and optimizer; see ``messages.LoadState``."""
        return self.handle_call(messages.LoadState, path, optimizer=True, **options)

    @exposed
    def save_weights_for_sampler(self, name: str, *args: Any, **options: Any) -> Any:
        """Save weights for sampling; see ``messages.SaveWeightsForSampler``."""
        return self.handle_call(messages.SaveWeightsForSampler, name, *args, **options)

    @exposed
    def get_info(self, **options: Any) -> Any:
        """Ask the server about the model; see ``messages.GetInfo``."""
        return self.handle_call(messages.GetInfo, **options)

    @exposed
    def unload_model(self, **options: Any) -> Any:
        """Give the model back; see ``messages.UnloadModel``."""
        return self.handle_call(messages.UnloadModel, **options)

    @exposed
    def status(self) -> Any:
        """Say what is going on, without asking the server; see ``messages.Status``."""
        return self.handle_call(messages.Status)

    # Creation

    @on(Boot)
    def _on_boot(self, message: Boot) -> Deferred[str]:
        if message.source is None:
            hold = self._holder.make(self._holder.first, message.waiting)
            hold.open(partial(self._opened, hold))
        else:
            self._pulse.loaded(message.source.path)
            first = self._holder.first
            restoring = Restoring(
                message.source,
                hold=partial(self._holder.make, waiting=message.waiting),
                another=partial(self._holder.another, first.base_model, first.lora),
                let_go=self._holder.let_go,
                then=self._restored,
            )
            restoring.begin(first)
        return self._boot

    def _opened(self, hold: Hold, result: Result[str]) -> None:
        self._restored(result if isinstance(result, Err) else Ok(hold))

    def _restored(self, result: Result[Hold]) -> None:
        match result:
            case Err(error):
                self._boot.settle(Err(error))
            case Ok(hold):
                self.take(hold)
                self._log.info("training client ready", base_model=hold.lease.base_model)
                self._boot.settle(Ok(hold.lease.model_id or ""))

    # What its loads ask of it; see ``Host``

    @property
    def refusal(self) -> TinkexError | None:
        """Why it takes no requests."""
        return self._refusal

    @property
    def takes_no_load(self) -> TinkexError | None:
        """Why it takes no load, None while it does."""
        if self._unload is None and self._state not in _TAKES_NO_LOAD:
            return None
        return self._refusal or still_starting()

    def take(self, hold: Hold) -> None:
        """Go on with ``hold``."""
        self._holder.take(hold)
        self._refusal = None
        self._log = self._log.bind(session_id=hold.lease.session.session_id, model_id=hold.lease.model_id)
        if self._state != "stopping":
            self._state = "ready"

    def be_without_model(self, why: TinkexError) -> None:
        """Take no requests until a load succeeds."""
        self._refusal = why
        if self._state != "stopping":
            self._state = "without_model"

    def load_ended(self) -> None:
        """Hear that nothing waits for a load any more."""
        self._settled()

    # Requests in order

    @on(messages.Forward)
    def _on_forward(self, message: messages.Forward) -> Result[ForwardBackwardOutput] | Deferred[ForwardBackwardOutput]:
        return self._submit("forward", message, partial(forward, message=message))

    @on(messages.ForwardBackward)
    def _on_forward_backward(
        self, message: messages.ForwardBackward
    ) -> Result[ForwardBackwardOutput] | Deferred[ForwardBackwardOutput]:
        return self._submit("forward_backward", message, partial(forward_backward, message=message))

    @on(messages.OptimStep)
    def _on_optim_step(self, message: messages.OptimStep) -> Result[OptimStepOutput] | Deferred[OptimStepOutput]:
        return self._submit("optim_step", message, partial(optim_step, message=message))

    @on(messages.SaveState)
    def _on_save_state(self, message: messages.SaveState) -> Result[SavedState] | Deferred[SavedState]:
        return self._pulse.follow(self._submit("save_weights", message, partial(save_state, message=message)))

    @on(messages.SaveWeightsForSampler)
    def _on_save_weights_for_sampler(
        self, message: messages.SaveWeightsForSampler
    ) -> Result[SavedSamplerWeights] | Deferred[SavedSamplerWeights]:
        return self._submit("save_weights_for_sampler", message, partial(save_weights_for_sampler, message=message))

    @on(messages.LoadState)
    def _on_load_state(self, message: messages.LoadState) -> Result[LoadedState] | Deferred[LoadedState]:
        refusal = self.takes_no_load
        if refusal is not None:
            return Err(refusal)
        return self._pulse.follow(self._loads.begin(message))

    def _submit(self, name: str, message: Request[T], build: Callable[..., Operation]) -> Result[T] | Deferred[T]:
        if self._loads.open:
            return self._loads.wait_behind(name, message, partial(self._resume, message, build))
        pipeline = self._pipeline()
        return self._refuse() if pipeline is None else pipeline.submit(message, self._build(build))

    def _resume(self, message: Request[Any], build: Callable[..., Operation], call: Call) -> None:
        if not self.forget_call(call):
            return
        pipeline = self._pipeline()
        if pipeline is None:
            call.deferred.settle(self._refuse())
            return
        left = None if call.expires is None else call.expires - self.runtime.clock.monotonic()
        operation = self._build(build)
        pipeline.resume(message, operation, call.deferred, left)
        if operation.waiting is not None:
            operation.waiting.asked = call.waiting.asked

    def _pipeline(self) -> Pipeline | None:
        return self._holder.hold.pipeline if self._holder.hold is not None and self._refusal is None else None

    def _refuse(self) -> Err:
        return Err(self._refusal or still_starting())

    def _build(self, build: Callable[..., Operation]) -> Operation:
        return build(number=self._holder.next_number(), model_id=self.model_id or "")

    # Questions, and giving the model back

    @on(messages.GetInfo)
    def _on_get_info(self, message: messages.GetInfo) -> Result[ModelInfo] | Deferred[ModelInfo]:
        model_id = self.model_id
        if model_id is None:
            return self._refuse()
        return self.call("get_info", message, get_info(self._transport, model_id))

    @on(messages.UnloadModel)
    def _on_unload_model(self, message: messages.UnloadModel) -> Result[UnloadedModel] | Deferred[UnloadedModel]:
        if self._loads.open:
            return self._loads.wait_behind("unload_model", message, self._begin_unload)
        if self._pipeline() is None:
            return self._refuse()
        call = self.begin_call("unload_model", message)
        self._begin_unload(call)
        return call.deferred

    def _begin_unload(self, call: Call) -> None:
        if call.deferred.settled:
            return
        if self._pipeline() is None:
            self.end_call(call, self._refuse())
            return
        if self._state != "stopping":
            self._state = "unloading"
        self._refusal = is_unloaded(self.model_id)
        self._unload = call
        self._maybe_unload()

    def _maybe_unload(self) -> None:
        call, hold = self._unload, self._holder.hold
        if call is not None and call.task is None and hold is not None and hold.idle:
            self.run_call(call, unload_model(self._transport, hold.lease))

    def call_ended(self, call: Call, result: Result[Any]) -> None:
        """Take a failed unload back, give up a load that nobody waits for; a stopping client may be done."""
        if call is self._unload:
            self._unload = None
            if self._state == "unloading":
                self._state = "unloaded" if isinstance(result, Ok) else "ready"
                self._refusal = self._refusal if isinstance(result, Ok) else None
        self._loads.call_ended(call, result)
        self._settled()

    def progress_seconds(self, name: str) -> float:
        """Return after how many seconds of work a call of this name is overdue."""
        return progress_seconds(name)

    @on(messages.Status)
    def _on_status(self, _message: messages.Status) -> Result[ActorStatus]:
        pipeline = self._holder.hold.pipeline if self._holder.hold is not None else None
        return Ok(
            ActorStatus(
                actor=self.actor_urn,
                state=self._shown_state(),
                session_id=self._holder.lease.session.session_id,
                model_id=self._holder.lease.model_id,
                next_seq_id=pipeline.next_seq_id if pipeline is not None else 1,
                operations=[*(pipeline.status() if pipeline is not None else []), *self.open_calls()],
            )
        )

    @on(WatchVitals)
    def _on_watch_vitals(self, message: WatchVitals) -> None:
        self._pulse.watch(message.told)
        self._settled()

    def _shown_state(self) -> str:
        if self._state == "stopping":
            return "stopping"
        if self._loads.open:
            return "loading"
        return "suspect" if self._holder.suspicion is not None and self._state == "ready" else self._state

    # Ending

    def _lose_session(self, hold: Hold, error: TinkexError) -> None:
        self._log.warning("session lost", session_id=hold.lease.session.session_id, error=error.message)
        if self._loads.lost(hold, error):
            return
        if self._holder.hold is None:
            self._boot.settle(Err(at_step(error, "heartbeat")))
        if self._state != "stopping":
            self._state = "session_lost"
        self._refusal = error
        if hold.pipeline is not None:
            hold.pipeline.abort(error)
        self._settled()

    def on_drain(self) -> None:
        """Let what is open finish; what is still open at the deadline is answered by the actor's end."""
        self._state = "stopping"
        self._settled()

    def _settled(self) -> None:
        """Take up what waits until nothing is open."""
        self._loads.go_on()
        self._pulse.note(self._shown_state(), self.model_id, self._refusal or self._holder.suspicion)
        self._maybe_unload()
        if self._state == "stopping" and self._holder.idle and not self.calls_open:
            self.drained()
