"""Sessions and models from their beginning to their end."""

import asyncio
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import OperationFailed, Refusal
from tinkex.engine._base._layout import LoraSpec
from tinkex.engine._service._executor import Job
from tinkex.engine._service._registry import Model
from tinkex.engine._service._sequencer import Sequencer
from tinkex.engine._service._sessions import Created, Session
from tinkex.engine._service._validation import check, check_name
from tinkex.engine._store._records import FinishType, ModelRow, SessionRow, SessionState
from tinkex.protocol import LoraConfig, wire

if TYPE_CHECKING:
    from tinkex.engine._compute._compute import Compute
    from tinkex.engine._service._engine import Engine
    from tinkex.engine._store._records import CheckpointRow

log = structlog.get_logger("tinkex.engine")

_MAX_MODEL_SEQ_ID = 2**31 - 1


async def create_session(engine: "Engine", body: wire.CreateSessionRequest, owner: str, key: str | None) -> str:
    """Begin a session, or find the one that the same idempotency key began; return its id."""
    engine.check_open()
    known = engine.sessions.by_key(owner, key)
    if known is not None:
        return known.row.session_id
    if len(engine.sessions) >= engine.config.max_sessions:
        raise Refusal(429, f"{len(engine.sessions)} sessions are active; finish some of them first")
    row = SessionRow(
        session_id=f"sess-{secrets.token_hex(8)}",
        owner=owner,
        created=engine.wall(),
        tags=body.tags,
        user_metadata=body.user_metadata,
        project_id=body.project_id,
        display_name=body.display_name,
    )
    engine.sessions.add(row, key)
    try:
        await asyncio.to_thread(engine.store.put_session, row)
    except sqlite3.Error as error:
        engine.sessions.end(row.session_id)
        raise Refusal(503, f"the session cannot be kept: {error}") from error
    return row.session_id


async def active_session(engine: "Engine", session_id: str, owner: str) -> Session:
    """Return an owner's active session and take this for a sign of its life.

    Raises:
        Refusal: 404 or 410.
    """
    former = None
    if engine.sessions.find(session_id) is None:
        former = await asyncio.to_thread(engine.store.session, session_id)
    return engine.sessions.get(session_id, owner, former)


async def finish_session(engine: "Engine", session_id: str, owner: str, body: wire.FinishSessionRequest) -> None:
    """End a session and unload its models; the first reason stays, a repeat is harmless.

    When it is answered, whoever ended it, no request of the session's models trains or saves any more: what was queued
    does not run, and what was running has ended.
    """
    row = await session_row(engine, session_id, owner)
    session = engine.sessions.find(row.session_id)
    if session is not None:
        await end_session(engine, session, "finished", body.reason.type, body.detail)
    for model in engine.models.of_session(row.session_id):
        await engine.rest(model.model_id)


async def session_row(engine: "Engine", session_id: str, owner: str) -> SessionRow:
    """Return an owner's session, ended ones too.

    Raises:
        Refusal: 404.
    """
    row = await asyncio.to_thread(engine.store.session, session_id)
    if row is None or row.owner != owner:
        raise Refusal(404, f"unknown session {session_id!r}")
    return row


async def move_session(engine: "Engine", session_id: str, owner: str, project_id: str) -> None:
    """Put a session into a project.

    Raises:
        Refusal: 400 or 404.
    """
    check_name("project_id", project_id)
    await session_row(engine, session_id, owner)
    session = engine.sessions.find(session_id)
    if session is not None:
        session.row = msgspec.structs.replace(session.row, project_id=project_id)
    await asyncio.to_thread(engine.store.set_project, session_id, project_id)


async def end_session(
    engine: "Engine", session: Session, state: SessionState, reason: FinishType | None, detail: str | None
) -> None:
    """End an active session: what its models have queued does not run, and they are unloaded."""
    session_id = session.row.session_id
    engine.sessions.end(session_id)
    for model in engine.models.of_session(session_id):
        # The request was in order: a client that is told "user" would take it for one that fails every time.
        engine.fail(engine.executor.drop(model.model_id), f"session {session_id} ended", "server")
        unload_model(engine, model)
    engine.samplers.end_of_session(session_id)
    row = session.row.ended(state, reason, detail)
    await asyncio.to_thread(engine.store.put_session, row)


async def create_model(
    engine: "Engine", body: wire.CreateModelRequest, owner: str, digest: bytes
) -> wire.UntypedFuture:
    """Queue the making of a model."""
    session = await active_session(engine, body.session_id, owner)
    known = created_before(session, body.model_seq_id, digest)
    if known is not None:
        return known
    engine.check_open()
    base = engine.catalogue.get(body.base_model)
    check(body.lora_config.check())
    if (body.optimizer_config or {}).get("type", "adamw") != "adamw":
        raise Refusal(400, "optimizer_config: only type 'adamw' is supported")
    return _make(engine, session, body.model_seq_id, digest, base, settle_seed(body.lora_config), body.user_metadata)


