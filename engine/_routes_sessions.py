"""Configuration, health and sessions over HTTP."""

import asyncio

from litestar import get, post
from litestar.handlers import HTTPRouteHandler

from tinkex.engine import _lifecycle
from tinkex.engine._errors import Refusal
from tinkex.engine._http import PREFIX, Http, Reply, engine_of, owner_in, read, reply, segment, whole_number
from tinkex.protocol import wire


@get(f"{PREFIX}/healthz")
async def healthz(request: Http) -> Reply:
    """Count what lives."""
    return reply(engine_of(request).health())


@post(f"{PREFIX}/client/config", status_code=200)
async def client_config(request: Http) -> Reply:
    """Say how the server wants to be used."""
    await read(request, wire.ClientConfigRequest)
    return reply(wire.ClientConfigReply(create_model_via_load_weights=True))


@get(f"{PREFIX}/get_server_capabilities")
async def capabilities(request: Http) -> Reply:
    """List the base models."""
    models = [
        wire.SupportedModel(base.name, base.max_context_length, trainable=True, sampleable=False)
        for base in engine_of(request).catalogue
    ]
    return reply(wire.CapabilitiesReply(models))


@post(f"{PREFIX}/create_session", status_code=200)
async def create_session(request: Http) -> Reply:
    """Begin a session."""
    body, _ = await read(request, wire.CreateSessionRequest)
    key = request.headers.get("x-idempotency-key")
    return reply(
        wire.CreateSessionReply(
            await _lifecycle.create_session(engine_of(request), body, owner_in(request), key),
        )
    )


@post(f"{PREFIX}/session_heartbeat", status_code=200)
async def heartbeat(request: Http) -> Reply:
    """Keep a session alive."""
    body, _ = await read(request, wire.SessionHeartbeatRequest)
    engine = engine_of(request)
    session = await _lifecycle.active_session(engine, body.session_id)
    if engine.config.faults is not None and engine.config.faults.hit("session_expiry", "session_heartbeat"):
        await _lifecycle.end_session(engine, session, "expired", None, None)
        await _lifecycle.active_session(engine, body.session_id)
    return reply(wire.SessionHeartbeatReply())


@post(f"{PREFIX}/sessions/{{session_id:str}}/finish", status_code=200)
async def finish(request: Http) -> Reply:
    """End a session."""
    body, _ = await read(request, wire.FinishSessionRequest)
    await _lifecycle.finish_session(engine_of(request), segment(request, "session_id"), body)
    return reply({})


@get(f"{PREFIX}/sessions")
async def sessions(request: Http) -> Reply:
    """List sessions, newest first."""
    limit, offset = whole_number(request, "limit", 20, 1, 1000), whole_number(request, "offset", 0, 0, 10**9)
    rows = await asyncio.to_thread(engine_of(request).store.sessions, limit, offset)
    return reply(wire.SessionsReply([row.session_id for row in rows]))


@get(f"{PREFIX}/sessions/{{session_id:str}}")
async def session(request: Http) -> Reply:
    """Describe a session."""
    store, session_id = engine_of(request).store, segment(request, "session_id")
    row = await asyncio.to_thread(store.session, session_id)
    if row is None:
        raise Refusal(404, f"unknown session {session_id!r}")
    runs = await asyncio.to_thread(store.models_of, session_id)
    return reply(wire.SessionReply(runs, user_metadata=row.user_metadata, display_name=row.display_name))


SESSION_ROUTES: list[HTTPRouteHandler] = [
    healthz,
    client_config,
    capabilities,
    create_session,
    heartbeat,
    finish,
    sessions,
    session,
]
