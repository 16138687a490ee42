"""The last that a run's store hears of it is how it ended, however soon its process is gone then."""

from pathlib import Path

import pytest

from support_trainer import Gate, Program, config, trainer
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import messages


def test_a_stop_without_a_save_is_written_down_before_the_trainer_is_gone(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.actors._trainer._rounds.BEAT_SECONDS", 3600.0)  # none comes by itself
    gate = Gate(4)
    with trainer(config(tmp_path, url, Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        gate.open.set()
        assert ref.ask(messages.Stop(save=False)).unwrap().state == "stopped"
    store = RunStore.open(tmp_path / "runs")
    row = store.run("r")
    store.close()
    assert row is not None
    assert row.status is not None
    assert row.status.state == "stopped"
