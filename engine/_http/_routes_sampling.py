"""Sampling over HTTP."""

import asyncio

from litestar import get, post
from litestar.handlers import HTTPRouteHandler

from tinkex.engine._base._errors import Refusal
from tinkex.engine._http._http import PREFIX, Http, Reply, engine_of, owner_in, read, reply, segment, wire_types
from tinkex.engine._service import _sampling_requests
from tinkex.protocol import wire


@post(
    f"{PREFIX}/create_sampling_session",
    status_code=200,
    opt=wire_types(wire.CreateSamplingSessionReply, wire.CreateSamplingSessionRequest),
)
async def create_sampling_session(request: Http) -> Reply:
    """Begin to sample from a base model or a checkpoint."""
    body, digest = await read(request, wire.CreateSamplingSessionRequest)
    sampler_id = await _sampling_requests.create(engine_of(request), body, owner_in(request), digest)
    return reply(wire.CreateSamplingSessionReply(sampler_id))


@post(
    f"{PREFIX}/join_sampling_session",
    status_code=200,
    opt=wire_types(wire.JoinSamplingSessionReply, wire.JoinSamplingSessionRequest),
)
async def join_sampling_session(request: Http) -> Reply:
    """Give another client of a sampling session a number of its own."""
    body, _ = await read(request, wire.JoinSamplingSessionRequest)
    sampler = await _sampling_requests.find(engine_of(request), body.sampling_session_id, owner_in(request))
    sampler.clients += 1
    return reply(wire.JoinSamplingSessionReply(sampler.clients))


@get(f"{PREFIX}/samplers/{{sampler_id:str}}", opt=wire_types(wire.SamplerReply))
async def sampler(request: Http) -> Reply:
    """Describe a sampling session."""
    sampler_id = segment(request, "sampler_id")
    row = await asyncio.to_thread(engine_of(request).store.sampler, sampler_id)
    if row is None or row.owner != owner_in(request):
        raise Refusal(404, f"unknown sampling session {sampler_id!r}")
    return reply(wire.SamplerReply(row.sampler_id, row.base_model, row.model_path))


@post(f"{PREFIX}/asample", status_code=200, opt=wire_types(wire.SampleFuture, wire.SampleRequest))
async def asample(request: Http) -> Reply:
    """Draw sequences after a prompt."""
    body, digest = await read(request, wire.SampleRequest)
    if body.sampling_session_id is None:
        raise Refusal(400, "asample needs sampling_session_id; create_sampling_session gives one")
    engine = engine_of(request)
    found = await _sampling_requests.find(engine, body.sampling_session_id, owner_in(request))
    return reply(_sampling_requests.sample(engine, found, body, digest))


@post(f"{PREFIX}/cancel_future", status_code=200, opt=wire_types(dict, wire.CancelFutureRequest))
async def cancel_future(request: Http) -> Reply:
    """End a request to sample that nobody waits for any more."""
    body, _ = await read(request, wire.CancelFutureRequest)
    _sampling_requests.cancel(engine_of(request), body.request_id, owner_in(request))
    return reply({})


SAMPLING_ROUTES: list[HTTPRouteHandler] = [
    create_sampling_session,
    join_sampling_session,
    sampler,
    asample,
    cancel_future,
]
