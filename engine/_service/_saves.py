"""The numbered requests that save: checked, put in order, queued. Lives on the event loop."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tinkex.engine._base._errors import Refusal
from tinkex.engine._service._requests import Order, submit
from tinkex.engine._service._samplers import Sampler
from tinkex.engine._service._validation import check_name, check_number, check_ttl
from tinkex.engine._store._records import CheckpointKind, CheckpointRow
from tinkex.protocol import TinkerPath, wire

if TYPE_CHECKING:
    from tinkex.engine._compute._compute import Compute
    from tinkex.engine._service._engine import Engine
    from tinkex.engine._service._requests import Work


@dataclass(frozen=True)
class Save:
    """A checkpoint that is asked for."""

    kind: CheckpointKind
    name: str
    ttl_seconds: int | None
    overwrite: bool = False
    user_metadata: dict[str, str] | None = None


def save_checkpoint(engine: "Engine", order: Order, save: Save) -> wire.UntypedFuture:
    """Queue a checkpoint with a name."""
    model = order.model

    def prepare(request_id: str) -> "Work":
        check_name("path", save.name)
        check_ttl(save.ttl_seconds)
        row = CheckpointRow(
            path=str(TinkerPath(model.model_id, save.kind, save.name)),
            run_id=model.model_id,
            kind=save.kind,
            owner=model.owner,
            base_model=model.base.name,
            lora=model.lora,
            has_optimizer=save.kind == "weights",
            user_metadata=save.user_metadata,
            seq_id=order.seq_id,
            digest=order.digest.hex(),
            request_id=request_id,
        )

        def work(compute: "Compute") -> msgspec.Struct:
            return save_result(compute.save(row, engine.wall(), save.ttl_seconds, overwrite=save.overwrite))

        return work

    return submit(engine, order, prepare, saves=f"tinker://{model.model_id}/{save.kind}/{save.name}")


def save_unnamed(engine: "Engine", order: Order, body: wire.SaveWeightsForSamplerRequest) -> wire.UntypedFuture:
    """Queue a sampler that reads what the weights are then; nothing of it outlives its session."""
    model = order.model
    number = -1 if body.sampling_session_seq_id is None else body.sampling_session_seq_id
    sampler_id = f"{model.model_id}:sample:{number}"
    sampler = Sampler(sampler_id, model.session_id, model.owner, model.base)

    def prepare(_request_id: str) -> "Work":
        if body.sampling_session_seq_id is None:
            raise Refusal(400, "save_weights_for_sampler needs path, a name, or sampling_session_seq_id")
        check_number("sampling_session_seq_id", number)
        if body.ttl_seconds is not None:
            raise Refusal(400, "ttl_seconds is for weights with a name; those without end with their session")
        if engine.samplers.find(sampler_id) is not None:
            raise Refusal(400, f"sampling_session_seq_id {number} of this model was used before; take a new number")

        def work(compute: "Compute") -> wire.SaveWeightsForSamplerResult:
            compute.freeze(model.model_id, sampler_id, in_flight=body.kind == "inflight")
            engine.store.put_sampler(sampler.row)
            return wire.SaveWeightsForSamplerResult(sampling_session_id=sampler_id)

        return work

    return submit(engine, order, prepare, opens=sampler)


def save_result(
    row: CheckpointRow,
) -> wire.SaveWeightsResult | wire.SaveWeightsForSamplerResult | wire.SaveWeightsExternalResult:
    """Return the result of the save that made a checkpoint."""
    if row.kind == "weights":
        return wire.SaveWeightsResult(row.path)
    if row.kind == "sampler_weights":
        return wire.SaveWeightsForSamplerResult(row.path)
    return wire.SaveWeightsExternalResult(row.path, row.size_bytes)
