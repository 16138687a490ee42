"""The journal: the one actor that writes what stays of a run, in the order in which it is told."""

from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from tinkex.actors._genserver._dispatch import on
from tinkex.actors._genserver._genserver import GenServer
from tinkex.actors._runs._event_log import EventLog
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import committed_sequence
from tinkex.actors._runs._names import position_of
from tinkex.actors._runs._rows import UNCHANGED, Command, Taken
from tinkex.actors._runs._shelving import plan_shelf, read_shelf
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import Err, Manifest, Ok, Request, Result, RetentionPolicy, RunStatus, TinkexError

T = TypeVar("T")


class Rollback(NamedTuple):
    """What a new epoch changes of its run."""

    latest: str | None
    """The manifest to go back to; None is the run's beginning."""
    lr_scale: float
    rollbacks: int


class Take(Request[Taken], frozen=True):
    """Begin a new epoch."""

    reason: str
    held: int | None = None
    """The epoch that must still be the run's; None takes the run over from whoever has it."""
    rollback: Rollback | None = None


class Lineage(Request[list[tuple[str, Result[Manifest]]]], frozen=True):
    """Read the manifests that the taken run can go on from, newest first, and what is wrong with broken ones."""


class Losses(Request[list[tuple[int, float]]], frozen=True):
    """Read the losses of the last ``last`` updates up to ``update``, oldest first, as the log has them."""

    update: int
    last: int


class RecordSession(Request[None], frozen=True):
    """Note what the epoch holds on the server; no request may train before."""

    session_id: str
    model_id: str


class EndSession(Request[bool], frozen=True):
    """Note that an earlier epoch's session has ended."""

    session_id: str


class Restoring(Request[None], frozen=True):
    """Note the manifest that is being restored from: it is not deleted meanwhile."""

    manifest: str | None


class Begin(Request[None], frozen=True):
    """Note where the epoch begins."""

    manifest: str | None
    update: int
    reason: str


class Commit(Request[str], frozen=True):
    """Make a checkpoint durable: the log, the manifest, the latest; answered with the manifest's name."""

    manifest: Manifest


class Beat(Request[list[Command]], frozen=True):
    """Report the status; answered with what other processes have asked of the run.

    Where a record of the run's log was lost, that is the answer: ``Err`` whose ``data`` has ``log``.
    """

    status: RunStatus


class AnswerCommand(Request[bool], frozen=True):
    """Answer what another process has asked."""

    command: int
    result: Mapping[str, Any]


class Kept(NamedTuple):
    """What a round of keeping is to do, as names and paths."""

    delete: list[tuple[str, str]]
    renew: list[tuple[str, str]]


class Retain(Request[Kept], frozen=True):
    """Plan what is kept; what is not is written down as being deleted, and never restored from any more."""

    policy: RetentionPolicy
    ttl_seconds: int | None
    verified: list[str]
    """Manifests whose checkpoints were seen on the server just now."""


class Deleted(Request[None], frozen=True):
    """Note that a checkpoint is gone from the server: its manifest goes, too."""

    manifest: str


class Renewed(Request[None], frozen=True):
    """Note when a checkpoint expires now."""

    manifest: str
    expires: float | None


class Note(NamedTuple):
    """Append a record to the epoch's log; told, not asked."""

    record: dict[str, Any]


