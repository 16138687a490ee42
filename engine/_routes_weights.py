"""Checkpoints and training runs over HTTP."""

import asyncio

from litestar import delete, get, post, put
from litestar.handlers import HTTPRouteHandler

from tinkex.engine import _shelf
from tinkex.engine._http import PREFIX, Http, Reply, engine_of, read, reply, segment, whole_number
from tinkex.engine._validation import parse_address
from tinkex.protocol import TinkerPath, wire

_RUN = f"{PREFIX}/training_runs/{{run:str}}"
_CHECKPOINT = f"{_RUN}/checkpoints/{{kind:str}}/{{name:str}}"
_PAGE = 1000


@post(f"{PREFIX}/weights_info", status_code=200)
async def weights_info(request: Http) -> Reply:
    """Tell what a checkpoint was made from."""
    body, _ = await read(request, wire.WeightsInfoRequest)
    return reply(await _shelf.info(engine_of(request), body.tinker_path))


@get(f"{PREFIX}/training_runs")
async def runs(request: Http) -> Reply:
    """List training runs."""
    return reply(await asyncio.to_thread(_shelf.runs, engine_of(request), *_page(request, 20)))


@get(_RUN)
async def run(request: Http) -> Reply:
    """Describe a training run."""
    return reply(await asyncio.to_thread(_shelf.run, engine_of(request), segment(request, "run")))


@get(f"{_RUN}/checkpoints")
async def run_checkpoints(request: Http) -> Reply:
    """List a run's checkpoints."""
    return reply(await asyncio.to_thread(_shelf.checkpoints_of, engine_of(request), segment(request, "run")))


@get(f"{PREFIX}/checkpoints")
async def checkpoints(request: Http) -> Reply:
    """List all checkpoints."""
    return reply(await asyncio.to_thread(_shelf.checkpoints, engine_of(request), *_page(request, 100)))


@delete(_CHECKPOINT, status_code=200)
async def delete_checkpoint(request: Http) -> Reply:
    """Delete a checkpoint."""
    await asyncio.to_thread(_shelf.delete, engine_of(request), _address(request))
    return reply({})


@put(f"{_CHECKPOINT}/ttl", status_code=200)
async def checkpoint_ttl(request: Http) -> Reply:
    """Change when a checkpoint expires."""
    path = _address(request)
    body, _ = await read(request, wire.TtlRequest)
    await asyncio.to_thread(_shelf.set_ttl, engine_of(request), path, body.ttl_seconds)
    return reply({})


def _address(request: Http) -> TinkerPath:
    return parse_address(segment(request, "run"), segment(request, "kind"), segment(request, "name"))


def _page(request: Http, default: int) -> tuple[int, int]:
    return whole_number(request, "limit", default, 1, _PAGE), whole_number(request, "offset", 0, 0, 10**9)


WEIGHTS_ROUTES: list[HTTPRouteHandler] = [
    weights_info,
    runs,
    run,
    run_checkpoints,
    checkpoints,
    delete_checkpoint,
    checkpoint_ttl,
]
