"""What outlives the process: sessions, models, samplers and checkpoints."""

from pathlib import Path
from typing import Any, Final

import msgspec

from tinkex.engine._store._checkpoint_table import CheckpointTable
from tinkex.engine._store._database import Database
from tinkex.engine._store._records import ModelRow, ModelState, SamplerRow, SessionRow

_SESSIONS: Final = "SELECT state, body FROM sessions"
_IN_PROJECT: Final = (
    " AND session_id IN (SELECT session_id FROM sessions WHERE json_extract(CAST(body AS TEXT), '$.project_id') = ?)"
)
_MODELS: Final = "SELECT state, last_request, body FROM models"


class Store:
    """Rows of one root. Every write is on disk when its method returns. Thread-safe; blocking."""

    def __init__(self, file: Path) -> None:
        self._database: Final = Database(file)
        self.checkpoints: Final = CheckpointTable(self._database)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def end_former_process(self) -> None:
        """Mark what lived in the memory of a process that is gone."""
        with self._database.transaction() as change:
            change.execute("UPDATE sessions SET state = 'lost' WHERE state = 'active'")
            change.execute("UPDATE models SET state = 'lost' WHERE state = 'live'")

    # Sessions

    def put_session(self, row: SessionRow) -> None:
        """Write a session, or what became of it."""
        values = (row.session_id, row.owner, row.created, row.state, msgspec.json.encode(row))
        with self._database.transaction() as change:
            change.execute("INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?)", values)

    def set_project(self, session_id: str, project_id: str) -> None:
        """Put a session into a project, and change nothing else of it."""
        with self._database.transaction() as change:
            (body,) = change.execute("SELECT body FROM sessions WHERE session_id = ?", (session_id,)).fetchone()
            row = msgspec.structs.replace(msgspec.json.decode(body, type=SessionRow), project_id=project_id)
            change.execute("UPDATE sessions SET body = ? WHERE session_id = ?", (msgspec.json.encode(row), session_id))

    def session(self, session_id: str) -> SessionRow | None:
        """Return a session."""
        return next(map(_session, self._database.rows(f"{_SESSIONS} WHERE session_id = ?", session_id)), None)

    def sessions(self, owner: str, limit: int, offset: int) -> list[SessionRow]:
        """Return an owner's sessions, newest first."""
        query = f"{_SESSIONS} WHERE owner = ? ORDER BY created DESC, rowid DESC LIMIT ? OFFSET ?"
        return [_session(row) for row in self._database.rows(query, owner, limit, offset)]

    def sessions_before(self, owner: str, created: float, session_id: str) -> list[SessionRow]:
        """Return an owner's sessions that stand behind that one, newest first."""
        query = f"""{_SESSIONS} WHERE owner = ? AND (created, session_id) < (?, ?)
            ORDER BY created DESC, session_id DESC"""
        return [_session(row) for row in self._database.rows(query, owner, created, session_id)]

    # Models

    def put_model(self, row: ModelRow) -> None:
        """Write a model."""
        values = (row.model_id, row.session_id, row.owner, row.created, row.last_request, row.state)
        with self._database.transaction() as change:
            change.execute(
                "INSERT OR REPLACE INTO models VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, msgspec.json.encode(row))
            )

    def touch_model(self, model_id: str, state: ModelState, last_request: float) -> None:
        """Write what became of a model."""
        with self._database.transaction() as change:
            change.execute(
                "UPDATE models SET state = ?, last_request = ? WHERE model_id = ?", (state, last_request, model_id)
            )

    def model(self, model_id: str) -> ModelRow | None:
        """Return a model."""
        return next(map(_model, self._database.rows(f"{_MODELS} WHERE model_id = ?", model_id)), None)

    def models(self, owner: str, project_id: str | None, limit: int, offset: int) -> tuple[list[ModelRow], int]:
        """Return one page of an owner's models, newest first, and how many there are; of one project, or of all."""
        condition, values = "owner = ?", [owner]
        if project_id is not None:
            condition += _IN_PROJECT
            values.append(project_id)
        query = f"{_MODELS} WHERE {condition} ORDER BY created DESC, rowid DESC LIMIT ? OFFSET ?"
        total = self._database.rows(f"SELECT count(*) FROM models WHERE {condition}", *values)[0][0]  # noqa: S608 - constants
        return [_model(row) for row in self._database.rows(query, *values, limit, offset)], total

    def models_of(self, session_id: str) -> list[str]:
        """Return the ids of a session's models, oldest first."""
        query = "SELECT model_id FROM models WHERE session_id = ? ORDER BY created, rowid"
        return [row[0] for row in self._database.rows(query, session_id)]

    # Samplers

    def put_sampler(self, row: SamplerRow) -> None:
        """Write a sampler."""
        with self._database.transaction() as change:
            change.execute(
                "INSERT OR REPLACE INTO samplers VALUES (?, ?, ?)",
                (row.sampler_id, row.session_id, msgspec.json.encode(row)),
            )

    def sampler(self, sampler_id: str) -> SamplerRow | None:
        """Return a sampler."""
        rows = self._database.rows("SELECT body FROM samplers WHERE sampler_id = ?", sampler_id)
        return msgspec.json.decode(rows[0][0], type=SamplerRow) if rows else None

    def samplers_of(self, session_id: str) -> list[str]:
        """Return the ids of a session's samplers, oldest first."""
        query = "SELECT sampler_id FROM samplers WHERE session_id = ? ORDER BY rowid"
        return [row[0] for row in self._database.rows(query, session_id)]


def _session(row: Any) -> SessionRow:
    return msgspec.structs.replace(msgspec.json.decode(row[1], type=SessionRow), state=row[0])


def _model(row: Any) -> ModelRow:
    found = msgspec.json.decode(row[2], type=ModelRow)
    return msgspec.structs.replace(found, state=row[0], last_request=row[1])
