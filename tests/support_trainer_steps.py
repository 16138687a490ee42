"""A trainer reduced to what it writes, that stands still before each write: to be frozen, killed, and woken up late.

Its work is a list of words, one for each update, that nobody else has. So a manifest's cursor tells all that went into
it, whoever claims what about epochs and parents.
"""

from collections.abc import Generator
from itertools import count
from typing import Any

from tinkex.actors._runs._event_log import EventLog
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._retention import plan_retention
from tinkex.actors._runs._rows import Taken
from tinkex.actors._runs._store import RunStore
from tinkex.actors._runs._update_record import UpdateRecord
from tinkex.protocol import Manifest, Ok, RetentionPolicy, RunStatus, TinkexError

Life = Generator[str]
"""Yields what it is about to write."""


class TrainerSteps:
    """One trainer; ``life`` is what it does, from one write to the next.

    Args:
        store: of its process.
        folder: of its run.
        words: never the same one twice.
        every: updates between two checkpoints.
    """

    def __init__(self, store: RunStore, folder: RunFolder, words: "count[int]", every: int) -> None:
        self.store = store
        self.folder = folder
        self.every = every
        self.epoch = 0
        self.work: list[str] = []
        self.committed: dict[str, list[str]] = {}
        """From each manifest that it committed while it held the run to all that went into it."""
        self.restored: str | None = None
        self.end: str | None = None
        self.wants_back = False
        self.life = self._live()
        self._words = words
        self._log: EventLog | None = None
        self._parent: str | None = None

    def kill(self, *, torn: bool) -> None:
        """End it as ``kill -9`` does, perhaps in the middle of a line."""
        self.life.close()
        self.end = "killed"
        if self._log is not None:
            self._log.close()
            if torn:
                with self._log.path.open("ab") as file:
                    file.write(b'{"kind":"upd')

    def goes_on(self) -> bool:
        """Whether it has not found out that it is over."""
        return self.end is None

    def _live(self) -> Life:
        yield "take"
        yield from self._begin(self.store.take(self.folder.name, reason="takeover"))
        while self.end is None:
            yield from self._train()
            yield from self._commit()
            if self.wants_back and self.goes_on():
                yield from self._roll_back()

    def _begin(self, taken: Taken) -> Life:
        self.epoch = taken.epoch
        name = self.folder.name
        for session in taken.sessions:
            yield "end_session"
            self.store.end_session(name, session.session_id)
        for manifest in taken.retired:
            yield from self._delete(manifest)
        chosen: Manifest | None = None
        for _, result in self.folder.lineage(taken.latest, taken.began, taken.retired):
            if isinstance(result, Ok):
                chosen = result.value
                break
        if chosen is None and taken.latest is not None:
            self.end = "refused"
            return
        self.restored = None if chosen is None else chosen.name
        yield "set_restoring"
        if not self.store.set_restoring(name, self.epoch, self.restored):
            self.end = "fenced"
            return
        if self.restored != taken.latest:
            yield "fall_back"
            if not self.store.fall_back(name, self.epoch, self.restored):
                self.end = "fenced"
                return
        self._parent = self.restored
        self.work = [] if chosen is None else list(chosen.cursor)
        yield "began"
        self._log = EventLog.open(self.folder.events, self.epoch)
        self._log.append(
            {"kind": "began", "epoch": self.epoch, "update": len(self.work), "manifest": self.restored, "at": 0.0}
        )
        yield "record_session"
        if not self.store.record_session(name, self.epoch, f"s{self.epoch}", "m"):
            self.end = "fenced"
            return
        yield "restored"
        self.store.set_restoring(name, self.epoch, None)

    def _train(self) -> Life:
        for _ in range(self.every):
            yield "update"
            self.work = [*self.work, f"word-{next(self._words)}"]
            record = UpdateRecord(epoch=self.epoch, update=len(self.work), rows=[self.work[-1]])
            assert self._log is not None
            self._log.append(record.to_event())

    def _commit(self) -> Life:
        """A zombie goes as far as it can get: no write but a refused one tells it that it is one."""
        assert self._log is not None
        self._log.sync()
        manifest = Manifest(
            run=self.folder.name,
            epoch=self.epoch,
            update=len(self.work),
            path=f"tinker://r{self.epoch}/weights/u{len(self.work)}",
            cursor=self.work,
            parent=self._parent,
            fingerprint={},
        )
        yield "write_manifest"
        self.folder.write_manifest(manifest)
        yield "move_latest"
        if not self.store.move_latest(self.folder.name, self.epoch, manifest.name):
            self.end = "fenced"
            return
        self.committed[manifest.name] = self.work
        self._parent = manifest.name
        yield "report"
        if not self.store.report(self.folder.name, self.epoch, RunStatus(run=self.folder.name, epoch=self.epoch)):
            self.end = "fenced"
            return
        yield from self._retain()

    def _retain(self) -> Life:
        name = self.folder.name
        row = self.store.run(name)
        assert row is not None
        gone = self.store.retired(name)
        whole: list[Manifest] = []
        for item in self.folder.manifest_names():
            try:
                whole += [] if item in gone else [self.folder.read_manifest(item)]
            except TinkexError:
                continue
        state: dict[str, Any] = {"latest": row.latest, "restoring": row.restoring, "pinned": self.store.pins(name)}
        verified = {manifest.name for manifest in whole}
        plan = plan_retention(
            whole, RetentionPolicy(keep_last=3), **state, verified=verified, now=0.0, ttl_seconds=None
        )
        for item in plan.delete:
            yield "retire"
            if self.store.retire(name, self.epoch, item, "tinker://r/weights/x"):
                yield from self._delete(item)

    def _delete(self, manifest: str) -> Life:
        yield "remove_manifest"
        self.folder.remove_manifest(manifest)
        yield "deleted"
        self.store.deleted(self.folder.name, manifest)

    def _roll_back(self) -> Life:
        self.wants_back = False
        began, gone = self.store.began(self.folder.name), self.store.retired(self.folder.name)
        line = [name for name, result in self.folder.lineage(self._parent, began, gone) if isinstance(result, Ok)]
        yield "roll back"
        try:
            taken = self.store.take(
                self.folder.name, reason="rollback", latest=line[-1] if line else None, held=self.epoch
            )
        except TinkexError as error:
            self.end = error.kind
            return
        assert self._log is not None
        self._log.close()
        yield from self._begin(taken)
