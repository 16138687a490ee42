"""What the parts of the run store have in common."""

import sqlite3
from collections.abc import Callable
from typing import Final

from tinkex.actors._runs._database import Database
from tinkex.protocol import TinkexError, validation
from tinkex.protocol._checks import shown


class Table:
    """A part of the run store.

    Args:
        database: that all parts share.
        now: epoch seconds.
    """

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database: Final = database
        self._now: Final = now


def require_run(change: sqlite3.Connection, name: str) -> None:
    """Refuse a run that the store does not have.

    Raises:
        TinkexError: kind ``validation``.
    """
    if change.execute("SELECT 1 FROM runs WHERE name = ?", (name,)).fetchone() is None:
        raise no_such_run(name)


def holds(change: sqlite3.Connection, name: str, epoch: int) -> bool:
    """Say whether ``epoch`` holds the run: nobody has taken it since."""
    return change.execute("SELECT 1 FROM runs WHERE name = ? AND epoch = ?", (name, epoch)).fetchone() is not None


def no_such_run(name: str) -> TinkexError:
    """Build the error of a run that the store does not have."""
    return validation(f"there is no run {shown(name)} in this run store; list its runs to see their names", field="run")
