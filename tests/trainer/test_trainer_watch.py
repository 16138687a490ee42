"""A run that is stuck, one whose loss goes wild, one whose program fails."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import Faults
from support_engine_url import engine_url
from support_slow_server import SlowServer
from support_trainer import Gate, Program, config, finish, sequence, trainer, until
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import read_events
from tinkex.actors._trainer._watchdog import Phase, Watchdog
from tinkex.protocol import AdamParams, CheckpointPolicy, Err, LossGuard, RebuildPolicy, WatchdogPolicy, messages


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("engine")
    with engine_url(root) as url:
        yield url, root


class Wild(Program):
    """A learning rate that is far too high from one update on."""

    def adam_params(self, update: int) -> AdamParams:
        return AdamParams(learning_rate=1e-3 if update < 6 else 1.0)


class Broken(Program):
    """A program that fails at one batch."""

    def batch(self, cursor: Any) -> Any:
        if cursor["row"] >= 8:
            raise ZeroDivisionError("the data are odd")
        return super().batch(cursor)


def events(root: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(RunFolder(root / "runs", "r").events) if event["kind"] == kind]


def test_a_stuck_run_is_rebuilt_and_ends_as_if_nothing_had_happened(engine: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    finish(config(tmp_path / "whole", engine[0]))
    held: list[str] = []

    def rule(request: httpx.Request, count: int) -> "str | httpx.Response | None":
        if request.url.path.endswith("/optim_step") and count == 8 and not held:
            held.append(request.url.path)
            return "hold"
        return None

    watchdog = WatchdogPolicy(look_seconds=0.05, first_seconds=0.5, least_seconds=0.5, factor=1.0)
    with trainer(config(tmp_path, engine[0], watchdog=watchdog), Faults(rule)) as ref:
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
    assert held
    assert any("the run is stuck" in event["reason"] for event in events(tmp_path, "stalled"))
    assert sequence(tmp_path) == sequence(tmp_path / "whole")


def test_a_loss_that_goes_wild_rolls_back_with_a_lower_learning_rate(engine: tuple[str, Path], tmp_path: Path) -> None:
    guard = LossGuard(spike=3.0, window=2, roll_back=1, lr_factor=1e-7, max_rollbacks=2)
    options = {"loss_guard": guard, "checkpoints": CheckpointPolicy(every_updates=2)}
    with trainer(config(tmp_path, engine[0], Wild(), **options)) as ref:
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap()
        status = ref.ask(messages.Status()).unwrap().run
    assert ended.state == "finished"
    assert status is not None
    assert status.rollbacks == 1
    assert status.lr_scale == 1e-7
    (rolled,) = events(tmp_path, "rollback")
    assert rolled["manifest"] in ("e00001-u000000004", "e00001-u000000006"), "the newest that was committed by then"
    folder = RunFolder(tmp_path / "runs", "r")
    assert folder.read_manifest(manifests_after(folder, 2)[-1]).lr_scale == 1e-7, "the lineage tells the lower rate"


def manifests_after(folder: RunFolder, epoch: int) -> list[str]:
    return [name for name in folder.manifest_names() if name >= f"e{epoch:05d}"]


def test_a_run_whose_loss_stays_bad_fails_after_so_many_rollbacks(engine: tuple[str, Path], tmp_path: Path) -> None:
    guard = LossGuard(spike=3.0, window=2, max_rollbacks=2)
    options = {"loss_guard": guard, "checkpoints": CheckpointPolicy(every_updates=2)}
    with trainer(config(tmp_path, engine[0], Wild(), **options)) as ref:
        result = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
    assert isinstance(result, Err)
    assert result.error.kind == "run_failed"
    assert "after 2 roll-backs" in result.error.message
    assert len(events(tmp_path, "rollback")) == 2


def test_a_wild_loss_is_never_committed_and_a_resume_counts_the_rollbacks_on(
    engine: tuple[str, Path], tmp_path: Path
) -> None:
    guard = LossGuard(spike=3.0, window=2, max_rollbacks=1)
    options = {"loss_guard": guard, "checkpoints": CheckpointPolicy(every_updates=1)}
    for _ in range(2):
        with trainer(config(tmp_path, engine[0], Wild(), **options)) as ref:
            assert isinstance(ref.ask(messages.WaitUntilDone(await_timeout=60.0)), Err)
    assert len(events(tmp_path, "rollback")) == 1
    folder = RunFolder(tmp_path / "runs", "r")
    losses = [folder.read_manifest(name).metrics["loss"] for name in folder.manifest_names()]
    assert max(losses) < 3.0 * min(losses[:2])


def test_a_program_that_fails_fails_the_run_with_its_own_words(engine: tuple[str, Path], tmp_path: Path) -> None:
    with trainer(config(tmp_path, engine[0], Broken())) as ref:
        result = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        assert isinstance(result, Err)
        assert result.error.kind == "program_failed"
        assert "ZeroDivisionError: the data are odd" in result.error.message
        why = ref.ask(messages.Why()).unwrap()
        assert "the data are odd" in why.sentence
    assert finish(config(tmp_path, engine[0])).state == "finished", "the program was mended, and the run goes on"


def test_a_run_that_makes_no_progress_is_given_up_and_can_be_resumed(engine: tuple[str, Path], tmp_path: Path) -> None:
    def rule(request: httpx.Request, count: int) -> "str | httpx.Response | None":
        if request.url.path.endswith("/forward_backward"):
            return httpx.Response(410, json={"detail": "this session is gone"})
        return None

    rebuild = RebuildPolicy(max_rebuilds=2, backoff_seconds=0.01)
    with trainer(config(tmp_path, engine[0], rebuild=rebuild), Faults(rule)) as ref:
        result = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        assert isinstance(result, Err)
        assert result.error.kind == "run_failed"
        assert result.error.data["rebuilds"] == 2
        assert ref.ask(messages.Stop()).unwrap().resumable
    assert finish(config(tmp_path, engine[0])).state == "finished"


def briefly_for_a_batch(_: Watchdog, phase: Phase) -> float:
    return 0.05 if phase == "batch" else 60.0


def test_a_program_that_takes_long_is_named_and_not_punished(
    engine: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(3)
    monkeypatch.setattr(Watchdog, "budget", briefly_for_a_batch)
    watchdog = WatchdogPolicy(look_seconds=0.02)
    with trainer(config(tmp_path, engine[0], Program(gate=gate), watchdog=watchdog)) as ref:
        assert gate.reached.wait(30.0)
        run = until(ref, lambda run: run.reason is not None and "the program has made no batch" in run.reason)
        assert run.rebuilds == 0
        gate.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"


def test_a_restore_that_waits_for_the_program_says_so(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(2)

    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if request.url.path.endswith("/optim_step") and count == 1:
            return httpx.Response(410, json={"detail": "this session is gone"})
        return None

    faults = SlowServer(lambda path, count: path == "/optim_step" and count == 1)
    faults.rule = rule
    with trainer(config(tmp_path, engine[0], Program(gate=gate)), faults) as ref:
        assert gate.reached.wait(30.0)
        faults.open.set()
        run = until(ref, lambda run: run.waiting == "program")
        assert run.state == "restoring"
        assert "this session is gone" in (run.reason or "")
        gate.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
