"""One SQLite file, safe against loss of power after each commit."""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tinkex.engine._base._errors import EngineError

_FIRST: Final = """
CREATE TABLE sessions (
  session_id TEXT PRIMARY KEY, owner TEXT NOT NULL, created REAL NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE TABLE models (
  model_id TEXT PRIMARY KEY, session_id TEXT NOT NULL, owner TEXT NOT NULL, created REAL NOT NULL,
  last_request REAL NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX models_by_session ON models (session_id);
CREATE TABLE checkpoints (
  path TEXT PRIMARY KEY, run_id TEXT NOT NULL, kind TEXT NOT NULL, owner TEXT NOT NULL, folder TEXT NOT NULL UNIQUE,
  created REAL NOT NULL, expires REAL, seq_id INTEGER NOT NULL, request_id TEXT NOT NULL, body BLOB NOT NULL
) STRICT;
CREATE INDEX checkpoints_by_run ON checkpoints (run_id, seq_id);
CREATE INDEX checkpoints_by_request ON checkpoints (request_id);
CREATE INDEX checkpoints_by_expiry ON checkpoints (expires) WHERE expires IS NOT NULL;
"""

_SECOND: Final = """
ALTER TABLE checkpoints ADD COLUMN public INTEGER NOT NULL DEFAULT 0;
CREATE TABLE samplers (sampler_id TEXT PRIMARY KEY, session_id TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE INDEX samplers_by_session ON samplers (session_id);
CREATE INDEX sessions_by_time ON sessions (owner, created);
"""

MIGRATIONS: Final = (_FIRST, _SECOND)
"""What makes each version of the schema from the one before. A version that was released is never edited."""

VERSION: Final = len(MIGRATIONS)


class Database:
    """A connection that threads share, one transaction at a time; a file of an older version is brought up to date.

    Raises:
        EngineError: where the file cannot be opened, or is of a newer version.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            self._prepare(file)
        except sqlite3.Error as error:
            raise EngineError(f"the database {file} cannot be opened: {error}") from error

    def _prepare(self, file: Path) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if not 0 <= version <= VERSION:
            raise EngineError(
                f"the database {file} is of version {version}; this engine reads up to version {VERSION}: use a newer "
                "one, or another --root"
            )
        if version < VERSION:
            steps = "".join(MIGRATIONS[version:])
            self._connection.executescript(f"BEGIN IMMEDIATE;{steps}PRAGMA user_version={VERSION};COMMIT;")

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Give a connection whose changes are all kept, or none."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return all rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
