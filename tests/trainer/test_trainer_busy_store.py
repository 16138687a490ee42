"""A run store that is busy at the wrong moment: no order, roll back or answer is lost by that."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from support_clients import eventually
from support_trainer import Gate, Program, config, sequence, trainer, until
from tinkex.actors._runs._command import command_run
from tinkex.actors._runs._rows import Taken
from tinkex.actors._runs._store import RunStore
from tinkex.actors._trainer._journal import Journal, Take
from tinkex.actors._trainer._loss_watch import Bad, LossWatch
from tinkex.protocol import Err, LossGuard, RebuildPolicy, RunStatus, TinkexError, messages

BUSY = TinkexError("another process holds the store locked", kind="conflict", category="unknown")


def take_it(root: Path) -> None:
    store = RunStore.open(root / "runs")
    store.take("r", reason="a test takes it")
    store.close()


def test_a_run_is_taken_back_also_where_the_store_is_busy_at_first(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.actors._runs._database.Database.__init__.__defaults__", (0.01,))
    gate = Gate(4)
    rebuild = RebuildPolicy(max_rebuilds=1000, backoff_seconds=0.01, max_backoff_seconds=0.05)
    with trainer(config(tmp_path, url, Program(gate=gate), rebuild=rebuild)) as ref:
        assert gate.reached.wait(30.0)
        take_it(tmp_path)
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        assert isinstance(ended, Err)
        assert ended.error.kind == "fenced"
        gate.open.set()
        other = sqlite3.connect(tmp_path / "runs" / "runs.sqlite3", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        ref.ask(messages.Start()).unwrap()
        until(ref, lambda run: run.rebuilds > 0)
        other.execute("ROLLBACK")
        other.close()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))


def test_a_roll_back_is_done_also_where_the_store_is_busy_at_first(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, refused = [8], [BUSY]
    see, take = LossWatch.see, Journal._take

    def once(self: LossWatch, update: int, loss: float) -> Bad | None:
        return Bad(bad.pop(), loss, "wild") if update in bad else see(self, update, loss)

    def busy(self: Journal, message: Take) -> Taken:
        if message.rollback is not None and refused:
            raise refused.pop()
        return take(self, message)

    monkeypatch.setattr(LossWatch, "see", once)
    monkeypatch.setattr(Journal, "_take", busy)
    given = config(tmp_path, url, loss_guard=LossGuard(roll_back=1, lr_factor=0.5))
    with trainer(given) as ref:
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
        run = ref.ask(messages.Status()).unwrap().run
    assert refused == []
    assert run is not None
    assert (run.rollbacks, run.lr_scale) == (1, 0.5)


def test_a_failure_that_is_looked_into_while_the_run_is_started_again_is_not_the_new_ones(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gave_up, open_ = threading.Event(), threading.Event()
    report = RunStore.report

    def slow(self: RunStore, name: str, epoch: int, status: RunStatus) -> bool:
        if fails.is_set():
            gave_up.set()
            assert open_.wait(60.0)
        return report(self, name, epoch, status)

    class FailsOnce(Program):
        def batch(self, cursor: Any) -> Any:
            if cursor["row"] == 8 and not fails.is_set():
                fails.set()
                raise ZeroDivisionError
            return super().batch(cursor)

    fails = threading.Event()
    monkeypatch.setattr(RunStore, "report", slow)
    with trainer(config(tmp_path, url, FailsOnce())) as ref:
        assert gave_up.wait(30.0)
        until(ref, lambda run: run.seconds_per_update is None and run.update > 0)  # its epoch is closed
        assert ref.ask(messages.Stop(save=False), block=False) is not None
        until(ref, lambda run: run.state == "stopped")
        ref.ask(messages.Start()).unwrap()
        open_.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"


def test_a_run_that_is_stopped_while_it_is_first_taken_tells_its_end_to_other_processes(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, open_ = threading.Event(), threading.Event()
    take = Journal._take

    def slow(self: Journal, message: Take) -> Taken:
        found = take(self, message)
        taken.set()
        assert open_.wait(60.0)
        return found

    monkeypatch.setattr(Journal, "_take", slow)
    with trainer(config(tmp_path, url)) as ref:
        assert taken.wait(30.0)
        assert ref.ask(messages.Stop()).unwrap().state == "stopped"
        open_.set()
        store = RunStore.open(tmp_path / "runs")

        def told() -> bool:
            row = store.run("r")
            return row is not None and row.status is not None and row.status.state == "stopped"

        eventually(told)
        store.close()


def test_an_answer_that_cannot_be_written_at_once_is_written_later(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = [BUSY]
    answer = RunStore.answer

    def busy(self: RunStore, command_id: int, epoch: int, result: dict[str, Any]) -> bool:
        if refused:
            raise refused.pop()
        return answer(self, command_id, epoch, result)

    monkeypatch.setattr(RunStore, "answer", busy)
    gate = Gate(4)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        store = RunStore.open(tmp_path / "runs")
        told = command_run(store, "r", "pause", timeout=20.0)
        store.close()
        assert refused == []
        assert told.unwrap()["state"] == "paused"
        gate.open.set()
        ref.ask(messages.Stop(save=False)).unwrap()
