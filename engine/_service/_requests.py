"""The numbered requests of a model: checked, put in order, queued. Lives on the event loop."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from tinkex.engine._base._errors import OperationFailed, Refusal
from tinkex.engine._service._executor import Job
from tinkex.engine._service._registry import Model
from tinkex.engine._service._validation import check_adam, check_pass, check_seq_id
from tinkex.engine._store._records import CheckpointRow
from tinkex.protocol import wire

if TYPE_CHECKING:
    from tinkex.engine._compute._compute import Compute
    from tinkex.engine._service._engine import Engine
    from tinkex.engine._service._samplers import Sampler

    Work = Callable[[Compute], msgspec.Struct]


@dataclass(frozen=True)
class Order:
    """Who asks for what under which number."""

    model: Model
    seq_id: int
    digest: bytes
    """Of the request's path and body."""
    operation: str

    @property
    def label(self) -> str:
        """The request's name in errors."""
        return f"{self.operation} (number {self.seq_id})"


def run_pass(engine: "Engine", order: Order, work: wire.ForwardBackwardInput, *, backward: bool) -> wire.UntypedFuture:
    """Queue a forward pass, or a forward and backward pass."""

    def prepare(_request_id: str) -> "Work":
        try:
            config = check_pass(work, order.model.base)
        except Refusal as refusal:
            if not _is_chunk(order):
                raise
            return partial(_fail, refusal.detail)
        model_id = order.model.model_id
        return lambda compute: compute.run(model_id, work.data, work.loss_fn, config, backward=backward)

    return submit(engine, order, prepare, poisons=backward)


def _is_chunk(order: Order) -> bool:
    """Whether a pass must be part of a call in several requests: only those are sent in another order than numbered.

    A bad one among them is accepted and fails when its turn comes, and with it the model. Refused, it would leave the
    gradients of half a call, and the official SDK waiting for ever to send the rest.
    """
    return order.seq_id > order.model.sequencer.awaited or order.model.sequencer.held > 0


def _fail(reason: str, _compute: "Compute") -> msgspec.Struct:
    raise OperationFailed(reason)


def optim_step(engine: "Engine", order: Order, body: wire.OptimStepRequest) -> wire.UntypedFuture:
    """Queue an optimizer step."""

    def prepare(_request_id: str) -> "Work":
        if body.optimizer_params is not None:
            raise Refusal(400, "optimizer_params are not supported; send adam_params")
        check_adam(body.adam_params)
        return lambda compute: compute.step(order.model.model_id, body.adam_params)

    return submit(engine, order, prepare, poisons=True)


def load_weights(
    engine: "Engine", order: Order, source: CheckpointRow | Refusal, *, optimizer: bool
) -> wire.UntypedFuture:
    """Queue a load into a model that has done nothing yet; ``source`` is what was found under the path."""
    model = order.model

    def prepare(_request_id: str) -> "Work":
        if order.seq_id != FIRST:
            raise Refusal(
                400,
                f"load_weights is not permitted with seq_id {order.seq_id}: a load must be a model's first request; "
                "create a new model and load into that one",
            )
        if isinstance(source, Refusal):
            raise source
        if source.base_model != model.base.name or source.lora.shape != model.lora.shape:
            raise Refusal(
                400,
                f"{source.path} is {source.lora.shape} over {source.base_model}, but model {model.model_id} is "
                f"{model.lora.shape} over {model.base.name}; create a model like the checkpoint",
            )

        path = source.path

        def work(compute: "Compute") -> wire.LoadWeightsResult:
            compute.load(model.model_id, path, engine.wall(), optimizer=optimizer)
            return wire.LoadWeightsResult(path, model.model_id)

        return work

    return submit(engine, order, prepare, poisons=True)


FIRST: Final = 1


def submit(
    engine: "Engine",
    order: Order,
    prepare: "Callable[[str], Work]",
    *,
    poisons: bool = False,
    saves: str | None = None,
    opens: "Sampler | None" = None,
) -> wire.UntypedFuture:
    """Take a request into the order of its model, or recognise it.

    ``prepare`` checks it and returns its work; what it refuses uses up no number, and later ones may pass it.

    Raises:
        Refusal: 400 for what ``prepare`` refuses and for numbers that cannot be, 410 once the model is unloading.
    """
    model, sequencer, now = order.model, order.model.sequencer, engine.clock()
    check_seq_id(order.seq_id)
    verdict = sequencer.judge(order.seq_id, order.digest)
    if verdict == "repeat":
        return wire.UntypedFuture(sequencer.ticket(order.seq_id), model.model_id)
    if verdict != "new":
        raise Refusal(400, f"seq_id {order.seq_id} of model {model.model_id} {_VERDICTS[verdict]}")
    if model.unloading is not None:
        raise Refusal(410, f"model {model.model_id} was unloaded; create a new one, or load one of its checkpoints")
    engine.check_open()
    request_id = engine.futures.open(model.owner)
    try:
        work = prepare(request_id)
    except Refusal:
        engine.futures.cancel(request_id)
        pass_over(engine, model, order.seq_id)
        raise
    job = Job(request_id, work, model.model_id, order.label, poisons=poisons, saves=saves, opens=opens)
    if saves is not None:
        engine.saving[saves] = engine.saving.get(saves, 0) + 1
    for ready in sequencer.accept(order.seq_id, order.digest, request_id, job, now):
        engine.executor.put(ready)
    engine.touch(model)
    return wire.UntypedFuture(request_id, model.model_id)


def pass_over(engine: "Engine", model: Model, seq_id: int) -> None:
    """Let later numbers pass one that was refused: some clients do not use it again."""
    for ready in model.sequencer.refuse(seq_id, engine.clock()):
        engine.executor.put(ready)


_VERDICTS: Final = {
    "conflict": "was used for another request; take a new number",
    "late": "comes too late: later numbers were answered; take a new number",
    "far": "is too far ahead: lower numbers are missing",
}
