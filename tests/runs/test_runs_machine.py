"""Store and folder under trainers that stand still before any write, and go on when another one holds the run.

What a trainer did is told by its words: each manifest holds the words of all updates that went into it. So the lines
are checked against what really happened, and not against the record that they are found by.
"""

import shutil
import tempfile
from itertools import count
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support_run_store import RUN, failure
from support_trainer_steps import TrainerSteps
from tinkex.actors._runs._event_log import log_name
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import committed_sequence
from tinkex.actors._runs._names import position_of
from tinkex.actors._runs._rows import RunRow
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import Ok

TRAINERS = 3


class Runs(RuleBasedStateMachine):
    """One run, up to three trainers at once, and somebody who looks, pins and posts."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="tinkex-runs-"))
        self.store = RunStore.open(self.root, now=lambda: 0.0)
        self.store.add(RUN, {})
        self.folder = RunFolder(self.root, RUN)
        self.words = count()
        self.trainers: list[TrainerSteps] = []
        self.all: list[TrainerSteps] = []
        self.work: dict[str | None, list[str]] = {None: []}
        self.pinned: set[str] = set()
        self.damaged: set[str] = set()

    def teardown(self) -> None:
        for trainer in self.all:
            trainer.kill(torn=False)
        self.store.close()
        shutil.rmtree(self.root)

    @property
    def row(self) -> RunRow:
        row = self.store.run(RUN)
        assert row is not None
        return row

    @precondition(lambda self: len(self.trainers) < TRAINERS)
    @rule(every=st.integers(1, 3))
    def start(self, every: int) -> None:
        trainer = TrainerSteps(self.store, self.folder, self.words, every)
        self.trainers.append(trainer)
        self.all.append(trainer)
        next(trainer.life)

    @precondition(lambda self: self.trainers)
    @rule(data=st.data(), steps=st.integers(1, 12))
    def go_on(self, data: st.DataObject, steps: int) -> None:
        trainer = data.draw(st.sampled_from(self.trainers))
        for _ in range(steps):
            self.step(trainer)

    def step(self, trainer: TrainerSteps) -> None:
        before, row = self.files(), self.row
        zombie = 0 < trainer.epoch < row.epoch
        retired = self.store.retired(RUN)
        if next(trainer.life, None) is None and trainer in self.trainers:
            self.trainers.remove(trainer)
        for name, work in trainer.committed.items():
            self.work[name] = work
        if zombie:
            self.check_zombie(trainer, row, before, retired)

    def check_zombie(
        self, trainer: TrainerSteps, row: RunRow, before: dict[str, bytes], retired: dict[str, str]
    ) -> None:
        """Only files of its own differ, or are gone that it began to delete while it held the run."""
        assert self.row == row
        after = self.files()
        own = f"e{trainer.epoch:05d}-"
        for name in before.keys() | after.keys():
            if before.get(name) == after.get(name) or name == log_name(trainer.epoch):
                continue
            if name in after:
                assert name.startswith(own)
                assert name not in before
            else:
                assert name.removesuffix(".json") in retired

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.path.rglob("*") if path.is_file()}

    @precondition(lambda self: self.trainers)
    @rule(data=st.data(), torn=st.booleans())
    def kill(self, data: st.DataObject, torn: bool) -> None:
        trainer = data.draw(st.sampled_from(self.trainers))
        self.trainers.remove(trainer)
        trainer.kill(torn=torn)

    @precondition(lambda self: self.trainers)
    @rule(data=st.data())
    def roll_back(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.trainers)).wants_back = True

    @precondition(lambda self: self.readable())
    @rule(data=st.data())
    def pin(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.readable()))
        if name in self.store.retired(RUN):
            assert failure(self.store.pin, RUN, name, True).kind == "conflict"
        else:
            self.store.pin(RUN, name, True)
            self.pinned.add(name)

    @precondition(lambda self: len(self.line()) > 1)
    @rule()
    def damage(self) -> None:
        latest = self.row.latest
        assert latest is not None
        self.damaged.add(latest)
        (self.folder.manifests / f"{latest}.json").write_bytes(b'{"manifest":{"run":"wo')

    def readable(self) -> list[str]:
        return [name for name in self.folder.manifest_names() if name not in self.damaged]

    def line(self) -> list[str]:
        found = self.folder.lineage(self.row.latest, self.store.began(RUN), self.store.retired(RUN))
        return [name for name, result in found if isinstance(result, Ok)]

    @invariant()
    def latest_is_readable_and_is_what_its_trainer_committed(self) -> None:
        latest = self.row.latest
        if latest is not None and latest not in self.damaged:
            assert self.line()[0] == latest
            assert self.folder.read_manifest(latest).cursor == self.work[latest]

    @invariant()
    def every_manifest_of_the_line_holds_a_part_of_the_same_work(self) -> None:
        work = self.work[self.row.latest]
        line = self.line()
        for name in line:
            manifest = self.folder.read_manifest(name)
            assert manifest.cursor == work[: manifest.update]
        updates = [self.folder.read_manifest(name).update for name in line]
        assert updates == sorted(set(updates), reverse=True)

    @invariant()
    def the_log_tells_the_work_that_is_committed_each_update_once(self) -> None:
        work = self.work[self.row.latest]
        told = list(committed_sequence(self.folder.events))
        assert [record.update for record in told] == list(range(1, len(told) + 1))
        assert [row for record in told for row in record.rows][: len(work)] == work

    @invariant()
    def what_is_pinned_is_there(self) -> None:
        assert self.pinned <= {*self.folder.manifest_names()}

    @invariant()
    def who_trained_had_written_down_its_session(self) -> None:
        known = {session for (session,) in self.store._database.rows("SELECT session_id FROM sessions")}
        assert {f"s{position_of(name).epoch}" for name in self.work if name is not None} <= known


TestRuns = Runs.TestCase
TestRuns.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
