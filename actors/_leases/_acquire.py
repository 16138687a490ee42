"""Getting and giving back what a lease stands for: coroutines for the io loop."""

import asyncio
from typing import Any, Final
from urllib.parse import quote

from tinkex.actors._leases._lease import Lease, LeaseBook
from tinkex.actors._leases._session import Session
from tinkex.actors._runtime._clock import Clock
from tinkex.actors._runtime._log import log
from tinkex.actors._runtime._waiting import tell
from tinkex.actors._transport import (
    Accepted,
    Attempt,
    Done,
    Failed,
    HttpReply,
    Refused,
    ResultLost,
    Route,
    Transport,
    own_words,
)
from tinkex.protocol import TinkexError, wire

HEARTBEAT_SECONDS: Final = 10.0
HEARTBEAT_READ_SECONDS: Final = 10.0
HEARTBEAT_WARN_SECONDS: Final = 120.0
UNLOAD_SECONDS: Final = 30.0
"""How long a release waits for an unload that the server accepted, before it goes on and tries again."""

SDK_VERSION: Final = "0.24.1"
"""The generation of the official SDK whose wire this client speaks; servers choose their forms by it."""

_CANNOT: Final = frozenset({404, 405, 501})
_GONE: Final = frozenset({404, 405, 410})
_RELEASED: Final = frozenset({410})
_OK: Final = range(200, 300)


async def open_session(transport: Transport, session: Session) -> str:
    """Make ``session`` real and return its id; every repeat carries the same body and idempotency key.

    Raises:
        TinkexError: why there is no session.
    """
    async with session.lock:
        if session.session_id is None:
            asked_before, session.asked = session.asked, True
            request = wire.CreateSessionRequest(
                tags=session.tags,
                user_metadata=dict[str, Any](session.user_metadata),
                sdk_version=SDK_VERSION,
                type="create_session",
            )
            sent = await transport.send(
                "/api/v1/create_session",
                wire.encode(request),
                what="create_session",
                observe=tell,
                headers={"x-idempotency-key": session.idempotency_key},
            )
            if isinstance(sent, Refused):
                session.asked = asked_before  # an attempt of an earlier call may have arrived
            if not isinstance(sent, Accepted):
                raise sent.error
            session_id = session.opened(wire.decode(sent.body, wire.CreateSessionReply).session_id)
            log().info("session opened", session_id=session_id)
            return session_id
        return session.session_id


async def open_model(transport: Transport, lease: Lease) -> str:
    """Make ``lease``'s model real and return its id; its session must be open.

    A repeat, in this call or a later one, goes out under the same (session_id, model_seq_id).

    Raises:
        TinkexError: why there is no model.
    """
    async with lease.lock:
        if lease.model_id is None:
            asked_before, lease.asked = lease.asked, True
            request = wire.CreateModelRequest(
                session_id=lease.session.session_id or "",
                model_seq_id=lease.model_seq_id,
                base_model=lease.base_model,
                lora_config=lease.lora,
                user_metadata=lease.user_metadata,
            )
            body = wire.encode(request)
            sent = await transport.send("/api/v1/create_model", body, what="create_model", observe=tell)
            if isinstance(sent, Refused):
                lease.asked = asked_before
            if not isinstance(sent, Accepted):
                raise sent.error
            made = await transport.result(sent.body, what="create_model", observe=tell)
            if isinstance(made, Failed):
                lease.asked = False
            elif isinstance(made, ResultLost):
                early = wire.decode(sent.body, dict[str, Any]).get("model_id")
                if isinstance(early, str):
                    lease.opened(early)
            if not isinstance(made, Done):
                raise made.error
            return lease.opened(wire.decode(made.body, wire.CreateModelResult).model_id)
        return lease.model_id


async def release(transport: Transport, lease: Lease) -> bool:
    """Give ``lease`` back: unload its model, and finish the session that it owns.

    Returns whether the server confirmed it, or there was nothing to give back; else the lease is left to expire.

    Raises:
        TinkexError: the server could not be asked; the release may be tried again.
    """
    transport = transport.express
    if not lease.owns_session:
        return await _release_shared(transport, lease)
    confirmed, failure = False, None
    if lease.model_id is not None:
        try:
            confirmed = await unload(transport, lease.model_id, patience=UNLOAD_SECONDS)
        except TinkexError as error:
            failure = error
    confirmed = await finish_session(transport, lease.session) or confirmed
    if failure is not None and not confirmed:
        raise failure
    if lease.inside and not confirmed:
        return all([await _release_shared(transport, model) for model in lease.inside])
    return confirmed


async def _release_shared(transport: Transport, lease: Lease) -> bool:
    if lease.session.finished or not lease.asked:
        return True
    if transport.profile.lacks("unload_model"):
        return False
    if lease.model_id is None:
        try:
            await open_model(transport, lease)
        except TinkexError as error:
            if error.status in (_RELEASED if lease.session.inherited else _GONE):
                return True
            raise
    return lease.model_id is None or await unload(transport, lease.model_id, patience=UNLOAD_SECONDS)


