"""Each word that a trainer is told is answered in each state that a run can be in."""

import errno
from pathlib import Path
from typing import Any

import pytest

from support_clients import Faults
from support_slow_server import SlowServer
from support_trainer import Gate, Program, config, trainer, until
from tinkex.actors._trainer._trainer_proxy import TrainerRef
from tinkex.protocol import CheckpointPolicy, Err, Ok, Result, messages

SECONDS = 20.0


def told(ref: TrainerRef, message: Any) -> str:
    """Return ``ok``, or the kind of the error."""
    reply: Any = ref.ask(message, block=False)
    result: Result[Any] = reply.get(timeout=SECONDS)
    return "ok" if isinstance(result, Ok) else result.error.kind


ASKED = (messages.Status(), messages.Why())


def test_idle(url: str, tmp_path: Path) -> None:
    with trainer(config(tmp_path, url, Program(2)), start=False) as ref:
        assert [told(ref, message) for message in ASKED] == ["ok", "ok"]
        assert told(ref, messages.Pause()) == "conflict"
        assert told(ref, messages.Resume()) == "conflict"
        assert told(ref, messages.CheckpointNow()) == "conflict"
        assert ref.ask(messages.Stop()).unwrap().state == "idle"
        awaited = ref.ask(messages.WaitUntilDone(), block=False)
        assert told(ref, messages.Start()) == "ok"
        assert awaited.get(timeout=SECONDS).unwrap().state == "finished"


def test_restoring(url: str, tmp_path: Path) -> None:
    faults = Faults(lambda request, _count: "hold" if request.url.path.endswith("/create_model") else None)
    with trainer(config(tmp_path, url), faults) as ref:
        assert faults.held.wait(30.0)
        assert [told(ref, message) for message in (*ASKED, messages.Start())] == ["ok", "ok", "ok"]
        assert told(ref, messages.Pause()) == "conflict"
        assert told(ref, messages.Resume()) == "conflict"
        assert told(ref, messages.CheckpointNow()) == "conflict"
        awaited = ref.ask(messages.WaitUntilDone(), block=False)
        assert ref.ask(messages.Stop(), block=False).get(timeout=SECONDS).unwrap().state == "stopped"
        assert awaited.get(timeout=SECONDS).unwrap().state == "stopped"


def test_training_paused_and_stopping(url: str, tmp_path: Path) -> None:
    slow: list[bool] = []
    faults = SlowServer(lambda path, _count: path == "/save_weights" and bool(slow))
    first, second = Gate(5), Gate(9)

    def gate(update: int) -> None:
        first(update)
        second(update)

    given = config(tmp_path, url, Program(gate=gate), checkpoints=CheckpointPolicy(every_updates=None))
    with trainer(given, faults) as ref:
        assert first.reached.wait(30.0)
        until(ref, lambda run: run.update >= 3)
        assert (
            told(ref, messages.Start()) == told(ref, messages.Resume()) == told(ref, messages.CheckpointNow()) == "ok"
        )
        assert told(ref, messages.Pause()) == told(ref, messages.Pause()) == "ok"
        assert told(ref, messages.CheckpointNow()) == "ok"
        assert ref.ask(messages.Status()).unwrap().state == "paused"
        assert [told(ref, message) for message in (*ASKED, messages.Start())] == ["ok", "ok", "ok"]
        assert told(ref, messages.Resume()) == "ok"
        first.open.set()
        assert second.reached.wait(30.0)
        until(ref, lambda run: run.update >= 7)
        slow.append(True)
        stops = [ref.ask(messages.Stop(), block=False), ref.ask(messages.Stop(), block=False)]
        assert faults.waits.wait(30.0)
        assert ref.ask(messages.Status()).unwrap().state == "stopping"
        assert told(ref, messages.Pause()) == told(ref, messages.Resume()) == "conflict"
        assert told(ref, messages.Start()) == "ok"
        asked = ref.ask(messages.CheckpointNow(), block=False)
        faults.open.set()
        second.open.set()
        assert {stop.get(timeout=SECONDS).unwrap().state for stop in stops} == {"stopped"}
        assert isinstance(asked.get(timeout=SECONDS), Ok | Err)


@pytest.mark.parametrize("end", ["finished", "stopped", "failed"])
def test_ended(url: str, tmp_path: Path, end: str) -> None:
    class Failing(Program):
        def batch(self, cursor: Any) -> Any:
            raise OSError(errno.EIO, "the data are gone")

    gate = Gate(0 if end == "stopped" else 100)
    program = Failing() if end == "failed" else Program(2, gate=gate)
    with trainer(config(tmp_path, url, program)) as ref:
        if end == "stopped":
            assert gate.reached.wait(30.0)
            stopped = ref.ask(messages.Stop(), block=False)
            gate.open.set()
            assert stopped.get(timeout=SECONDS).unwrap().state == "stopped"
        expected = "program_failed" if end == "failed" else "ok"
        assert told(ref, messages.WaitUntilDone()) == told(ref, messages.WaitUntilDone()) == expected
        assert [told(ref, message) for message in ASKED] == ["ok", "ok"]
        assert told(ref, messages.Pause()) == told(ref, messages.Resume()) == "conflict"
        assert told(ref, messages.CheckpointNow()) == "conflict"
        assert ref.ask(messages.Stop()).unwrap().state == end
        assert told(ref, messages.Start()) == "ok"
        assert told(ref, messages.WaitUntilDone()) == expected


def test_a_program_that_never_returns_keeps_no_stop_and_no_end_waiting(url: str, tmp_path: Path) -> None:
    gate = Gate(5)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        left = ref.ask(messages.Stop(), block=False).get(timeout=SECONDS).unwrap()
        assert (left.state, left.durable_update) == ("stopped", left.update)
        ref.stop(shutdown=0.5)
        assert not ref.is_alive()
        gate.open.set()