class Journal(GenServer[Any]):
    """Writes for one run. Whatever a later epoch's owner must not lose to this one is a compare-and-set on the epoch.

    Every failure is an ``Err``: kind ``fenced`` where the run is of another epoch by now, ``run_failed`` where the disk
    refuses.
    """

    def __init__(self, root: Path, run: str, settings: Mapping[str, Any]) -> None:
        """Open the store, and the run in it, made where there is none; raises ``TinkexError`` where it cannot."""
        super().__init__()
        self._run = run
        self._folder = RunFolder(root, run)
        self._store = RunStore.open(root, now=self.runtime.clock.time)
        self._taken: Taken | None = None
        self._log: EventLog | None = None
        self._lost: TinkexError | None = None
        """Why a record could not be appended: no later checkpoint may claim that it was."""
        self.add_finalizer(lambda _reason: self._close())
        if self._store.run(run) is None:
            self._add(settings)

    def _add(self, settings: Mapping[str, Any]) -> None:
        try:
            self._store.add(self._run, dict(settings))
        except TinkexError:
            if self._store.run(self._run) is None:
                raise
            # Another trainer was started at the same time, and added it first: which of the two has it, takes tell.

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
        self._store.close()

    @property
    def _epoch(self) -> int:
        return self._taken.epoch if self._taken is not None else 0

    @on(Take)
    def _on_take(self, message: Take) -> Result[Taken]:
        return _tried(lambda: self._take(message))

    def _take(self, message: Take) -> Taken:
        rollback = message.rollback
        taken = self._store.take(
            self._run,
            reason=message.reason,
            held=message.held,
            latest=self._left(rollback.latest) if rollback is not None else UNCHANGED,
            lr_scale=rollback.lr_scale if rollback is not None else None,
            rollbacks=rollback.rollbacks if rollback is not None else None,
        )
        if self._log is not None:
            self._log.close()
            self._log = None
        self._taken = taken
        self._lost = None
        self._log = EventLog.open(self._folder.events, taken.epoch)
        self._folder.sweep(taken.epoch)
        return taken

    def _left(self, manifest: str | None) -> str | None:
        """Return ``manifest``; where it was retired since it was chosen, the next older one, or else the oldest."""
        row = self._store.run(self._run)
        if manifest is None or row is None:
            return None
        lineage = self._folder.lineage(row.latest, self._store.began(self._run), self._store.retired(self._run))
        names = [name for name, found in lineage if isinstance(found, Ok)]
        older = (name for name in names if position_of(name) <= position_of(manifest))
        return next(older, names[-1] if names else manifest)

    @on(Lineage)
    def _on_lineage(self, _message: Lineage) -> Result[list[tuple[str, Result[Manifest]]]]:
        taken = self._taken
        if taken is None:
            return Ok([])
        return _tried(lambda: list(self._folder.lineage(taken.latest, taken.began, taken.retired)))

    @on(Losses)
    def _on_losses(self, message: Losses) -> Result[list[tuple[int, float]]]:
        return _tried(lambda: list(self._losses(message)))

    def _losses(self, message: Losses) -> deque[tuple[int, float]]:
        losses = (
            (item.update, item.loss)
            for item in committed_sequence(self._folder.events)
            if item.update <= message.update and item.loss is not None
        )
        return deque(losses, maxlen=message.last)

    @on(RecordSession)
    def _on_record_session(self, message: RecordSession) -> Result[None]:
        store, epoch = self._store, self._epoch
        return self._fenced(lambda: store.record_session(self._run, epoch, message.session_id, message.model_id))

    @on(EndSession)
    def _on_end_session(self, message: EndSession) -> Result[bool]:
        return _tried(lambda: self._store.end_session(self._run, message.session_id))

    @on(Restoring)
    def _on_restoring(self, message: Restoring) -> Result[None]:
        return self._fenced(lambda: self._store.set_restoring(self._run, self._epoch, message.manifest))

    @on(Begin)
    def _on_begin(self, message: Begin) -> Result[None]:
        return self._fenced(lambda: self._begin(message))

    def _begin(self, message: Begin) -> bool:
        taken = self._taken
        if taken is None:
            return False
        if message.manifest != taken.latest and not self._store.fall_back(self._run, taken.epoch, message.manifest):
            return False
        if not self._store.set_restoring(self._run, taken.epoch, None):
            return False
        self._append(
            {"kind": "began", "manifest": message.manifest, "update": message.update, "reason": message.reason}
        )
        return True

    @on(Commit)
    def _on_commit(self, message: Commit) -> Result[str]:
        if self._lost is not None:
            return Err(self._lost)
        committed = self._fenced(lambda: self._commit(message.manifest))
        return committed if isinstance(committed, Err) else Ok(message.manifest.name)

    def _commit(self, manifest: Manifest) -> bool:
        if self._log is not None:
            self._log.sync()
        self._folder.write_manifest(manifest)
        if not self._store.move_latest(self._run, manifest.epoch, manifest.name):
            return False
        facts = {"update": manifest.update, "path": manifest.path, "manifest": manifest.name}
        self._append({"kind": "checkpoint", **facts})
        return True

    @on(Beat)
    def _on_beat(self, message: Beat) -> Result[list[Command]]:
        if self._taken is None or self._lost is not None:
            return Ok([]) if self._lost is None else Err(self._lost)
        reported = self._fenced(lambda: self._store.report(self._run, self._epoch, message.status))
        return reported if isinstance(reported, Err) else _tried(lambda: self._store.inbox(self._run))

    @on(AnswerCommand)
    def _on_answer(self, message: AnswerCommand) -> Result[bool]:
        return _tried(lambda: self._store.answer(message.command, self._epoch, dict(message.result)))

    @on(Retain)
    def _on_retain(self, message: Retain) -> Result[Kept]:
        return _tried(lambda: self._retain(message))

    def _retain(self, message: Retain) -> Kept:
        row = self._store.run(self._run)
        if row is None or row.epoch != self._epoch:
            raise fenced(self._run, self._epoch)
        shelved = read_shelf(self._store, row)
        plan = plan_shelf(
            self._store,
            row,
            shelved,
            message.policy,
            verified=message.verified,
            now=self.runtime.clock.time(),
            ttl_seconds=message.ttl_seconds,
        )
        delete = dict(shelved.retired)
        for name in plan.delete:
            path = shelved.manifests[name].path
            if self._store.retire(self._run, self._epoch, name, path):
                delete[name] = path
        renew = [(name, shelved.manifests[name].path) for name in plan.renew]
        return Kept(list(delete.items()), renew if message.ttl_seconds is not None else [])

    @on(Deleted)
    def _on_deleted(self, message: Deleted) -> Result[None]:
        return _tried(lambda: self._delete(message.manifest))

    def _delete(self, name: str) -> None:
        self._folder.remove_manifest(name)
        self._store.deleted(self._run, name)

    @on(Renewed)
    def _on_renewed(self, message: Renewed) -> Result[None]:
        store, epoch = self._store, self._epoch
        return self._fenced(lambda: store.renew(self._run, epoch, message.manifest, message.expires))

    @on(Note)
    def _on_note(self, message: Note) -> None:
        _tried(lambda: self._append(message.record))

    def _append(self, record: dict[str, Any]) -> None:
        if self._log is None or self._lost is not None:
            return
        try:
            self._log.append({**record, "at": record.get("at", self.runtime.clock.time()), "epoch": self._epoch})
        except TinkexError as error:
            self._lost = log_lost(error)
            raise

    def _fenced(self, write: Callable[[], bool]) -> Result[None]:
        written = _tried(write)
        if isinstance(written, Err):
            return written
        return Ok(None) if written.value else Err(fenced(self._run, self._epoch))


def _tried(work: Callable[[], T]) -> Result[T]:
    try:
        return Ok(work())
    except TinkexError as error:
        return Err(error)


def log_lost(error: TinkexError) -> TinkexError:
    """Build the error of a run whose log lacks a record: nothing that it trains from then on can be committed."""
    return TinkexError(error.message, kind=error.kind, category=error.category, data={**error.data, "log": "lost"})


def fenced(run: str, epoch: int) -> TinkexError:
    """Build the error of a trainer whose run another one has taken over."""
    return TinkexError(
        f"the run {run!r} was taken over by another trainer; this one, of epoch {epoch}, has ended and changed nothing",
        kind="fenced",
        category="unknown",
        data={"run": run, "epoch": epoch},
    )