async def finish_all(transport: Transport, book: LeaseBook) -> None:
    """Finish every session in ``book`` that was asked for, side by side, and close the connections."""
    try:
        await asyncio.gather(*(_finish_one(transport, book, session) for session in book.sessions()))
    finally:
        await transport.close()


async def _finish_one(transport: Transport, book: LeaseBook, session: Session) -> None:
    try:
        finished = await finish_session(transport, session)
    except TinkexError as error:
        log(session_id=session.session_id).warning("session not finished", error=error.message)
        return
    if session.finished:
        book.close_session(session)
    elif not finished:
        log(session_id=session.session_id).warning("session left to expire: the server did not finish it")


async def finish_session(transport: Transport, session: Session) -> bool:
    """Finish ``session``; return whether the server confirmed it (2xx or 410).

    Raises:
        TinkexError: the server could not be asked.
    """
    transport = transport.express
    if session.session_id is None and session.asked:
        await open_session(transport, session)
    async with session.lock:
        if session.session_id is None or session.finished:
            return True
        session.finished = await end_session(transport, session.session_id)
        return session.finished


async def end_session(transport: Transport, session_id: str, detail: str | None = None) -> bool:
    """Finish a session, whoever began it; return whether the server confirmed it, whatever it says of it.

    Raises:
        TinkexError: the server could not be asked.
    """
    request = wire.FinishSessionRequest(reason=wire.FinishReason(type="success"), detail=detail)
    path = f"/api/v1/sessions/{quote(session_id, safe=':')}/finish"
    return await _step(transport.express, path, wire.encode(request), "finish_session") is not None


async def unload(transport: Transport, model_id: str, patience: float | None = None) -> bool:
    """Unload ``model_id``, waiting up to ``patience`` seconds; return whether the server confirmed it.

    Raises:
        TinkexError: the server could not be asked, or did not say in time.
    """
    body = wire.encode(wire.UnloadModelRequest(model_id=model_id))
    done = await _step(transport.express, "/api/v1/unload_model", body, "unload_model")
    if not done or not done.strip():
        return done is not None
    polled = await transport.express.result(done, what="unload_model", observe=tell, patience=patience)
    if isinstance(polled, ResultLost) and polled.error.status is None:
        raise polled.error
    return isinstance(polled, Done) or polled.error.status in _RELEASED


async def _step(transport: Transport, path: str, body: bytes, route: Route) -> bytes | None:
    """Return what the server answered, nothing where it says that it is done already, None where it cannot do it."""
    if transport.profile.lacks(route):
        return None
    try:
        raw = await transport.post(path, body, what=route)
    except TinkexError as error:
        if error.status in _CANNOT:
            transport.profile.note_route(route, error)
            return None
        if error.status in _RELEASED:
            return b""
        raise
    transport.profile.note_route(route)
    return raw


async def session_gone(transport: Transport, session_id: str) -> TinkexError | None:
    """Ask once, by a heartbeat, whether the server has ended ``session_id``; return the error that says so."""
    body = wire.encode(wire.SessionHeartbeatRequest(session_id=session_id))
    attempt = await transport.beat("/api/v1/session_heartbeat", body, read_seconds=HEARTBEAT_READ_SECONDS)
    return _session_gone(attempt, session_id)


async def heartbeat(transport: Transport, session_id: str, clock: Clock, interval: float) -> TinkexError:
    """Keep ``session_id`` alive until the server says that it is gone; return that as the error.

    A beat that fails otherwise is only noted, and warned of once in two minutes.
    """
    body = wire.encode(wire.SessionHeartbeatRequest(session_id=session_id))
    last_good = last_warned = clock.monotonic()
    while True:
        await clock.sleep(interval)
        attempt = await transport.beat("/api/v1/session_heartbeat", body, read_seconds=HEARTBEAT_READ_SECONDS)
        now = clock.monotonic()
        gone = _session_gone(attempt, session_id)
        if gone is not None:
            return gone
        if isinstance(attempt, HttpReply) and attempt.status in _OK:
            last_good = now
        elif now - max(last_good, last_warned) >= HEARTBEAT_WARN_SECONDS:
            last_warned = now
            log().warning("no heartbeat reached the server", session_id=session_id, seconds=now - last_good)


def _session_gone(attempt: Attempt, session_id: str) -> TinkexError | None:
    # In the server's own words only: a proxy's page says nothing about a session.
    if isinstance(attempt, HttpReply) and attempt.status in (404, 410) and own_words(attempt) is not None:
        return TinkexError(
            "the server says that this session is gone; create a new client from its last checkpoint",
            kind="session_lost",
            category="server",
            status=attempt.status,
            data={"session_id": session_id},
        )
    return None
