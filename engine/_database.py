"""One SQLite file, safe against loss of power after each commit."""

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tinkex.engine._errors import EngineError

VERSION: Final = 1

SCHEMA: Final = """
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


class Database:
    """A connection that threads share, one transaction at a time.

    Raises:
        EngineError: where the file cannot be opened, or is of another version.
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
        if version == 0:
            self._connection.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
        elif version != VERSION:
            raise EngineError(f"the database {file} is of version {version}; this engine reads version {VERSION}")

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
