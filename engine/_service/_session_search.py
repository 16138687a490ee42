"""Which sessions a search finds. Pure, but for the rows it is given."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from tinkex.engine._base._errors import Refusal
from tinkex.engine._store._records import SessionRow, timestamp
from tinkex.protocol import wire

if TYPE_CHECKING:
    from tinkex.engine._service._engine import Engine

MAX_LIMIT: Final = 200
_END: Final = 1e18
"""After every session."""


def search(engine: "Engine", body: wire.SearchSessionsRequest, owner: str) -> wire.SearchSessionsReply:
    """Return one page of an owner's sessions, newest first. Blocking.

    Raises:
        Refusal: 400.
    """
    if not 1 <= body.limit <= MAX_LIMIT:
        raise Refusal(400, f"limit must be 1 to {MAX_LIMIT}, not {body.limit}")
    created, session_id = _END, ""
    if body.cursor is not None:
        created, session_id = _seconds(body.cursor.last_created_at), body.cursor.last_session_id
    rows = engine.store.sessions_before(owner, created, session_id)
    found = [row for row in rows if matches(body, row)]
    page = found[: body.limit]
    more = len(found) > len(page)
    cursor = wire.SessionCursor(timestamp(page[-1].created), page[-1].session_id) if more else None
    return wire.SearchSessionsReply([_found(engine, row) for row in page], cursor)


def matches(body: wire.SearchSessionsRequest, row: SessionRow) -> bool:
    """Whether a session is one that is searched."""
    if body.owner.type == "user" and row.owner not in body.owner.owner_urns:
        return False
    if body.session_id is not None and body.session_id != row.session_id:
        return False
    if body.project_ids and row.project_id not in body.project_ids:
        return False
    if body.display_name is not None and body.display_name.lower() not in (row.display_name or "").lower():
        return False
    if any(row.user_metadata.get(name) != value for name, value in body.user_metadata.items()):
        return False
    return not body.statuses or any(_has_status(wanted, status_of(row)) for wanted in body.statuses)


def status_of(row: SessionRow) -> wire.SessionStatus:
    """Return where a session stands, in the wire's words."""
    if row.state == "active":
        return wire.SessionStatus("active")
    if row.state == "finished":
        return wire.SessionStatus("client_finished", wire.FinishReason(row.reason or "success"), row.detail)
    why = "no heartbeat came" if row.state == "expired" else "the server stopped"
    return wire.SessionStatus("cancelled", detail=why)


def _has_status(wanted: wire.SessionStatus, status: wire.SessionStatus) -> bool:
    if wanted.type != status.type:
        return False
    return not wanted.reasons or (status.reason is not None and status.reason.type in wanted.reasons)


def _found(engine: "Engine", row: SessionRow) -> wire.FoundSession:
    count, size = engine.store.checkpoints.count_of_session(row.session_id, engine.wall())
    return wire.FoundSession(
        session_id=row.session_id,
        created_at=timestamp(row.created),
        owner=row.owner,
        checkpoints_count=count,
        project_id=row.project_id,
        status=status_of(row),
        checkpoint_storage_bytes=size,
        display_name=row.display_name,
        user_metadata=row.user_metadata,
    )


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise Refusal(400, f"cursor.last_created_at is no RFC 3339 time: {text[:40]!r}") from error
