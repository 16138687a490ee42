"""What a trainer is told while it does something else: each word is answered, and does what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pykka
import pytest

from support_clients import Faults
from support_slow_server import SlowServer
from support_trainer import Gate, Program, config, finish, sequence, trainer, until
from tinkex.actors import Trainer
from tinkex.actors._runs._store import RunStore
from tinkex.actors._trainer import _saves
from tinkex.actors._trainer._loss_watch import Bad, LossWatch
from tinkex.protocol import CheckpointPolicy, Err, Ok, WatchdogPolicy, messages


def test_a_rebuild_that_was_waiting_does_not_come_to_a_run_that_was_stopped_and_started(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Callable[[], None]] = []
    run_after = Trainer.run_after

    def later(self: Any, label: str, seconds: float, then: Callable[[], None]) -> Any:
        if label != "begin again":
            return run_after(self, label, seconds, then)
        waiting.append(lambda: self.run_soon(label, then))
        return None

    monkeypatch.setattr(Trainer, "run_after", later)
    gone = True

    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        trains = request.url.path.endswith("/forward_backward")
        return httpx.Response(410, json={"detail": "this session is gone"}) if gone and trains else None

    faults = SlowServer(lambda path, count: path == "/create_session" and count == 2)
    faults.rule = rule
    with trainer(config(tmp_path, url), faults) as ref:
        until(ref, lambda run: run.rebuilds == 1 and run.state == "restoring")
        assert waiting
        gone = False
        assert ref.ask(messages.Stop()).unwrap().state == "stopped"
        ref.ask(messages.Start()).unwrap()
        assert faults.waits.wait(30.0)
        waiting[0]()
        assert ref.ask(messages.Status()).unwrap().state == "restoring"
        faults.open.set()
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
    assert isinstance(ended, Ok), ended
    store = RunStore.open(tmp_path / "runs")
    assert [epoch.reason for epoch in store.epochs("r")] == ["started", "started"]
    store.close()


def test_a_loss_that_goes_wild_while_the_run_stops_does_not_start_it_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = False
    see = LossWatch.see

    def look(self: LossWatch, update: int, loss: float) -> Bad | None:
        return Bad(update, loss, "wild") if stops else see(self, update, loss)

    monkeypatch.setattr(LossWatch, "see", look)
    faults = SlowServer(lambda path, count: path == "/optim_step" and count == 5)
    with trainer(config(tmp_path, url), faults) as ref:
        assert faults.waits.wait(30.0)
        stopped = ref.ask(messages.Stop(), block=False)
        until(ref, lambda run: run.state == "stopping")
        stops = True
        faults.open.set()
        left = stopped.get(timeout=60.0).unwrap()
        assert (left.state, left.resumable) == ("stopped", True)
    stops = False
    assert finish(config(tmp_path, url)).state == "finished"


def test_who_asked_for_a_stop_is_answered_also_where_the_run_is_started_again_at_once(url: str, tmp_path: Path) -> None:
    first, second = Gate(4), Gate(6)
    faults = SlowServer(lambda path, count: path.endswith("/finish"))

    def gate(update: int) -> None:
        first(update)
        second(update)

    with trainer(config(tmp_path, url, Program(gate=gate)), faults) as ref:
        assert first.reached.wait(30.0)
        stopped = ref.ask(messages.Stop(save=False), block=False)
        awaited = ref.ask(messages.WaitUntilDone(), block=False)
        until(ref, lambda run: run.state == "stopped")
        ref.ask(messages.Start()).unwrap()
        first.open.set()
        faults.open.set()
        try:
            assert stopped.get(timeout=20.0).unwrap().state == "stopped"
            assert awaited.get(timeout=20.0).unwrap().state == "stopped"
        except pykka.Timeout:
            pytest.fail("nobody answers")
        finally:
            second.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"


@pytest.mark.parametrize("save", [True, False])
def test_a_stop_saves_where_it_was_asked_to_whatever_the_policy_does_by_itself(
    url: str, tmp_path: Path, save: bool
) -> None:
    gate = Gate(5)
    policy = CheckpointPolicy(every_updates=None, on_stop=False)
    with trainer(config(tmp_path, url, Program(gate=gate), checkpoints=policy)) as ref:
        assert gate.reached.wait(30.0)
        stopped = ref.ask(messages.Stop(save=save), block=False)
        gate.open.set()
        left = stopped.get(timeout=60.0).unwrap()
    assert left.durable_update == (left.update if save else None)


def test_a_stop_that_finds_its_run_taken_over_says_so(url: str, tmp_path: Path) -> None:
    gate = Gate(4)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        awaited = ref.ask(messages.WaitUntilDone(), block=False)
        store = RunStore.open(tmp_path / "runs")
        store.take("r", reason="a test takes it")
        store.close()
        stopped = ref.ask(messages.Stop(), block=False)
        gate.open.set()
        ended = awaited.get(timeout=60.0)
        assert isinstance(ended, Err), ended
        assert ended.error.kind == "fenced"
        assert stopped.get(timeout=60.0).unwrap().state == "failed"


def test_a_stop_ends_also_where_the_server_never_takes_its_save(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_saves, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(_saves, "LISTING_SECONDS", 0.01)

    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        listing = request.url.path.endswith("/checkpoints")
        return httpx.Response(200, json={"checkpoints": []}) if listing else None

    gate = Gate(2)
    with trainer(config(tmp_path, url, Program(gate=gate)), Faults(rule)) as ref:
        assert gate.reached.wait(30.0)
        stopped = ref.ask(messages.Stop(), block=False)
        gate.open.set()
        left = stopped.get(timeout=30.0).unwrap()
    assert (left.state, left.durable_update) == ("stopped", None)


def test_a_pause_does_not_keep_a_stuck_update_from_being_found(url: str, tmp_path: Path) -> None:
    held: list[str] = []

    def rule(request: httpx.Request, count: int) -> "str | None":
        if request.url.path.endswith("/optim_step") and count == 5 and not held:
            held.append(request.url.path)
            return "hold"
        return None

    faults = Faults(rule)
    watchdog = WatchdogPolicy(look_seconds=0.05, first_seconds=3.0, least_seconds=3.0, factor=1.0)
    with trainer(config(tmp_path, url, watchdog=watchdog), faults) as ref:
        assert faults.held.wait(30.0)
        paused = ref.ask(messages.Pause(), block=False).get(timeout=30.0)
        assert isinstance(paused, Err)
        assert "stuck" in paused.error.message
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))


def test_a_trainer_whose_run_was_taken_over_takes_it_back_when_it_is_started(url: str, tmp_path: Path) -> None:
    gate = Gate(4)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        store = RunStore.open(tmp_path / "runs")
        store.take("r", reason="a test takes it")
        store.close()
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        assert isinstance(ended, Err)
        assert ended.error.kind == "fenced"
        gate.open.set()
        ref.ask(messages.Start()).unwrap()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))
