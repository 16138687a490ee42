"""Adapters for other programs over HTTP: archives, files, and the links to them."""

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from tinkex.engine._base._errors import Refusal
from tinkex.engine._http._http import PREFIX, Http, Reply, engine_of, owner_in, reply, segment, wire_types
from tinkex.engine._service import _shelf
from tinkex.engine._service._downloads import ADAPTER_FILES, archive, pieces
from tinkex.engine._service._validation import parse_address
from tinkex.engine._store._records import timestamp
from tinkex.protocol import TinkerPath, wire

if TYPE_CHECKING:
    from tinkex.engine._service._engine import Engine

_CHECKPOINT = f"{PREFIX}/training_runs/{{run:str}}/checkpoints/{{kind:str}}/{{name:str}}"
DOWNLOADS = "/download"
"""Outside the API, because links are fetched without a key: their tokens are secrets themselves."""


@get(f"{_CHECKPOINT}/archive", opt=wire_types(None, statuses=(302,)))
async def archive_link(request: Http) -> Reply:
    """Point to an archive of a checkpoint's adapter."""
    engine = engine_of(request)
    row = await _shelf.get(engine, _address(request), owner_in(request))
    url = f"{_base(request)}{DOWNLOADS}/{engine.downloads.offer(row.folder)}/archive.tar"
    expires = format_datetime(_expiry(engine), usegmt=True)
    return Response(b"", status_code=302, headers={"location": url, "expires": expires})


@get(f"{_CHECKPOINT}/external_weights_urls", opt=wire_types(wire.ExternalWeightsUrlsReply))
async def external_weights_urls(request: Http) -> Reply:
    """Point to the files of external weights."""
    engine, path = engine_of(request), _address(request)
    row = await _shelf.get(engine, path, owner_in(request))
    if row.kind != "external_weights":
        raise Refusal(400, f"{path} is not of kind 'external_weights'; save_weights_external makes such")
    base = f"{_base(request)}{DOWNLOADS}"
    urls = {file: f"{base}/{engine.downloads.offer(row.folder, file)}/{file}" for file in ADAPTER_FILES}
    return reply(wire.ExternalWeightsUrlsReply(urls, timestamp(_expiry(engine).timestamp())))


@get(f"{DOWNLOADS}/{{token:str}}/{{file:str}}", opt=wire_types(None))
async def download(request: Http) -> Stream:
    """Fetch what a link stands for."""
    engine = engine_of(request)
    link = engine.downloads.find(segment(request, "token"))
    folder = engine.root.checkpoints / link.folder
    if segment(request, "file") != (link.file or "archive.tar"):
        raise Refusal(404, "this link is for another file")
    if not await asyncio.to_thread(folder.is_dir):
        raise Refusal(404, "the checkpoint was deleted")
    source = archive(folder) if link.file is None else pieces(folder / link.file)
    return Stream(source, media_type="application/x-tar" if link.file is None else "application/octet-stream")


def _address(request: Http) -> TinkerPath:
    return parse_address(segment(request, "run"), segment(request, "kind"), segment(request, "name"))


def _base(request: Http) -> str:
    return str(request.base_url).rstrip("/")


def _expiry(engine: "Engine") -> datetime:
    return datetime.fromtimestamp(engine.wall() + engine.downloads.seconds, UTC)


DOWNLOAD_ROUTES: list[HTTPRouteHandler] = [archive_link, external_weights_urls, download]
