"""What outlives the process: sessions, models and checkpoints."""

from pathlib import Path
from typing import Any, Final

import msgspec

from tinkex.engine._database import Database
from tinkex.engine._records import CheckpointRow, ModelRow, ModelState, SessionRow

_SESSIONS: Final = "SELECT state, body FROM sessions"
_MODELS: Final = "SELECT state, last_request, body FROM models"
_CHECKPOINTS: Final = "SELECT expires, body FROM checkpoints"
_ALIVE: Final = "(expires IS NULL OR expires > ?)"


class Store:
    """Rows of one root. Every write is on disk when its method returns. Thread-safe; blocking.

    ``now`` is wall-clock time in seconds; a checkpoint that has expired by then is not there.
    """

    def __init__(self, file: Path) -> None:
        self._database = Database(file)

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

    def session(self, session_id: str) -> SessionRow | None:
        """Return a session."""
        return next(map(_session, self._database.rows(f"{_SESSIONS} WHERE session_id = ?", session_id)), None)

    def sessions(self, limit: int, offset: int) -> list[SessionRow]:
        """Return sessions, newest first."""
        query = f"{_SESSIONS} ORDER BY created DESC, rowid DESC LIMIT ? OFFSET ?"
        return [_session(row) for row in self._database.rows(query, limit, offset)]

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

    def models(self, limit: int, offset: int) -> tuple[list[ModelRow], int]:
        """Return one page of the models, newest first, and how many there are."""
        query = f"{_MODELS} ORDER BY created DESC, rowid DESC LIMIT ? OFFSET ?"
        total = self._database.rows("SELECT count(*) FROM models")[0][0]
        return [_model(row) for row in self._database.rows(query, limit, offset)], total

    def models_of(self, session_id: str) -> list[str]:
        """Return the ids of a session's models, oldest first."""
        query = "SELECT model_id FROM models WHERE session_id = ? ORDER BY created, rowid"
        return [row[0] for row in self._database.rows(query, session_id)]

    # Checkpoints

    def put_checkpoint(self, row: CheckpointRow) -> str | None:
        """Write a checkpoint in place of the one of the same path; return the folder of the replaced one."""
        values = (row.path, row.run_id, row.kind, row.owner, row.folder, row.created, row.expires, row.seq_id)
        body = msgspec.json.encode(row)
        with self._database.transaction() as change:
            old = change.execute("SELECT folder FROM checkpoints WHERE path = ?", (row.path,)).fetchone()
            change.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, row.request_id, body),
            )
        return None if old is None else old[0]

    def checkpoint(self, path: str, now: float) -> CheckpointRow | None:
        """Return a checkpoint."""
        return self._one_checkpoint(f"path = ? AND {_ALIVE}", path, now)

    def checkpoint_of_request(self, request_id: str) -> CheckpointRow | None:
        """Return the checkpoint that a request made."""
        return self._one_checkpoint("request_id = ?", request_id)

    def checkpoint_of_number(self, run_id: str, seq_id: int) -> CheckpointRow | None:
        """Return the checkpoint that a model's request of that number made."""
        return self._one_checkpoint("run_id = ? AND seq_id = ?", run_id, seq_id)

    def last_checkpoint(self, run_id: str, kind: str, now: float) -> CheckpointRow | None:
        """Return a run's newest checkpoint of a kind."""
        condition = f"run_id = ? AND kind = ? AND {_ALIVE} ORDER BY created DESC, rowid DESC LIMIT 1"
        return self._one_checkpoint(condition, run_id, kind, now)

    def checkpoints_of(self, run_id: str, now: float) -> list[CheckpointRow]:
        """Return a run's checkpoints, newest first."""
        query = f"{_CHECKPOINTS} WHERE run_id = ? AND {_ALIVE} ORDER BY created DESC, rowid DESC"
        return [_checkpoint(row) for row in self._database.rows(query, run_id, now)]

    def checkpoints(self, limit: int, offset: int, now: float) -> tuple[list[CheckpointRow], int]:
        """Return one page of all checkpoints, newest first, and how many there are."""
        query = f"{_CHECKPOINTS} WHERE {_ALIVE} ORDER BY created DESC, rowid DESC LIMIT ? OFFSET ?"
        total = self._database.rows(f"SELECT count(*) FROM checkpoints WHERE {_ALIVE}", now)[0][0]  # noqa: S608 - constants
        return [_checkpoint(row) for row in self._database.rows(query, now, limit, offset)], total

    def set_expiry(self, path: str, expires: float | None, now: float) -> bool:
        """Change when a checkpoint expires, None for never; say whether it was there."""
        with self._database.transaction() as change:
            query = f"UPDATE checkpoints SET expires = ? WHERE path = ? AND {_ALIVE}"  # noqa: S608 - constants
            return change.execute(query, (expires, path, now)).rowcount > 0

    def delete_checkpoint(self, path: str, now: float) -> str | None:
        """Delete a checkpoint; return its folder, or None where it was not there."""
        with self._database.transaction() as change:
            query = f"DELETE FROM checkpoints WHERE path = ? AND {_ALIVE} RETURNING folder"  # noqa: S608 - constants
            deleted = change.execute(query, (path, now)).fetchone()
        return None if deleted is None else deleted[0]

    def delete_expired(self, now: float) -> list[str]:
        """Delete all checkpoints that have expired; return their folders."""
        if not self._database.rows("SELECT 1 FROM checkpoints WHERE expires <= ? LIMIT 1", now):
            return []
        with self._database.transaction() as change:
            deleted = change.execute("DELETE FROM checkpoints WHERE expires <= ? RETURNING folder", (now,)).fetchall()
        return [row[0] for row in deleted]

    def folders(self) -> set[str]:
        """Return the folders of all checkpoints."""
        return {row[0] for row in self._database.rows("SELECT folder FROM checkpoints")}

    def keep_only(self, folders: set[str]) -> list[str]:
        """Delete the checkpoints whose folder is not among these; return their paths."""
        rows = self._database.rows("SELECT path, folder FROM checkpoints")
        lost = [path for path, folder in rows if folder not in folders]
        with self._database.transaction() as change:
            change.executemany("DELETE FROM checkpoints WHERE path = ?", [(path,) for path in lost])
        return lost

    def _one_checkpoint(self, condition: str, *values: Any) -> CheckpointRow | None:
        rows = self._database.rows(f"{_CHECKPOINTS} WHERE {condition}", *values)
        return _checkpoint(rows[0]) if rows else None


def _session(row: Any) -> SessionRow:
    return msgspec.structs.replace(msgspec.json.decode(row[1], type=SessionRow), state=row[0])


def _model(row: Any) -> ModelRow:
    found = msgspec.json.decode(row[2], type=ModelRow)
    return msgspec.structs.replace(found, state=row[0], last_request=row[1])


def _checkpoint(row: Any) -> CheckpointRow:
    return msgspec.structs.replace(msgspec.json.decode(row[1], type=CheckpointRow), expires=row[0])
