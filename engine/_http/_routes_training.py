"""Models and their numbered requests over HTTP."""

import asyncio
from typing import Final

from litestar import post
from litestar.handlers import HTTPRouteHandler

from tinkex.engine._base._errors import Refusal
from tinkex.engine._http._http import (
    PREFIX,
    Empty,
    Http,
    Reply,
    engine_of,
    first_of,
    gone_away,
    owner_in,
    read,
    reply,
    reply_result,
    wire_types,
)
from tinkex.engine._http._numbered import order_of, pass_over, read_numbered, read_pass
from tinkex.engine._service import _lifecycle, _requests, _shelf
from tinkex.engine._service._saves import Save, save_checkpoint, save_result, save_unnamed
from tinkex.engine._service._validation import check_seq_id
from tinkex.protocol import wire

_PAUSE: Final = 0.25
"""Seconds that a poll is held which is told of a pause: clients ask again at once."""


@post(f"{PREFIX}/create_model", status_code=200, opt=wire_types(wire.UntypedFuture, wire.CreateModelRequest))
async def create_model(request: Http) -> Reply:
    """Make a model."""
    body, digest = await read(request, wire.CreateModelRequest)
    return reply(await _lifecycle.create_model(engine_of(request), body, owner_in(request), digest))


@post(f"{PREFIX}/get_info", status_code=200, opt=wire_types(wire.GetInfoReply, wire.GetInfoRequest))
async def get_info(request: Http) -> Reply:
    """Describe a model."""
    body, _ = await read(request, wire.GetInfoRequest)
    model = await engine_of(request).model(body.model_id, owner_in(request))
    base = model.base
    return reply(
        wire.GetInfoReply(
            model_id=model.model_id,
            model_data=wire.ModelData(base.arch, base.name, base.tokenizer_id),
            is_lora=True,
            lora_rank=model.lora.rank,
            model_name=base.name,
        )
    )


@post(f"{PREFIX}/unload_model", status_code=200, opt=wire_types(wire.UntypedFuture, wire.UnloadModelRequest))
async def unload_model(request: Http) -> Reply:
    """Free a model."""
    body, _ = await read(request, wire.UnloadModelRequest)
    engine, owner = engine_of(request), owner_in(request)
    if engine.models.find(body.model_id) is None:
        row = await asyncio.to_thread(engine.store.model, body.model_id)
        if row is not None and row.owner == owner and row.state == "unloaded":
            request_id = engine.futures.open(owner)
            engine.futures.settle(request_id, wire.UnloadModelResult(body.model_id))
            return reply(wire.UntypedFuture(request_id))
    return reply(_lifecycle.unload_model(engine, await engine.model(body.model_id, owner)))


@post(f"{PREFIX}/forward", status_code=200, opt=wire_types(wire.UntypedFuture, wire.ForwardRequest))
async def forward(request: Http) -> Reply:
    """Compute logprobs."""
    body, digest = await read_numbered(request, wire.ForwardRequest)
    order = await order_of(request, body.model_id, body.seq_id, digest, "forward")
    return reply(_requests.run_pass(engine_of(request), order, body.forward_input, backward=False))


@post(
    f"{PREFIX}/forward_backward",
    status_code=200,
    opt=wire_types(wire.UntypedFuture, wire.ForwardBackwardRequest, protobuf=True),
)
async def forward_backward(request: Http) -> Reply:
    """Compute logprobs and add gradients; a protobuf body may ask for the logprobs alone."""
    body, digest = await read_pass(request)
    if isinstance(body, wire.ForwardRequest):
        order = await order_of(request, body.model_id, body.seq_id, digest, "forward")
        return reply(_requests.run_pass(engine_of(request), order, body.forward_input, backward=False))
    order = await order_of(request, body.model_id, body.seq_id, digest, "forward_backward")
    return reply(_requests.run_pass(engine_of(request), order, body.forward_backward_input, backward=True))


@post(f"{PREFIX}/optim_step", status_code=200, opt=wire_types(wire.UntypedFuture, wire.OptimStepRequest))
async def optim_step(request: Http) -> Reply:
    """Apply the gradients."""
    body, digest = await read_numbered(request, wire.OptimStepRequest)
    order = await order_of(request, body.model_id, body.seq_id, digest, "optim_step")
    return reply(_requests.optim_step(engine_of(request), order, body))


@post(f"{PREFIX}/save_weights", status_code=200, opt=wire_types(wire.UntypedFuture, wire.SaveWeightsRequest))
async def save_weights(request: Http) -> Reply:
    """Save a checkpoint to train on."""
    body, digest = await read_numbered(request, wire.SaveWeightsRequest)
    save = Save("weights", body.path, body.ttl_seconds, body.overwrite, body.user_metadata)
    return await _save(request, body.model_id, body.seq_id, digest, save)


