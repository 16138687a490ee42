"""Configuration, health and sessions over HTTP."""

import asyncio

from litestar import get, post, put
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
from tinkex.engine._service import _lifecycle
from tinkex.engine._service._engine import Health
from tinkex.engine._service._session_search import search
from tinkex.protocol import wire


@get(f"{PREFIX}/healthz", opt=wire_types(Health))
async def healthz(request: Http) -> Reply:
    """Count what lives."""
    return reply(engine_of(request).health())


@post(f"{PREFIX}/client/config", status_code=200, opt=wire_types(wire.ClientConfigReply, wire.ClientConfigRequest))
async def client_config(request: Http) -> Reply:
    """Say how the server wants to be used."""
    await read(request, wire.ClientConfigRequest)
    return reply(wire.ClientConfigReply(create_model_via_load_weights=True))


@post(
    f"{PREFIX}/client/dynamic_config",
    status_code=200,
    opt=wire_types(wire.DynamicConfigReply, wire.ClientConfigRequest),
)
async def dynamic_config(request: Http) -> Reply:
    """Say what clients may change while they run."""
    await read(request, wire.ClientConfigRequest)
    return reply(wire.DynamicConfigReply(sample_cancel_enabled=True))


@get(f"{PREFIX}/get_server_capabilities", opt=wire_types(wire.CapabilitiesReply))
async def capabilities(request: Http) -> Reply:
    """List the base models, and say what the bits of results depend on, once that is known."""
    engine = engine_of(request)
    models = [
        wire.SupportedModel(base.name, base.max_context_length, trainable=True, sampleable=True)
        for base in engine.catalogue
    ]
    return reply(wire.CapabilitiesReply(models, await engine.build()))


@post(f"{PREFIX}/create_session", status_code=200, opt=wire_types(wire.CreateSessionReply, wire.CreateSessionRequest))
async def create_session(request: Http) -> Reply:
    """Begin a session."""
    body, _ = await read(request, wire.CreateSessionRequest)
    key = request.headers.get("x-idempotency-key")
    return reply(
        wire.CreateSessionReply(
            await _lifecycle.create_session(engine_of(request), body, owner_in(request), key),
        )
    )


@post(
    f"{PREFIX}/session_heartbeat",
    status_code=200,
    opt=wire_types(wire.SessionHeartbeatReply, wire.SessionHeartbeatRequest),
)
async def heartbeat(request: Http) -> Reply:
    """Keep a session alive."""
    body, _ = await read(request, wire.SessionHeartbeatRequest)
    engine = engine_of(request)
    session = await _lifecycle.active_session(engine, body.session_id, owner_in(request))
    if engine.config.faults is not None and engine.config.faults.hit("session_expiry", "session_heartbeat"):
        await _lifecycle.end_session(engine, session, "expired", None, None)
        await _lifecycle.active_session(engine, body.session_id, owner_in(request))
    return reply(wire.SessionHeartbeatReply())


@post(f"{PREFIX}/sessions/{{session_id:str}}/finish", status_code=200, opt=wire_types(dict, wire.FinishSessionRequest))
async def finish(request: Http) -> Reply:
    """End a session."""
    body, _ = await read(request, wire.FinishSessionRequest)
    await _lifecycle.finish_session(engine_of(request), segment(request, "session_id"), owner_in(request), body)
    return reply({})


@get(f"{PREFIX}/sessions", opt=wire_types(wire.SessionsReply, query=paging(20)))
async def sessions(request: Http) -> Reply:
    """List sessions, newest first."""
    limit, offset = page_of(request, 20)
    rows = await asyncio.to_thread(engine_of(request).store.sessions, owner_in(request), limit, offset)
    return reply(wire.SessionsReply([row.session_id for row in rows]))


@get(f"{PREFIX}/sessions/{{session_id:str}}", opt=wire_types(wire.SessionReply))
async def session(request: Http) -> Reply:
    """Describe a session."""
    engine, session_id = engine_of(request), segment(request, "session_id")
    row = await _lifecycle.session_row(engine, session_id, owner_in(request))
    runs = await asyncio.to_thread(engine.store.models_of, session_id)
    samplers = await asyncio.to_thread(engine.store.samplers_of, session_id)
    return reply(wire.SessionReply(runs, samplers, row.user_metadata, row.display_name))


@post(
    f"{PREFIX}/sessions/search",
    status_code=200,
    opt=wire_types(wire.SearchSessionsReply, wire.SearchSessionsRequest),
)
async def search_sessions(request: Http) -> Reply:
    """Find sessions."""
    body, _ = await read(request, wire.SearchSessionsRequest)
    return reply(await asyncio.to_thread(search, engine_of(request), body, owner_in(request)))


@put(f"{PREFIX}/sessions/{{session_id:str}}/project", status_code=200, opt=wire_types(dict, wire.ProjectRequest))
async def session_project(request: Http) -> Reply:
    """Put a session into a project."""
    body, _ = await read(request, wire.ProjectRequest)
    session_id = segment(request, "session_id")
    await _lifecycle.move_session(engine_of(request), session_id, owner_in(request), body.project_id)
    return reply({})


@get(f"{PREFIX}/sessions/{{session_id:str}}/trace_export", opt=wire_types(wire.TraceExportReply))
async def trace_export(request: Http) -> Reply:
    """Say that there is no trace."""
    await _lifecycle.session_row(engine_of(request), segment(request, "session_id"), owner_in(request))
    return reply(wire.TraceExportReply("failed", error="this server keeps no traces"))


SESSION_ROUTES: list[HTTPRouteHandler] = [
    healthz,
    client_config,
    dynamic_config,
    capabilities,
    create_session,
    heartbeat,
    finish,
    sessions,
    session,
    search_sessions,
    session_project,
    trace_export,
]
