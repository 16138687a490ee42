"""Copies of checkpoints: into a project, or as a model of a session."""

import asyncio
import hashlib
import secrets
import sqlite3
from typing import TYPE_CHECKING

from tinkex.engine._base._errors import OperationFailed, Refusal
from tinkex.engine._service import _shelf
from tinkex.engine._service._lifecycle import active_session
from tinkex.engine._service._sessions import Created
from tinkex.engine._service._validation import MAX_SEQ_ID, check_name, check_ttl
from tinkex.engine._store._records import CheckpointRow, ModelRow, SessionRow
from tinkex.protocol import TinkerPath, wire

if TYPE_CHECKING:
    from tinkex.engine._service._engine import Engine


async def copy(engine: "Engine", body: wire.CopyWeightsRequest, owner: str, key: str | None) -> str:
    """Copy a checkpoint; return the path of the copy. A repeat under the same idempotency key finds the same copy.

    Raises:
        Refusal: 400 for a destination that cannot be, 404, 410, 425; 503 where the disk refuses it.
    """
    engine.check_open()
    check_ttl(body.ttl_seconds)
    source = await _shelf.find(engine, body.source_path, owner, token=body.weights_access_token, kinds=_shelf.ALL_KINDS)
    if isinstance(source, Refusal):
        raise source
    session_id, number = await _destination(engine, body, owner, key)
    run_id = f"{session_id}:train:{number}"
    path = str(TinkerPath(run_id, source.kind, TinkerPath.parse(source.path).name))
    there = await asyncio.to_thread(engine.store.checkpoints.get, path, engine.wall())
    if there is not None and there.digest == _mark(source):
        return path
    if path in engine.saving:
        raise Refusal(425, f"checkpoint {path} is still being written; try again")
    session = engine.sessions.find(session_id)
    numbers = {} if session is None else session.models
    if number in numbers:
        raise Refusal(400, f"model_seq_id {number} of session {session_id} was used before; take a new number")
    numbers[number] = Created(b"copy", wire.UntypedFuture(""))
    engine.saving[path] = 1
    try:
        await asyncio.to_thread(_write, engine, source, owner, run_id, path, body)
    except BaseException:
        del numbers[number]
        raise
    finally:
        engine.save_ended(path)
    return path


async def _destination(engine: "Engine", body: wire.CopyWeightsRequest, owner: str, key: str | None) -> tuple[str, int]:
    """Return the session and the number under which the copy's run goes."""
    if (body.destination_project_id is None) == (body.session_id is None):
        raise Refusal(400, "copy_weights needs destination_project_id, or session_id and model_seq_id")
    if body.session_id is not None:
        if body.model_seq_id is None or not 0 <= body.model_seq_id <= MAX_SEQ_ID:
            raise Refusal(400, f"model_seq_id must be 0 to {MAX_SEQ_ID}, not {body.model_seq_id}")
        await active_session(engine, body.session_id, owner)
        return body.session_id, body.model_seq_id
    assert body.destination_project_id is not None
    check_name("destination_project_id", body.destination_project_id)
    named = secrets.token_hex(8)
    if key:
        named = hashlib.blake2b(f"{owner}\0{key}\0{body.source_path}".encode(), digest_size=8).hexdigest()
    return f"sess-{named}", 0


def _write(
    engine: "Engine", source: CheckpointRow, owner: str, run_id: str, path: str, body: wire.CopyWeightsRequest
) -> None:
    """Write the copy's files, its run and its row. Blocking."""
    from tinkex.engine._compute._checkpoints import copy_checkpoint  # noqa: PLC0415 - torch, which is loaded by then

    now = engine.wall()
    try:
        folder, size = copy_checkpoint(engine.root, source.folder, path)
    except (OSError, OperationFailed) as error:
        raise Refusal(503, f"{source.path} was not copied: {error}") from error
    try:
        if body.destination_project_id is not None:
            session_id = run_id.partition(":")[0]
            session = SessionRow(session_id, owner, now, [], {}, project_id=body.destination_project_id)
            engine.store.put_session(session.ended("finished", "success", f"holds a copy of {source.path}"))
        engine.store.put_model(
            ModelRow(
                model_id=run_id,
                session_id=run_id.partition(":")[0],
                owner=owner,
                base_model=source.base_model,
                lora=source.lora,
                created=now,
                last_request=now,
                state="unloaded",
            )
        )
        engine.store.checkpoints.put(
            CheckpointRow(
                path=path,
                run_id=run_id,
                kind=source.kind,
                owner=owner,
                base_model=source.base_model,
                lora=source.lora,
                has_optimizer=source.has_optimizer,
                user_metadata=source.user_metadata,
                seq_id=0,
                digest=_mark(source),
                request_id="",
            ).placed(folder.name, size, now, body.ttl_seconds)
        )
    except sqlite3.Error as error:
        engine.root.discard(folder)
        raise Refusal(503, f"{source.path} was not copied: the database says: {error}") from error


def _mark(source: CheckpointRow) -> str:
    """Return what tells a copy of a checkpoint from anything else."""
    return f"copy of {source.path}"
