"""What the run store knows of single checkpoints: pins, renewals, and those that are being deleted."""

import sqlite3
from typing import Final

from tinkex.actors._runs._names import position_of
from tinkex.actors._runs._table import Table, holds, require_run
from tinkex.protocol import TinkexError

_ROW: Final = "INSERT OR IGNORE INTO checkpoints (run, manifest) VALUES (?, ?)"
_RETIRED: Final = "SELECT manifest, path FROM checkpoints WHERE run = ? AND retired IS NOT NULL AND deleted IS NULL"


class Shelf(Table):
    """The table of checkpoints.

    A delete has two phases: it is written down, and only then done. One whose process was killed in between is found by
    the next one, and nobody restores from what is written down here.
    """

    def pin(self, name: str, manifest: str, pinned: bool) -> None:
        """Keep a checkpoint, whatever the policy says, or keep it no longer.

        Raises:
            TinkexError: kind ``conflict``: it is being deleted, or was; ``validation``: there is no such run, or no
                manifest can be named so.
        """
        position_of(manifest)
        with self._database.transaction() as change:
            require_run(change, name)
            if pinned and is_retired(change, name, manifest):
                raise being_deleted(name, manifest)
            change.execute(_ROW, (name, manifest))
            query = "UPDATE checkpoints SET pinned = ? WHERE run = ? AND manifest = ?"
            change.execute(query, (int(pinned), name, manifest))

    def pins(self, name: str) -> set[str]:
        """Return the manifests of a run that are pinned."""
        query = "SELECT manifest FROM checkpoints WHERE run = ? AND pinned"
        return {manifest for (manifest,) in self._database.rows(query, name)}

    def retire(self, name: str, epoch: int, manifest: str, path: str) -> bool:
        """Write down that a checkpoint is being deleted, and say whether it may be.

        False: ``epoch`` holds the run no longer, or the run goes on from this checkpoint, or is restoring it, or it is
        pinned. Nothing may be deleted then. True again for one that was retired before.
        """
        position_of(manifest)
        query = """
            SELECT 1 FROM runs LEFT JOIN checkpoints ON run = name AND manifest = ?
            WHERE name = ? AND epoch = ? AND ? IS NOT latest AND ? IS NOT restoring AND NOT coalesce(pinned, 0)
        """
        with self._database.transaction() as change:
            if change.execute(query, (manifest, name, epoch, manifest, manifest)).fetchone() is None:
                return False
            change.execute(_ROW, (name, manifest))
            query = "UPDATE checkpoints SET path = ?, retired = ? WHERE run = ? AND manifest = ? AND retired IS NULL"
            change.execute(query, (path, self._now(), name, manifest))
            return True

    def retired(self, name: str) -> dict[str, str]:
        """Return the manifests that are being deleted, and the paths of their checkpoints."""
        return dict(self._database.rows(_RETIRED, name))

    def deleted(self, name: str, manifest: str) -> None:
        """Write down that a retired checkpoint is no more, on the server and in the run's folder."""
        query = """
            UPDATE checkpoints SET deleted = ?
            WHERE run = ? AND manifest = ? AND retired IS NOT NULL AND deleted IS NULL
        """
        with self._database.transaction() as change:
            change.execute(query, (self._now(), name, manifest))

    def renew(self, name: str, epoch: int, manifest: str, expires: float | None) -> bool:
        """Write down when the server deletes a renewed checkpoint; False: ``epoch`` holds the run no longer.

        Args:
            name: of the run.
            epoch: that renewed it.
            manifest: of the checkpoint.
            expires: epoch seconds; None is never.
        """
        position_of(manifest)
        with self._database.transaction() as change:
            if not holds(change, name, epoch):
                return False
            change.execute(_ROW, (name, manifest))
            query = "UPDATE checkpoints SET renewed = ?, expires = ? WHERE run = ? AND manifest = ?"
            change.execute(query, (self._now(), expires, name, manifest))
            return True

    def expiries(self, name: str) -> dict[str, float | None]:
        """Return when the server deletes the checkpoints that were renewed; their manifests tell the old time."""
        query = "SELECT manifest, expires FROM checkpoints WHERE run = ? AND renewed IS NOT NULL"
        return dict(self._database.rows(query, name))


def retired_of(change: sqlite3.Connection, name: str) -> dict[str, str]:
    """Return what ``Shelf.retired`` does, within a transaction."""
    return dict(change.execute(_RETIRED, (name,)).fetchall())


def is_retired(change: sqlite3.Connection, name: str, manifest: str) -> bool:
    """Whether a checkpoint is being deleted, or was."""
    query = "SELECT 1 FROM checkpoints WHERE run = ? AND manifest = ? AND retired IS NOT NULL"
    return change.execute(query, (name, manifest)).fetchone() is not None


def being_deleted(name: str, manifest: str) -> TinkexError:
    """Build the error of a checkpoint that is asked for while it is being deleted, or after that."""
    return TinkexError(
        f"the checkpoint {manifest} of run {name!r} is being deleted, or was: choose another one",
        kind="conflict",
        category="user",
        data={"run": name, "manifest": manifest},
    )
