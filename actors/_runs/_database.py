"""One SQLite file that many processes share, safe against loss of power after each commit."""

import contextlib
import os
import sqlite3
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from tinkex.actors._runs._durable import make_folder, sync_folder
from tinkex.actors._runs._schema import APPLICATION_ID, MIGRATIONS, VERSION
from tinkex.actors._runtime._fork import watch_forks
from tinkex.protocol import TinkexError

BUSY_SECONDS: Final = 30.0
"""How long a transaction waits for those of other processes."""

_LOCKED: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_NOT_OURS: Final = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_PRIMARY: Final = 0xFF
"""The part of an SQLite code that an extended code refines."""

_left_to_the_parent: Final[list[sqlite3.Connection]] = []
"""Connections of the process that this one was forked from: a child must not even close them."""


class Database:
    """A connection that the threads of a process share, one transaction at a time. Blocking.

    Args:
        file: of the database, which must be there.
        busy_seconds: how long to wait for other processes.

    Raises:
        TinkexError: kind ``validation``: it is no run store, a newer one, or cannot be opened; ``conflict``: another
            process holds it locked.
    """

    def __init__(self, file: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self.file: Final = file
        self._busy_seconds: Final = busy_seconds
        self._lock = threading.RLock()
        self._closed = False
        self._connection: sqlite3.Connection | None = None
        with self._errors():
            self._connection = self._connect()
        watch_forks(self)

    @contextmanager
    def transaction(self) -> Generator[sqlite3.Connection]:
        """Give a connection whose changes are all kept, and on the disk when this ends, or none.

        Raises:
            TinkexError: kind ``conflict``: another process holds the store locked; ``run_failed``: the disk refuses.
        """
        with self._lock, self._errors():
            connection = self._get()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return all rows of a query.

        Raises:
            TinkexError: as for ``transaction``.
        """
        with self._lock, self._errors():
            return self._get().execute(query, values).fetchall()

    def close(self) -> None:
        """Close the file; nothing can be asked after that."""
        with self._lock:
            self._closed = True
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def reset_after_fork(self) -> None:
        """Leave the connection to the parent process, and open another one when it is needed."""
        self._lock = threading.RLock()
        connection, self._connection = self._connection, None
        if connection is not None:
            _left_to_the_parent.append(connection)

    def _get(self) -> sqlite3.Connection:
        if self._closed:
            raise ValueError(f"the run store {self.file} is closed")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self.file.absolute()))}?mode=rw",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA synchronous=FULL")
            self._check(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        if _pragma(connection, "application_id") != APPLICATION_ID:
            raise self._refuse("is the file of another program")
        version = _pragma(connection, "user_version")
        if not 0 < version <= VERSION:
            raise self._refuse(
                f"is of version {version}, and this Tinkex reads up to {VERSION}: use a newer one, or another root"
            )
        if version < VERSION:
            _migrate(connection)

    @contextmanager
    def _errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._describe(error) from error

    def _describe(self, error: sqlite3.Error) -> TinkexError:
        code: int = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        data = {"file": str(self.file)}
        if code in _LOCKED:
            return TinkexError(
                f"another process has held the run store {self.file} locked for {self._busy_seconds:g} s; if one that "
                "uses it was stopped, continue or kill it",
                kind="conflict",
                category="unknown",
                data=data,
            )
        if code in _NOT_OURS:
            return self._refuse("is no database, or damaged")
        if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH}:
            return self._refuse("cannot be opened for writing: look at its permissions, and at those of its folder")
        return TinkexError(
            f"the run store {self.file} failed: {error}", kind="run_failed", category="unknown", data=data
        )

    def _refuse(self, why: str) -> TinkexError:
        return refused(self.file, why)


def create_database(file: Path) -> None:
    """Make an empty run store at ``file`` where there is none; whole, whoever else makes one at the same time.

    Raises:
        TinkexError: kind ``validation``: it cannot be made there.
    """
    draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    try:
        make_folder(file.parent)
        try:
            _make(draft)
            with contextlib.suppress(FileExistsError):
                os.link(draft, file)
            sync_folder(file.parent)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise refused(file, f"cannot be made: {error.strerror or type(error).__name__}") from error
    except (sqlite3.Error, ValueError) as error:  # the latter of a path that holds a NUL
        raise refused(file, f"cannot be made: {error}") from error


def refused(file: Path, why: str) -> TinkexError:
    """Build the error of a run store that cannot be used."""
    return TinkexError(f"the run store {file} {why}", kind="validation", category="user", data={"file": str(file)})


def _make(file: Path) -> None:
    connection = sqlite3.connect(file, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        _migrate(connection)
    finally:
        connection.close()


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in MIGRATIONS[_pragma(connection, "user_version") :]:  # asked again: another process may have done it
            for statement in filter(str.strip, step.split(";")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
