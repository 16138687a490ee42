"""The checkpoints of one root, as rows: each is there only while its folder is complete."""

from typing import Any, Final

import msgspec

from tinkex.engine._store._database import Database
from tinkex.engine._store._records import CheckpointRow

_CHECKPOINTS: Final = "SELECT expires, public, body FROM checkpoints"
_ALIVE: Final = "(expires IS NULL OR expires > ?)"


class CheckpointTable:
    """Checkpoints by their paths. Every write is on disk when its method returns. Thread-safe; blocking.

    ``now`` is wall-clock time in seconds; a checkpoint that has expired by then is not there.
    """

    def __init__(self, database: Database) -> None:
        self._database: Final = database

    def put(self, row: CheckpointRow) -> str | None:
        """Write a checkpoint in place of the one of the same path; return the folder of the replaced one."""
        values = (row.path, row.run_id, row.kind, row.owner, row.folder, row.created, row.expires, row.seq_id)
        body = msgspec.json.encode(row)
        with self._database.transaction() as change:
            old = change.execute("SELECT folder FROM checkpoints WHERE path = ?", (row.path,)).fetchone()
            change.execute(
                "INSERT OR REPLACE INTO checkpoints VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, row.request_id, body, row.public),
            )
        return None if old is None else old[0]

    def get(self, path: str, now: float) -> CheckpointRow | None:
        """Return a checkpoint."""
        return self._one(f"path = ? AND {_ALIVE}", path, now)

    def of_request(self, request_id: str) -> CheckpointRow | None:
        """Return the checkpoint that a request made."""
        return self._one("request_id = ?", request_id)

    def of_number(self, run_id: str, seq_id: int) -> CheckpointRow | None:
        """Return the checkpoint that a model's request of that number made."""
        return self._one("run_id = ? AND seq_id = ?", run_id, seq_id)

    def last(self, run_id: str, kind: str, now: float) -> CheckpointRow | None:
        """Return a run's newest checkpoint of a kind."""
        condition = f"run_id = ? AND kind = ? AND {_ALIVE} ORDER BY created DESC, rowid DESC LIMIT 1"
        return self._one(condition, run_id, kind, now)

    def of_run(self, run_id: str, now: float) -> list[CheckpointRow]:
        """Return a run's checkpoints, newest first."""
        query = f"{_CHECKPOINTS} WHERE run_id = ? AND {_ALIVE} ORDER BY created DESC, rowid DESC"
        return [_checkpoint(row) for row in self._database.rows(query, run_id, now)]

    def page(self, owner: str, limit: int, offset: int, now: float) -> tuple[list[CheckpointRow], int]:
        """Return one page of an owner's checkpoints, newest first, and how many there are."""
        condition = f"owner = ? AND {_ALIVE}"
        query = f"{_CHECKPOINTS} WHERE {condition} ORDER BY created DESC, rowid DESC LIMIT ? OFFSET ?"
        total = self._database.rows(f"SELECT count(*) FROM checkpoints WHERE {condition}", owner, now)[0][0]  # noqa: S608 - constants
        return [_checkpoint(row) for row in self._database.rows(query, owner, now, limit, offset)], total

    def count_of_session(self, session_id: str, now: float) -> tuple[int, int]:
        """Return how many checkpoints the models of a session have, and their bytes."""
        query = f"""SELECT count(*), coalesce(sum(json_extract(CAST(body AS TEXT), '$.size_bytes')), 0) FROM checkpoints
            WHERE run_id IN (SELECT model_id FROM models WHERE session_id = ?) AND {_ALIVE}"""  # noqa: S608 - constants
        count, size = self._database.rows(query, session_id, now)[0]
        return count, size

    def set_expiry(self, path: str, expires: float | None, now: float) -> bool:
        """Change when a checkpoint expires, None for never; say whether it was there."""
        with self._database.transaction() as change:
            query = f"UPDATE checkpoints SET expires = ? WHERE path = ? AND {_ALIVE}"  # noqa: S608 - constants
            return change.execute(query, (expires, path, now)).rowcount > 0

    def set_public(self, path: str, public: bool, now: float) -> bool:
        """Let everybody read a checkpoint, or its owner alone; say whether that changed anything."""
        with self._database.transaction() as change:
            query = f"UPDATE checkpoints SET public = ? WHERE path = ? AND public != ? AND {_ALIVE}"  # noqa: S608 - constants
            return change.execute(query, (public, path, public, now)).rowcount > 0

    def delete(self, path: str, now: float) -> str | None:
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

    def _one(self, condition: str, *values: Any) -> CheckpointRow | None:
        rows = self._database.rows(f"{_CHECKPOINTS} WHERE {condition}", *values)
        return _checkpoint(rows[0]) if rows else None


def _checkpoint(row: Any) -> CheckpointRow:
    found = msgspec.json.decode(row[2], type=CheckpointRow)
    return msgspec.structs.replace(found, expires=row[0], public=bool(row[1]))