def create_model_from(
    engine: "Engine", body: wire.LoadWeightsRequest, session: Session, source: "CheckpointRow | Refusal", digest: bytes
) -> wire.UntypedFuture:
    """Queue the making of a model from a checkpoint; ``source`` is what was found under the path."""
    known = created_before(session, body.model_seq_id, digest)
    if known is not None:
        return known
    engine.check_open()
    if isinstance(source, Refusal):
        raise source
    base = engine.catalogue.get(body.base_model or source.base_model)
    if base.name != source.base_model:
        raise Refusal(400, f"base_model: {source.path} was trained on {source.base_model}, not on {base.name}")
    assert body.model_seq_id is not None
    load = source.path, body.optimizer
    return _make(engine, session, body.model_seq_id, digest, base, source.lora, body.user_metadata, load)


def created_before(session: Session, number: int | None, digest: bytes) -> wire.UntypedFuture | None:
    """Return the answer to an earlier request of the same number and body.

    Raises:
        Refusal: 400 for another body under a used number.
    """
    if number is None or not 0 <= number <= _MAX_MODEL_SEQ_ID:
        raise Refusal(400, f"model_seq_id must be 0 to {_MAX_MODEL_SEQ_ID}, not {number}")
    created = session.models.get(number)
    if created is None:
        return None
    if created.digest != digest:
        raise Refusal(400, f"model_seq_id {number} of this session was used for another request; take a new number")
    return created.future


def settle_seed(lora: LoraConfig) -> LoraSpec:
    """Return the adapter that is asked for, its seed drawn if none is given."""
    seed = secrets.randbits(63) if lora.seed is None else lora.seed
    return LoraSpec(lora.rank, seed, lora.train_mlp, lora.train_attn, lora.train_unembed)


def unload_model(engine: "Engine", model: Model) -> wire.UntypedFuture:
    """Take nothing more for a model, and free it behind what is queued; a repeat gets the same answer.

    What waits for a missing number is given up.
    """
    if model.unloading is not None:
        return model.unloading
    future = model.unloading = wire.UntypedFuture(engine.futures.open(model.owner))
    engine.fail(model.sequencer.give_up(), f"model {model.model_id} was unloaded")

    def unload(compute: "Compute") -> wire.UnloadModelResult:
        compute.drop(model.model_id)
        engine.store.touch_model(model.model_id, "unloaded", model.last_request)
        return wire.UnloadModelResult(model.model_id)

    engine.executor.put(Job(future.request_id, unload, model.model_id, "unload_model", unloads=True))
    return future


def _make(
    engine: "Engine",
    session: Session,
    number: int,
    digest: bytes,
    base: BaseModel,
    lora: LoraSpec,
    user_metadata: dict[str, Any] | None,
    source: tuple[str, bool] | None = None,
) -> wire.UntypedFuture:
    """Queue the making of a model; it takes requests at once."""
    if len(engine.models) >= engine.config.max_models:
        raise Refusal(429, f"{len(engine.models)} models are live; unload some of them first")
    session_id, now = session.row.session_id, engine.wall()
    model_id = f"{session_id}:train:{number}"
    model = Model(
        model_id=model_id,
        session_id=session_id,
        owner=session.row.owner,
        base=base,
        lora=lora,
        sequencer=Sequencer(engine.config.gap_timeout),
        last_request=now,
    )
    row = ModelRow(
        model_id=model_id,
        session_id=session_id,
        owner=session.row.owner,
        base_model=base.name,
        lora=lora,
        created=now,
        last_request=now,
        user_metadata=user_metadata,
    )

    def make(compute: "Compute") -> wire.CreateModelResult | wire.LoadWeightsResult:
        compute.create(model_id, base, lora)
        try:
            if source is not None:
                compute.load(model_id, source[0], engine.wall(), optimizer=source[1])
            engine.store.put_model(row)
        except OperationFailed:
            compute.drop(model_id)
            raise
        except sqlite3.Error as error:
            compute.drop(model_id)
            raise OperationFailed(f"model {model_id} cannot be kept: {error}", "server") from error
        if source is not None:
            return wire.LoadWeightsResult(source[0], model_id)
        return wire.CreateModelResult(model_id)

    future = wire.UntypedFuture(engine.futures.open(model.owner), model_id)
    engine.models.add(model)
    session.models[number] = Created(digest, future)
    engine.executor.put(Job(future.request_id, make, model_id, "create_model"))
    log.info("model asked for", model_id=model_id, base_model=base.name, rank=lora.rank)
    return future
