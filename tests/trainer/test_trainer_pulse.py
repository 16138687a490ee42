"""What a watcher outside hears of a run: a program that takes its time is no process to be started again."""

from pathlib import Path

import pytest

from support_clients import eventually
from support_trainer import Gate, Program, config, trainer
from tinkex.actors._trainer._pulse import PULSE_FILE, Pulse, read_pulse
from tinkex.actors._trainer._pulse_watch import LOOK_SECONDS, judge_pulse
from tinkex.protocol import messages


def at_a_batch(pulse: Pulse) -> bool:
    """Whether nothing but the program's work is waited for."""
    return [run.phase for run in pulse.runs] == ["batch"]


def test_a_program_that_takes_hours_for_a_batch_is_left_alone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pulse"
    monkeypatch.setenv(PULSE_FILE, str(file))
    gate = Gate(4)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        pulse = eventually(lambda: now if (now := read_pulse(file)) and at_a_batch(now) else None)
        looked, now = None, 0.0
        while now < 4 * 3600.0:
            now += LOOK_SECONDS
            looked = judge_pulse(looked, Pulse(pulse.pid, now, pulse.every_seconds, pulse.runs), now)
            assert looked.verdict == "fine", looked.why
        gate.open.set()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
