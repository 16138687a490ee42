"""A disk that refuses in the middle, a store that is damaged or held: the run fails soon, and goes on later."""

import errno
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from support_trainer import Gate, Program, config, finish, sequence, trainer, until
from tinkex.actors._runs._event_log import EventLog
from tinkex.actors._runs._folder import refused_by_disk
from tinkex.actors._trainer._journal import Journal
from tinkex.protocol import CheckpointPolicy, Err, messages


class FullDisk:
    """Refuses to write logs while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        for name in ("write", "fsync"):
            monkeypatch.setattr(f"tinkex.actors._runs._event_log.os.{name}", self._refuse(getattr(os, name)))

    def _refuse(self, real: Any) -> Any:
        def call(fd: int, *rest: Any) -> Any:
            if self.full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(fd, *rest)

        return call


def test_a_log_that_cannot_be_written_ends_the_run_long_before_its_next_checkpoint(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    first, second = Gate(3), Gate(8)

    def gate(update: int) -> None:
        first(update)
        second(update)

    given = config(tmp_path, url, Program(gate=gate), checkpoints=CheckpointPolicy(every_updates=None))
    with trainer(given) as ref:
        assert first.reached.wait(30.0)
        disk.full = True
        first.open.set()
        ended = ref.ask(messages.WaitUntilDone(await_timeout=30.0))
        disk.full = False
        second.open.set()
        assert isinstance(ended, Err)
        assert (ended.error.kind, "No space left" in ended.error.message) == ("run_failed", True), ended.error
        ref.ask(messages.Start()).unwrap()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))


def test_a_run_whose_new_log_cannot_be_made_is_started_again_by_the_same_trainer(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(4)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        gate.open.set()
        ref.ask(messages.Stop()).unwrap()

        def refuse(folder: Path, epoch: int) -> EventLog:
            raise refused_by_disk(folder, OSError(errno.EROFS, os.strerror(errno.EROFS)))

        with monkeypatch.context() as patch:
            patch.setattr(EventLog, "open", refuse)
            ref.ask(messages.Start()).unwrap()
            ended = ref.ask(messages.WaitUntilDone(await_timeout=30.0))
        assert isinstance(ended, Err)
        assert "Read-only file system" in ended.error.message
        ref.ask(messages.Start()).unwrap()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))


def crash(*_: object) -> None:
    raise ZeroDivisionError


def test_a_journal_that_has_crashed_is_made_anew_by_a_start(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(4)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "_append", crash)
            gate.open.set()
            ended = ref.ask(messages.WaitUntilDone(await_timeout=30.0))
        assert isinstance(ended, Err)
        assert "the journal of the run 'r' has ended" in ended.error.message
        ref.ask(messages.Start()).unwrap()
        again = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        assert again.unwrap().state == "finished"


def test_a_store_that_another_process_holds_locked_costs_time_and_no_run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.actors._runs._database.Database.__init__.__defaults__", (0.01,))
    gate = Gate(5)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        other = sqlite3.connect(tmp_path / "runs" / "runs.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        stopped = ref.ask(messages.CheckpointNow(), block=False)
        gate.open.set()
        assert isinstance(stopped.get(timeout=30.0), Err)
        until(ref, lambda run: run.rebuilds > 0)
        other.execute("ROLLBACK")
        other.close()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))


def test_a_store_that_is_damaged_fails_the_run_and_the_next_start_says_so(url: str, tmp_path: Path) -> None:
    gate = Gate(4)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        for path in (tmp_path / "runs").glob("runs.sqlite3*"):
            path.write_bytes(b"no database at all" * 1000)
        gate.open.set()
        ended = ref.ask(messages.WaitUntilDone(await_timeout=30.0))
        assert isinstance(ended, Err)
        assert ref.is_alive()
    with pytest.raises(Exception, match="run store") as raised:
        finish(config(tmp_path, url))
    assert getattr(raised.value, "kind", None) == "validation"
