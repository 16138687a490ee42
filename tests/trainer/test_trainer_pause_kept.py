"""A run that its user has paused stays so when it must be rebuilt."""

from pathlib import Path

import httpx
import pytest

from support_slow_server import SlowServer
from support_trainer import Gate, Program, config, sequence, trainer, until
from tinkex.protocol import messages


class LosesWeights(SlowServer):
    """Says once, when ``lost`` is set, that the weights are gone; and holds the session that is made then."""

    def __init__(self) -> None:
        super().__init__(lambda path, count: path == "/create_session" and count == 2)
        self.lost = False
        self.rule = self._rule

    def _rule(self, request: httpx.Request, _count: int) -> httpx.Response | None:
        parts = request.url.path.split("/")
        if not self.lost or request.method != "GET" or parts[-2] != "training_runs":
            return None
        self.lost = False
        told = {"training_run_id": parts[-1], "base_model": "m", "model_owner": "me", "is_lora": True}
        return httpx.Response(200, json={**told, "last_request_time": "2026-01-01T00:00:00Z", "corrupted": True})


@pytest.mark.parametrize("when", ["restored", "restoring"])
def test_a_rebuild_ends_no_pause_and_a_resume_does(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr("tinkex.actors._trainer._vigil.CORRUPTED_SECONDS", 0.05)
    gate = Gate(4)
    server = LosesWeights()
    with trainer(config(tmp_path, url, Program(gate=gate)), server) as ref:
        assert gate.reached.wait(30.0)
        ref.ask(messages.Pause()).unwrap()
        gate.open.set()
        server.lost = True
        assert server.waits.wait(30.0)
        assert ref.ask(messages.Status()).unwrap().state == "restoring"
        if when == "restoring":
            ref.ask(messages.Resume()).unwrap()
        server.open.set()
        if when == "restored":
            run = until(ref, lambda run: run.epoch == 2 and run.state not in ("restoring", "training"))
            assert (run.state, run.update) == ("paused", run.durable_update or 0)
            ref.ask(messages.Resume()).unwrap()
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))
