"""The training client: one model on the server, its requests in order, its results to whoever asked."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal, TypeVar

from tinkex.actors._clients._acquire import heartbeat, open_model, open_session
from tinkex.actors._clients._lease import Lease
from tinkex.actors._clients._operation import Operation
from tinkex.actors._clients._pipeline import Pipeline
from tinkex.actors._clients._requests import (
    forward,
    forward_backward,
    load_state,
    optim_step,
    save_state,
    save_weights_for_sampler,
)
from tinkex.actors._clients._steps import (
    at_step,
    get_info,
    is_unloaded,
    load_needs_fresh_client,
    still_starting,
    unload_model,
)
from tinkex.actors._clients._training_proxy import TrainingClientProxy
from tinkex.actors._clients._vitals import Pulse, WatchVitals
from tinkex.actors._genserver._client import Call, ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import exposed, on
from tinkex.actors._runtime._log import log
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

State = Literal["starting", "ready", "unloading", "unloaded", "session_lost", "stopping"]


class Boot(Request[str], frozen=True):
    """Make the lease real and load ``path`` into it, where one is given; asked once, by the ServiceClient."""

    path: str | None = None
    optimizer: bool = False
    weights_access_token: str | None = None


class TrainingClient(ClientActor[TrainingClientProxy]):
    """An actor for one model: asks are sent in order under one counter, results are awaited side by side.

    Made by a ``ServiceClient``. It owns its model on the server, which is released however this actor ends. Every
    message is answered with ``Ok`` or ``Err``; no handler waits.
    """

    shutdown: ClassVar[float] = 5.0

    def __init__(
        self, transport: Transport, lease: Lease, release: Callable[[Lease], None], heartbeat_seconds: float
    ) -> None:
        """Take over ``lease``; ``release`` is told when this actor ends, whatever the reason."""
        super().__init__()
        self._transport = transport
        self._lease = lease
        self._heartbeat_seconds = heartbeat_seconds
        self._state: State = "starting"
        self._numbers = 0
        self._pipeline: Pipeline | None = None
        self._refusal: TinkexError | None = still_starting()
        self._unload: Call | None = None
        self._boot: Deferred[str] = Deferred()
        self._pulse = Pulse()
        self._log = log(actor="TrainingClient", actor_urn=self.actor_urn)
        self.add_finalizer(lambda _reason: release(lease))

    # What orchestrators call through a proxy; each is a message too, documented in ``tinkex.protocol.messages``.

    @property
    @exposed
    def model_id(self) -> str | None:
        """The model's id on the server."""
        return self._lease.model_id

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
        if self._lease.owns_session:
            work = open_session(self._transport, self._lease.session)
            self.run_io("create_session", work, partial(self._session_opened, message))
        else:
            forget = self._lease.session.loss.listen(
                lambda error: self.run_soon("session lost", partial(self._lose_session, error))
            )
            self.add_finalizer(lambda _reason: forget())
            self._open_model(message)
        return self._boot

    def _session_opened(self, boot: Boot, result: Result[str]) -> None:
        match result:
            case Err(error):
                self._boot.settle(Err(at_step(error, "create_session")))
            case Ok(session_id):
                beat = heartbeat(self._transport, session_id, self.runtime.clock, self._heartbeat_seconds)
                self.run_io("heartbeat", beat, lambda gone: self._lose_session(gone.unwrap()))
                self._open_model(boot)

    def _open_model(self, boot: Boot) -> None:
        self.run_io("create_model", open_model(self._transport, self._lease), partial(self._model_opened, boot))

    def _model_opened(self, boot: Boot, result: Result[str]) -> None:
        match result:
            case Err(error):
                self._boot.settle(Err(at_step(error, "create_model")))
            case Ok(model_id):
                self._log = self._log.bind(session_id=self._lease.session.session_id, model_id=model_id)
                self._pipeline = Pipeline(
                    self,
                    self._transport,
                    model_id,
                    self._lease.session.session_id or "",
                    settled=self._maybe_drained,
                    session_lost=self._lose_session,
                    log=self._log,
                )
                if boot.path is None:
                    self._ready(model_id)
                else:
                    load = messages.LoadState(boot.path, boot.optimizer)
                    operation = load_state(self._next(), model_id, load, self._now(), boot.weights_access_token)
                    self._pipeline.enqueue(operation, partial(self._loaded, model_id))

    def _loaded(self, model_id: str, result: Result[LoadedState]) -> None:
        match result:
            case Err(error):
                self._boot.settle(Err(at_step(error, "load_weights")))
            case Ok(loaded):
                self._pulse.loaded(loaded.path)
                self._ready(model_id)

    def _ready(self, model_id: str) -> None:
        self._state = "ready"
        self._refusal = None
        self._lease.state = "owned"
        self._log.info("training client ready", base_model=self._lease.base_model)
        self._tell_vitals()
        self._boot.settle(Ok(model_id))

    # Requests in order

    @on(messages.Forward)
    def _on_forward(self, message: messages.Forward) -> Result[ForwardBackwardOutput] | Deferred[ForwardBackwardOutput]:
        return self._submit(message, partial(forward, message=message))

    @on(messages.ForwardBackward)
    def _on_forward_backward(
        self, message: messages.ForwardBackward
    ) -> Result[ForwardBackwardOutput] | Deferred[ForwardBackwardOutput]:
        return self._submit(message, partial(forward_backward, message=message))

    @on(messages.OptimStep)
    def _on_optim_step(self, message: messages.OptimStep) -> Result[OptimStepOutput] | Deferred[OptimStepOutput]:
        return self._submit(message, partial(optim_step, message=message))

    @on(messages.SaveState)
    def _on_save_state(self, message: messages.SaveState) -> Result[SavedState] | Deferred[SavedState]:
        return self._pulse.follow(self._submit(message, partial(save_state, message=message)))

    @on(messages.SaveWeightsForSampler)
    def _on_save_weights_for_sampler(
        self, message: messages.SaveWeightsForSampler
    ) -> Result[SavedSamplerWeights] | Deferred[SavedSamplerWeights]:
        return self._submit(message, partial(save_weights_for_sampler, message=message))

    @on(messages.LoadState)
    def _on_load_state(self, message: messages.LoadState) -> Result[LoadedState] | Deferred[LoadedState]:
        pipeline = self._pipeline
        if pipeline is not None and self._refusal is None and not pipeline.sequence.unused:
            return Err(load_needs_fresh_client(message.path))
        return self._pulse.follow(self._submit(message, partial(load_state, message=message)))

    def _submit(self, message: Request[T], build: Callable[..., Operation]) -> Result[T] | Deferred[T]:
        if self._refusal is not None or self._pipeline is None:
            return Err(self._refusal or still_starting())
        operation = build(number=self._next(), model_id=self._lease.model_id or "", now=self._now())
        return self._pipeline.submit(message, operation)

    # Questions, and giving the model back

    @on(messages.GetInfo)
    def _onget_info(self, message: messages.GetInfo) -> Result[ModelInfo] | Deferred[ModelInfo]:
        model_id = self._lease.model_id
        if model_id is None:
            return Err(self._refusal or still_starting())
        return self.call("get_info", message, get_info(self._transport, model_id))

    @on(messages.UnloadModel)
    def _on_unload_model(self, message: messages.UnloadModel) -> Result[UnloadedModel] | Deferred[UnloadedModel]:
        if self._refusal is not None or self._pipeline is None:
            return Err(self._refusal or still_starting())
        self._state = "unloading"
        self._refusal = is_unloaded(self._lease.model_id)
        self._unload = self.begin_call("unload_model", message)
        reply = self._unload.deferred
        self._maybe_unload()
        return reply

    def _maybe_unload(self) -> None:
        call = self._unload
        if call is not None and call.task is None and (self._pipeline is None or self._pipeline.sequence.idle):
            self.run_call(call, unload_model(self._transport, self._lease))

    def call_ended(self, call: Call, result: Result[Any]) -> None:
        """Take a failed unload back; a stopping client may be done."""
        if call is self._unload:
            self._unload = None
            if self._state == "unloading":
                self._state = "unloaded" if isinstance(result, Ok) else "ready"
                self._refusal = self._refusal if isinstance(result, Ok) else None
        self._maybe_drained()

    @on(messages.Status)
    def _on_status(self, _message: messages.Status) -> Result[ActorStatus]:
        operations = self._pipeline.status() if self._pipeline is not None else []
        return Ok(
            ActorStatus(
                actor=self.actor_urn,
                state=self._told_state,
                session_id=self._lease.session.session_id,
                model_id=self._lease.model_id,
                next_seq_id=self._pipeline.sequence.next_seq_id if self._pipeline is not None else 1,
                operations=[*operations, *self.open_calls()],
            )
        )

    @property
    def _told_state(self) -> str:
        suspect = self._pipeline is not None and self._pipeline.sequence.suspicion is not None
        return "suspect" if suspect and self._state == "ready" else self._state

    @on(WatchVitals)
    def _on_watch_vitals(self, message: WatchVitals) -> None:
        self._pulse.watch(message.told)

    def _tell_vitals(self) -> None:
        suspicion = self._pipeline.sequence.suspicion if self._pipeline is not None else None
        self._pulse.note(self._told_state, self._lease.model_id, self._refusal or suspicion)

    # Ending

    def _lose_session(self, error: TinkexError) -> None:
        if self._state != "stopping":
            self._state = "session_lost"
        self._refusal = error
        self._log.warning("session lost", error=error.message)
        self._boot.settle(Err(at_step(error, "heartbeat")))
        if self._pipeline is not None:
            self._pipeline.abort(error)
        self._maybe_drained()

    def on_drain(self) -> None:
        """Let what is open finish; what is still open at the deadline is answered by the actor's end."""
        self._state = "stopping"
        self._maybe_drained()

    def _maybe_drained(self) -> None:
        self._tell_vitals()
        self._maybe_unload()
        idle = self._pipeline is None or self._pipeline.sequence.idle
        if self._state == "stopping" and idle and not self.calls_open:
            self.drained()

    def _next(self) -> int:
        self._numbers += 1
        return self._numbers

    def _now(self) -> float:
        return self.runtime.clock.time()
