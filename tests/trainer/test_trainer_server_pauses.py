"""Pauses by the server belong to the epoch that they paused."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import Faults
from support_slow_server import SlowServer
from support_trainer import Gate, Program, config, trainer, until
from tinkex.actors._trainer._running import Running
from tinkex.actors._trainer._trainer_proxy import TrainerRef
from tinkex.actors._trainer._watchdog import Phase, Watchdog
from tinkex.protocol import CheckpointPolicy, QueueStateChange, RunStatus, WatchdogPolicy, messages


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[QueueStateChange], None]]:
    """What each epoch's service tells of pauses by."""
    callbacks: list[Callable[[QueueStateChange], None]] = []
    options = Running._service_options

    def record(self: Running) -> Any:
        made: Any = options(self)
        callbacks.append(made["on_queue_state_change"])
        return made

    monkeypatch.setattr(Running, "_service_options", record)
    return callbacks


def how(ref: TrainerRef) -> RunStatus:
    run = ref.ask(messages.Status()).unwrap().run
    assert run is not None
    return run


def change(state: Any, seq_id: int = 1) -> QueueStateChange:
    return QueueStateChange(state, "active", "optim_step", "urn", "m", seq_id, reason="full")


def test_what_the_client_of_an_earlier_epoch_still_tells_pauses_no_later_one(
    url: str, tmp_path: Path, told: list[Callable[[QueueStateChange], None]]
) -> None:
    lost: list[int] = []

    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if request.url.path.endswith("/optim_step") and not lost:
            lost.append(count)
            return httpx.Response(410, json={"detail": "this session is gone"})
        return None

    gate = Gate(5)
    with trainer(config(tmp_path, url, Program(gate=gate)), Faults(rule)) as ref:
        assert gate.reached.wait(30.0)
        until(ref, lambda run: run.epoch == 2 and run.update >= 3)
        told[0](change("paused_capacity"))
        assert how(ref).waiting is None
        told[1](change("paused_capacity"))
        until(ref, lambda run: run.waiting == "paused_capacity")
        told[0](change("active"))
        assert how(ref).waiting == "paused_capacity"
        gate.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"


def test_a_pause_by_the_server_brings_a_save_and_one_after_the_end_is_passed_over(
    url: str, tmp_path: Path, told: list[Callable[[QueueStateChange], None]]
) -> None:
    gate = Gate(4)
    policy = CheckpointPolicy(every_updates=None)
    with trainer(config(tmp_path, url, Program(gate=gate), checkpoints=policy)) as ref:
        assert gate.reached.wait(30.0)
        told[0](change("paused_capacity"))
        until(ref, lambda run: run.durable_update is not None)
        gate.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
        told[0](change("paused_billing"))
        assert how(ref).state == "finished"


def test_while_the_server_pauses_one_request_of_several_the_run_is_paused_and_its_watchdog_waits(
    url: str, tmp_path: Path, told: list[Callable[[QueueStateChange], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 60.0

    def budget(_: Watchdog, _phase: Phase) -> float:
        return seconds

    monkeypatch.setattr(Watchdog, "budget", budget)
    faults = SlowServer(lambda path, count: path == "/optim_step" and count == 5)
    with trainer(config(tmp_path, url, watchdog=WatchdogPolicy(look_seconds=0.02)), faults) as ref:
        assert faults.waits.wait(30.0)
        for number in (8, 9):
            told[0](change("paused_capacity", number))
        told[0](change("active", 8))
        assert how(ref).waiting == "paused_capacity"
        seconds = 0.05
        for _ in range(50):  # a second of looks
            assert how(ref).rebuilds == 0
            threading.Event().wait(0.02)
        seconds = 60.0
        assert how(ref).rebuilds == 0
        told[0](change("active", 9))
        assert how(ref).waiting is None
        faults.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"


def test_the_end_of_a_pause_by_the_server_ends_no_pause_by_the_user(
    url: str, tmp_path: Path, told: list[Callable[[QueueStateChange], None]]
) -> None:
    gate = Gate(5)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        told[0](change("paused_capacity"))
        until(ref, lambda run: run.waiting is not None)
        ref.ask(messages.Pause(await_timeout=30.0)).unwrap()
        told[0](change("active"))
        assert (how(ref).state, how(ref).waiting) == ("paused", None)
        ref.ask(messages.Resume()).unwrap()
        assert (how(ref).state, how(ref).waiting) == ("training", None)
        gate.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
