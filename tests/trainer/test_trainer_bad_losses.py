"""Losses that are no numbers, and roll backs to checkpoints that are just being deleted."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from support_trainer import Gate, Program, config, finish, sequence, trainer, until
from tinkex.actors._runs._store import RunStore
from tinkex.actors._trainer._journal import Journal, Rollback
from tinkex.actors._trainer._keeping import Keeping
from tinkex.actors._trainer._loss_watch import Bad, LossWatch
from tinkex.actors._trainer._training import Training
from tinkex.protocol import CheckpointPolicy, LossGuard, RetentionPolicy, messages


class Judging(Program):
    """Notes what its stop rule is told; ``judge`` may hold it there."""

    def __init__(self, updates: int, judge: Callable[[int], None] | None = None) -> None:
        super().__init__(updates)
        self.judge = judge
        self.told: dict[int, dict[str, float]] = {}

    def finished(self, update: int, metrics: Mapping[str, float]) -> bool:
        if self.judge is not None:
            self.judge(update)
        self.told[update] = dict(metrics)
        return not metrics["loss"] < math.inf and update >= 8


def test_a_stop_rule_is_told_of_a_loss_that_is_no_number_also_after_a_kill(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = Training._complete

    def spoiled(self: Training, update: Any, outputs: Any) -> None:
        outputs[0].metrics["loss:sum"] = math.nan
        complete(self, update, outputs)

    monkeypatch.setattr(Training, "_complete", spoiled)
    options: dict[str, Any] = {"loss_guard": None, "depth": 4, "checkpoints": CheckpointPolicy(every_updates=1)}
    gate = Gate(3)
    first = Judging(20, gate)
    with trainer(config(tmp_path, url, first, **options)) as ref:
        assert gate.reached.wait(30.0)
        until(ref, lambda run: (run.durable_update or 0) >= 3)
        ref.kill()
        gate.open.set()
    second = Judging(20)
    ended = finish(config(tmp_path, url, second, **options))
    assert (ended.state, ended.update) == ("finished", 11), "the rule speaks at update 8, and depth - 1 more are sent"
    assert min(second.told) == 3, "this was being judged when the trainer was killed"
    assert all(math.isnan(metrics["loss"]) for metrics in second.told.values())


def never(*_: object) -> None:
    """Stands for what does not come in time."""


def test_a_roll_back_to_what_retention_has_just_retired_goes_to_what_is_left(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeping, "_planned", never)  # the plan is made and written down, and not yet told
    bad: list[int] = []
    see = LossWatch.see

    def look(self: LossWatch, update: int, loss: float) -> Bad | None:
        if update == 10 and not bad:
            bad.append(update)
            return Bad(update, loss, "wild")
        return see(self, update, loss)

    monkeypatch.setattr(LossWatch, "see", look)
    taken: list[Rollback] = []
    take = Journal._take

    def note(self: Journal, message: Any) -> Any:
        if message.rollback is not None:
            taken.append(message.rollback)
            store = RunStore.open(tmp_path / "runs")
            for name in ("e00001-u000000002", "e00001-u000000004", "e00001-u000000006"):
                assert store.retire("r", 1, name, "tinker://x/weights/y"), name
            store.close()
        return take(self, message)

    monkeypatch.setattr(Journal, "_take", note)
    given = config(
        tmp_path,
        url,
        loss_guard=LossGuard(roll_back=2),
        checkpoints=CheckpointPolicy(every_updates=2),
        depth=1,
    )
    ended = finish(given)
    assert taken[0].latest == "e00001-u000000006"
    assert ended.state == "finished"
    store = RunStore.open(tmp_path / "runs")
    assert store.epochs("r")[-1].began_from == "e00001-u000000008"
    store.close()
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))


def test_a_delete_that_is_answered_when_the_journal_has_ended_harms_nobody(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = False
    append = Journal._append

    def crash(self: Journal, record: dict[str, Any]) -> None:
        if crashes and record["kind"] == "update":
            raise ZeroDivisionError
        append(self, record)

    monkeypatch.setattr(Journal, "_append", crash)
    kept: list[tuple[Any, Any]] = []
    deleted = Keeping._deleted

    def hold(self: Keeping, name: str, path: str, result: Any) -> None:
        kept.append((self, lambda: deleted(self, name, path, result)))

    monkeypatch.setattr(Keeping, "_deleted", hold)
    gate = Gate(8)
    given = config(tmp_path, url, Program(gate=gate), retention=RetentionPolicy(keep_last=1))
    with trainer(given) as ref:
        assert gate.reached.wait(30.0)
        until(ref, lambda _run: bool(kept))
        crashes = True
        gate.open.set()
        assert "journal" in str(ref.ask(messages.WaitUntilDone(await_timeout=30.0)))
        keeping, then = kept[0]
        keeping._host.run_soon("late", then)
        assert ref.ask(messages.Status()).unwrap().state == "failed"
