"""Checkpoints and training runs over HTTP."""

import asyncio
from functools import partial

import msgspec
from litestar import delete, get, post, put
from litestar.handlers import HTTPRouteHandler

from tinkex.engine._http._http import (
    PREFIX,
    Http,
    Reply,
    engine_of,
    owner_in,
    page_of,
    paging,
    read,
    reply,
    segment,
    wire_types,
)
from tinkex.engine._service import _shelf
from tinkex.engine._service._copies import copy
from tinkex.engine._service._validation import parse_address
from tinkex.protocol import TinkerPath, wire

_RUNS = {**paging(20), "project_id": {"type": "string"}}
_RUN = f"{PREFIX}/training_runs/{{run:str}}"
_CHECKPOINT = f"{_RUN}/checkpoints/{{kind:str}}/{{name:str}}"


@post(f"{PREFIX}/weights_info", status_code=200, opt=wire_types(wire.WeightsInfoReply, wire.WeightsInfoRequest))
async def weights_info(request: Http) -> Reply:
    """Tell what a checkpoint was made from."""
    body, _ = await read(request, wire.WeightsInfoRequest)
    return reply(await _shelf.info(engine_of(request), body.tinker_path, owner_in(request)))


@get(
    f"{PREFIX}/training_runs",
    opt=wire_types(wire.TrainingRunsReply, query={**paging(20), "project_id": {"type": "string"}}),
)
async def runs(request: Http) -> Reply:
    """List training runs."""
    project_id = request.query_params.get("project_id")
    return reply(
        await asyncio.to_thread(_shelf.runs, engine_of(request), owner_in(request), project_id, *page_of(request, 20))
    )


@get(_RUN, opt=wire_types(wire.TrainingRun))
async def run(request: Http) -> Reply:
    """Describe a training run."""
    return reply(await asyncio.to_thread(_shelf.run, engine_of(request), segment(request, "run"), owner_in(request)))


@get(f"{_RUN}/checkpoints", opt=wire_types(wire.CheckpointsReply))
async def run_checkpoints(request: Http) -> Reply:
    """List a run's checkpoints."""
    run_id = segment(request, "run")
    return reply(await asyncio.to_thread(_shelf.checkpoints_of, engine_of(request), run_id, owner_in(request)))


@get(f"{PREFIX}/checkpoints", opt=wire_types(wire.CheckpointsReply, query=paging(100)))
async def checkpoints(request: Http) -> Reply:
    """List all checkpoints."""
    return reply(
        await asyncio.to_thread(_shelf.checkpoints, engine_of(request), owner_in(request), *page_of(request, 100))
    )


@delete(_CHECKPOINT, status_code=200, opt=wire_types(dict))
async def delete_checkpoint(request: Http) -> Reply:
    """Delete a checkpoint."""
    await asyncio.to_thread(_shelf.delete, engine_of(request), _address(request), owner_in(request))
    return reply({})


@put(f"{_CHECKPOINT}/ttl", status_code=200, opt=wire_types(dict, wire.TtlRequest))
async def checkpoint_ttl(request: Http) -> Reply:
    """Change when a checkpoint expires."""
    path = _address(request)
    body, _ = await read(request, wire.TtlRequest)
    await asyncio.to_thread(_shelf.set_ttl, engine_of(request), path, owner_in(request), body.ttl_seconds)
    return reply({})


@post(f"{_CHECKPOINT}/publish", status_code=200, opt=wire_types(dict))
async def publish(request: Http) -> Reply:
    """Let everybody read a checkpoint."""
    path, owner = _address(request), owner_in(request)
    await asyncio.to_thread(partial(_shelf.set_public, engine_of(request), path, owner, public=True))
    return reply({})


@delete(f"{_CHECKPOINT}/publish", status_code=200, opt=wire_types(dict))
async def unpublish(request: Http) -> Reply:
    """Let a checkpoint's owner alone read it."""
    path, owner = _address(request), owner_in(request)
    await asyncio.to_thread(partial(_shelf.set_public, engine_of(request), path, owner, public=False))
    return reply({})


@post(f"{PREFIX}/copy_weights", status_code=200, opt=wire_types(wire.CopyWeightsReply, wire.CopyWeightsRequest))
async def copy_weights(request: Http) -> Reply:
    """Copy a checkpoint into a project, or into a session."""
    body, _ = await read(request, wire.CopyWeightsRequest)
    token = request.headers.get("x-tinker-weights-access-token", body.weights_access_token)
    body = msgspec.structs.replace(body, weights_access_token=token)
    key = request.headers.get("x-idempotency-key")
    return reply(wire.CopyWeightsReply(await copy(engine_of(request), body, owner_in(request), key)))


def _address(request: Http) -> TinkerPath:
    return parse_address(segment(request, "run"), segment(request, "kind"), segment(request, "name"))


WEIGHTS_ROUTES: list[HTTPRouteHandler] = [
    weights_info,
    runs,
    run,
    run_checkpoints,
    checkpoints,
    delete_checkpoint,
    checkpoint_ttl,
    publish,
    unpublish,
    copy_weights,
]