@post(
    f"{PREFIX}/save_weights_for_sampler",
    status_code=200,
    opt=wire_types(wire.UntypedFuture, wire.SaveWeightsForSamplerRequest),
)
async def save_weights_for_sampler(request: Http) -> Reply:
    """Save a checkpoint to sample from, or sample from the weights without one."""
    body, digest = await read_numbered(request, wire.SaveWeightsForSamplerRequest)
    if body.path is None:
        order = await order_of(request, body.model_id, body.seq_id, digest, "save_weights_for_sampler")
        return reply(save_unnamed(engine_of(request), order, body))
    save = Save("sampler_weights", body.path, body.ttl_seconds, user_metadata=body.user_metadata)
    return await _save(request, body.model_id, body.seq_id, digest, save)


@post(
    f"{PREFIX}/save_weights_external",
    status_code=200,
    opt=wire_types(wire.UntypedFuture, wire.SaveWeightsExternalRequest),
)
async def save_weights_external(request: Http) -> Reply:
    """Save an adapter for other programs."""
    body, digest = await read_numbered(request, wire.SaveWeightsExternalRequest)
    if body.age_encryption_recipients:
        await pass_over(request)
        raise Refusal(400, "age_encryption_recipients are not supported: fetch the files and encrypt them yourself")
    save = Save("external_weights", body.path, body.ttl_seconds)
    return await _save(request, body.model_id, body.seq_id, digest, save)


@post(f"{PREFIX}/load_weights", status_code=200, opt=wire_types(wire.UntypedFuture, wire.LoadWeightsRequest))
async def load_weights(request: Http) -> Reply:
    """Load a checkpoint into a new model, which this request may make."""
    body, digest = await read_numbered(request, wire.LoadWeightsRequest)
    engine, owner = engine_of(request), owner_in(request)
    source = await _shelf.find(engine, body.path, owner, token=body.weights_access_token)
    if body.model_id is None:
        if body.session_id is None:
            raise Refusal(400, "load_weights needs model_id and seq_id, or session_id and model_seq_id")
        session = await _lifecycle.active_session(engine, body.session_id, owner)
        return reply(_lifecycle.create_model_from(engine, body, session, source, digest))
    if body.seq_id is None:
        raise Refusal(400, "load_weights with model_id needs seq_id")
    order = await order_of(request, body.model_id, body.seq_id, digest, "load_weights")
    return reply(_requests.load_weights(engine, order, source, optimizer=body.optimizer))


@post(f"{PREFIX}/retrieve_future", status_code=200, opt=wire_types(dict, wire.RetrieveFutureRequest))
async def retrieve_future(request: Http) -> Reply:
    """Wait for a result, for a while."""
    body, _ = await read(request, wire.RetrieveFutureRequest)
    engine, owner = engine_of(request), owner_in(request)
    if not engine.futures.known(body.request_id, owner):
        row = await asyncio.to_thread(engine.store.checkpoints.of_request, body.request_id)
        if row is None or row.owner != owner:
            raise Refusal(404, f"unknown request {body.request_id!r}: its result is not kept any more, or never was")
        return reply(save_result(row))
    if engine.config.faults is not None and engine.config.faults.hit("capacity_pause", "retrieve_future"):
        await asyncio.sleep(_PAUSE)
        return reply(wire.TryAgain(body.request_id, "paused_capacity", "a fault on request"))
    waiting = asyncio.create_task(engine.futures.wait(body.request_id, engine.config.long_poll))
    answer = await first_of(waiting, asyncio.create_task(gone_away(request)))
    return reply_result(request, wire.TryAgain(body.request_id) if answer is None else answer)


@post(f"{PREFIX}/telemetry", status_code=200, opt=wire_types(dict, Empty))
async def telemetry(request: Http) -> Reply:
    """Take telemetry and forget it."""
    await read(request, Empty)
    return reply({"status": "accepted"})


async def _save(request: Http, model_id: str, seq_id: int, digest: bytes, save: Save) -> Reply:
    engine = engine_of(request)
    check_seq_id(seq_id)
    if engine.models.find(model_id) is None:
        # The repeat of a save whose model is not live any more is answered all the same.
        row = await asyncio.to_thread(engine.store.checkpoints.of_number, model_id, seq_id)
        if row is not None and row.digest == digest.hex() and row.owner == owner_in(request):
            return reply(wire.UntypedFuture(row.request_id, model_id))
    order = await order_of(request, model_id, seq_id, digest, f"save_{save.kind}")
    return reply(save_checkpoint(engine, order, save))


TRAINING_ROUTES: list[HTTPRouteHandler] = [
    create_model,
    get_info,
    unload_model,
    forward,
    forward_backward,
    optim_step,
    save_weights,
    save_weights_for_sampler,
    save_weights_external,
    load_weights,
    retrieve_future,
    telemetry,
]
