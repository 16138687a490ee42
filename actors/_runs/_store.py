"""The run store: which runs there are, who may write to each, and what it goes on from."""

import sqlite3
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from tinkex.actors._leases._process import Process, this_process
from tinkex.actors._runs._database import Database, create_database, refused
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._inbox import Inbox, supersede_stops
from tinkex.actors._runs._lineage import descends
from tinkex.actors._runs._names import STORE_FILE, check_run_name, parse_position, position_of
from tinkex.actors._runs._plain import decode, encode
from tinkex.actors._runs._rows import UNCHANGED, EpochRow, RunRow, SessionRow, Taken, Unchanged
from tinkex.actors._runs._shelf import Shelf, being_deleted, is_retired, retired_of
from tinkex.actors._runs._table import holds, no_such_run, require_run
from tinkex.protocol import RunStatus, TinkexError, validation
from tinkex.protocol._checks import check_number, check_whole

_RUNS: Final = """
    SELECT name, epoch, latest, host, boot, pid, started, status, config, created, lr_scale, rollbacks, restoring
    FROM runs
"""


class RunStore(Inbox, Shelf):
    """An SQLite file in a folder on a local disk, from which any process sees and commands the runs there.

    A run belongs to the **epoch** that took it last. Everything that a trainer writes is compared with the epoch it
    holds, so that one which was taken over, and does not know it yet, changes nothing: what says False was not done.
    Every write is on the disk when its method returns. Blocking; from any thread, and from forked children.

    All methods raise ``TinkexError``: kind ``validation`` for what the caller must correct, ``conflict`` where another
    process holds the store locked, ``run_failed`` where the disk refuses.
    """

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        super().__init__(database, now)
        self.root: Final = database.file.parent

    @classmethod
    def open(cls, root: str | Path, create: bool = True, *, now: Callable[[], float] = time.time) -> "RunStore":
        """Open the run store of ``root``.

        Args:
            root: the folder of all runs.
            create: whether to make the folder and the store where they are not.
            now: epoch seconds.

        Raises:
            TinkexError: kind ``validation``: it is not there, cannot be made, is no run store, or a newer one.
        """
        file = Path(root) / STORE_FILE
        try:
            there = file.exists()
        except OSError as error:
            raise refused(file, f"cannot be reached: {error.strerror}") from error
        if not there and not create:
            raise refused(file, "is not there: name the folder that your runs were started in")
        if not there:
            create_database(file)
        return cls(Database(file), now)

    def close(self) -> None:
        """Close the file; to ask anything after that is a ``ValueError``."""
        self._database.close()

    # Runs

    def add(self, name: str, config: Mapping[str, Any]) -> None:
        """Write down a new run, which no trainer has taken yet.

        Args:
            name: 1 to 100 of A-Z a-z 0-9 . _ -, not beginning with a dot; it names a folder, so two names that differ
                in case only are one.
            config: whatever its trainer is to know: plain JSON values.

        Raises:
            TinkexError: kind ``conflict``: there is a run of that name; ``validation``: it cannot be named so, or the
                configuration is not plain JSON; ``resume_refused``: there are checkpoints of such a run, which this
                store does not know.
        """
        error = check_run_name(name)
        if error is not None:
            raise error
        text = encode(config, "config").decode()
        with self._database.transaction() as change:
            query = "SELECT name FROM runs WHERE name = ? COLLATE NOCASE"
            other = change.execute(query, (name,)).fetchone()
            if other is not None:
                raise TinkexError(
                    f"there is a run {other[0]!r} in {self.root} already: resume it, or choose another name",
                    kind="conflict",
                    category="user",
                    data={"run": other[0]},
                )
            folder = RunFolder(self.root, name)
            if folder.manifest_names():
                raise _store_lost(folder)
            query = "INSERT INTO runs (name, created, config) VALUES (?, ?, ?)"
            change.execute(query, (name, self._now(), text))

    def run(self, name: str) -> RunRow | None:
        """Return a run; None where there is none of that name."""
        return next(map(_run, self._database.rows(f"{_RUNS} WHERE name = ?", name)), None)

    def runs(self) -> list[RunRow]:
        """Return all runs, oldest first."""
        return [_run(row) for row in self._database.rows(f"{_RUNS} ORDER BY created, rowid")]

    def epochs(self, name: str) -> list[EpochRow]:
        """Return each takeover and rebuild of a run, oldest first."""
        query = "SELECT epoch, reason, began_from, at, host, pid FROM epochs WHERE run = ? ORDER BY epoch"
        return [EpochRow(*row) for row in self._database.rows(query, name)]

    def began(self, name: str) -> dict[int, str | None]:
        """Return from each epoch of a run the manifest that it began from; ``RunFolder.lineage`` asks for it."""
        return dict(self._database.rows("SELECT epoch, began_from FROM epochs WHERE run = ?", name))

    def configure(self, name: str, config: Mapping[str, Any]) -> None:
        """Write down another configuration, for whoever takes the run next.

        Raises:
            TinkexError: kind ``validation``: there is no such run, or the configuration is not plain JSON.
        """
        text = encode(config, "config").decode()
        with self._database.transaction() as change:
            require_run(change, name)
            change.execute("UPDATE runs SET config = ? WHERE name = ?", (text, name))

    # Who may write

    def take(
        self,
        name: str,
        *,
        reason: str,
        latest: str | Unchanged | None = UNCHANGED,
        lr_scale: float | None = None,
        rollbacks: int | None = None,
        held: int | None = None,
    ) -> Taken:
        """Begin a new epoch of a run, held by this process: from now on no other one writes.

        Stops that nobody obeyed are answered as superseded, unless the trainer itself begins anew (``held``).

        Args:
            name: of the run.
            reason: why, in words, for the record of the epochs.
            latest: an older manifest to go on from, in a roll back; None is the run's beginning.
            lr_scale: what the program's learning rates are multiplied by; None leaves it.
            rollbacks: how many there were; None leaves it.
            held: the epoch that the caller holds, where a trainer rolls back or rebuilds itself: so one that was taken
                over does not take its run back. None takes a run from whoever holds it.

        Raises:
            TinkexError: kind ``fenced``: ``held`` holds the run no longer; ``conflict``: ``latest`` is being deleted;
                ``validation``: there is no such run, or it does not descend from ``latest``.
        """
        error = None if lr_scale is None else check_number("lr_scale", lr_scale, above=0.0)
        error = error or (None if rollbacks is None else check_whole("rollbacks", rollbacks, 0))
        if error is not None:
            raise error
        me, at = this_process(), self._now()
        with self._database.transaction() as change:
            row = change.execute("SELECT epoch, latest FROM runs WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise no_such_run(name)
            epoch, from_here = row
            if held is not None and held != epoch:
                raise fenced(name, held, epoch)
            began = _began(change, name)
            if latest is not UNCHANGED:
                _check_rollback(change, name, from_here, latest, began)
                from_here = latest
            epoch += 1
            query = """
                UPDATE runs SET epoch = ?, latest = ?, restoring = NULL, lr_scale = coalesce(?, lr_scale),
                  rollbacks = coalesce(?, rollbacks), host = ?, boot = ?, pid = ?, started = ?
                WHERE name = ? RETURNING lr_scale, rollbacks
            """
            values = (epoch, from_here, lr_scale, rollbacks, me.host, me.boot, me.pid, me.started, name)
            ((scale, count),) = change.execute(query, values).fetchall()
            query = "INSERT INTO epochs VALUES (?, ?, ?, ?, ?, ?, ?)"
            change.execute(query, (name, epoch, _printable(reason), from_here, at, me.host, me.pid))
            if held is None:
                supersede_stops(change, name, at)
            query = (
                "SELECT session_id, model_id, epoch FROM sessions WHERE run = ? AND ended IS NULL ORDER BY at, rowid"
            )
            sessions = [SessionRow(*session) for session in change.execute(query, (name,))]
            retired = retired_of(change, name)
        return Taken(epoch, from_here, float(scale), count, sessions, {**began, epoch: from_here}, retired)

    def fall_back(self, name: str, epoch: int, manifest: str | None) -> bool:
        """Write down that ``epoch`` goes on from an older manifest than the one it took, which could not be restored.

        False: ``epoch`` holds the run no longer.

        Raises:
            TinkexError: kind ``conflict``: the manifest is being deleted, or ``epoch`` has committed one of its own
                (take the run anew, then); ``validation``: the run does not descend from it.
        """
        with self._database.transaction() as change:
            query = "SELECT latest FROM runs WHERE name = ? AND epoch = ?"
            row = change.execute(query, (name, epoch)).fetchone()
            if row is None:
                return False
            latest = None if row[0] is None else parse_position(row[0])
            if latest is not None and latest.epoch == epoch:
                raise TinkexError(
                    f"epoch {epoch} of run {name!r} has committed {row[0]}: to go back, take the run anew",
                    kind="conflict",
                    category="user",
                    data={"run": name, "manifest": manifest},
                )
            _check_rollback(change, name, row[0], manifest, _began(change, name))
            change.execute("UPDATE runs SET latest = ? WHERE name = ?", (manifest, name))
            query = "UPDATE epochs SET began_from = ? WHERE run = ? AND epoch = ?"
            change.execute(query, (manifest, name, epoch))
        return True

    def record_session(self, name: str, epoch: int, session_id: str, model_id: str) -> bool:
        """Write down a session and its model, before anything is trained in it; False: nothing may be.

        Whoever takes the run next finishes the sessions that are written down. So what a trainer sends that was taken
        over meets a finished session, and one that was taken over before this sends nothing.
        """
        query = """
            INSERT INTO sessions (run, session_id, epoch, model_id, at) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (run, session_id) DO UPDATE SET
              model_id = excluded.model_id, epoch = excluded.epoch, ended = NULL
        """
        with self._database.transaction() as change:
            if not holds(change, name, epoch):
                return False
            change.execute(query, (name, session_id, epoch, model_id, self._now()))
        return True

    def end_session(self, name: str, session_id: str) -> bool:
        """Write down that a session is over on the server; False: it was not written down as open."""
        query = "UPDATE sessions SET ended = ? WHERE run = ? AND session_id = ? AND ended IS NULL"
        with self._database.transaction() as change:
            return change.execute(query, (self._now(), name, session_id)).rowcount == 1

    # What a trainer writes

    def move_latest(self, name: str, epoch: int, manifest: str) -> bool:
        """Have the run go on from ``manifest``, which is on the disk; False: ``epoch`` holds the run no longer.

        It only moves forward: where a later one of this epoch is the latest, it stays.

        Raises:
            TinkexError: kind ``validation``: the manifest is not one of ``epoch``; ``conflict``: it is being deleted.
        """
        position = position_of(manifest)
        if position.epoch != epoch:
            raise validation(f"epoch {epoch} commits its own manifests, not {manifest}", field="manifest")
        with self._database.transaction() as change:
            query = "SELECT latest FROM runs WHERE name = ? AND epoch = ?"
            row = change.execute(query, (name, epoch)).fetchone()
            if row is None:
                return False
            if is_retired(change, name, manifest):
                raise being_deleted(name, manifest)
            latest = None if row[0] is None else parse_position(row[0])
            if latest is None or latest < position:
                change.execute("UPDATE runs SET latest = ? WHERE name = ?", (manifest, name))
        return True

    def report(self, name: str, epoch: int, status: RunStatus) -> bool:
        """Write down what the run is doing; False: ``epoch`` holds it no longer."""
        text = encode(msgspec.to_builtins(status), "status").decode()
        with self._database.transaction() as change:
            query = "UPDATE runs SET status = ? WHERE name = ? AND epoch = ?"
            return change.execute(query, (text, name, epoch)).rowcount == 1

    def set_restoring(self, name: str, epoch: int, manifest: str | None) -> bool:
        """Write down which manifest is being restored, so that it is not deleted; False: ``epoch`` holds it no longer.

        Raises:
            TinkexError: kind ``conflict``: it is being deleted already.
        """
        with self._database.transaction() as change:
            if not holds(change, name, epoch):
                return False
            if manifest is not None and is_retired(change, name, manifest):
                raise being_deleted(name, manifest)
            change.execute("UPDATE runs SET restoring = ? WHERE name = ?", (manifest, name))
        return True


def fenced(name: str, held: int, epoch: int) -> TinkexError:
    """Build the error of a trainer whose run was taken over."""
    return TinkexError(
        f"run {name!r} was taken over: this trainer held epoch {held}, and epoch {epoch} holds it now; it "
        "writes nothing more",
        kind="fenced",
        category="user",
        data={"run": name, "held": held, "epoch": epoch},
    )


def _store_lost(folder: RunFolder) -> TinkexError:
    return TinkexError(
        f"there are checkpoints of a run {folder.name!r} in {folder.manifests}, and the run store beside it does not "
        f"know that run: bring back the {STORE_FILE} that it was in, or choose another name to begin a new run",
        kind="resume_refused",
        category="user",
        data={"run": folder.name, "problem": "missing", "file": str(folder.manifests)},
    )


def _printable(text: str) -> str:
    """Return ``text`` as a line of a table takes it; an error's words may be anything."""
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _began(change: sqlite3.Connection, name: str) -> dict[int, str | None]:
    return dict(change.execute("SELECT epoch, began_from FROM epochs WHERE run = ?", (name,)).fetchall())


def _check_rollback(
    change: sqlite3.Connection, name: str, latest: str | None, to: str | None, began: Mapping[int, str | None]
) -> None:
    if to is None:
        return
    position_of(to)
    if not descends(latest, to, began):
        raise validation(
            f"run {name!r} does not descend from {to}: it goes on from {latest}, so roll back to one before that, and "
            "not to one of a branch that was left",
            field="latest",
            manifest=to,
        )
    if is_retired(change, name, to):
        raise being_deleted(name, to)


def _run(row: Any) -> RunRow:
    name, epoch, latest, host, boot, pid, started, status, config, created, lr_scale, rollbacks, restoring = row
    return RunRow(
        name,
        epoch,
        latest,
        None if pid is None else Process(host, boot, pid, started),
        None if status is None else _status(status),
        decode(config.encode()),
        created,
        lr_scale,
        rollbacks,
        restoring,
    )


def _status(text: str) -> RunStatus | None:
    try:
        return msgspec.convert(decode(text.encode()), RunStatus)
    except ValueError:  # msgspec's own among them
        return None  # a newer Tinkex reported it
