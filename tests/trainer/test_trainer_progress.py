"""What counts as progress between rebuilds: behind a roll back, the updates from there on."""

from pathlib import Path

import httpx
import pytest

from support_clients import Faults
from support_trainer import Program, config, sequence, trainer
from tinkex.actors._trainer._loss_watch import Bad, LossWatch
from tinkex.protocol import CheckpointPolicy, LossGuard, RebuildPolicy, messages


def test_a_run_that_went_far_back_and_loses_its_session_now_and_then_gets_on(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = LossWatch.see
    bad, ends, gone = [13], [5, 10], [False]

    def once(self: LossWatch, update: int, loss: float) -> Bad | None:
        return Bad(bad.pop(), loss, "wild") if update in bad else see(self, update, loss)

    def reach(update: int) -> None:
        if not bad and update in ends:
            ends.remove(update)
            gone[0] = True

    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        if not (gone[0] and request.url.path.endswith("/optim_step")):
            return None
        gone[0] = False
        return httpx.Response(410, json={"detail": "this session is gone"})

    monkeypatch.setattr(LossWatch, "see", once)
    given = config(
        tmp_path,
        url,
        Program(14, gate=reach),
        checkpoints=CheckpointPolicy(every_updates=1),
        loss_guard=LossGuard(roll_back=100),
        rebuild=RebuildPolicy(max_rebuilds=1, backoff_seconds=0.01, max_backoff_seconds=0.05),
    )
    with trainer(given, Faults(rule)) as ref:
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
        run = ref.ask(messages.Status()).unwrap().run
    assert run is not None
    assert (run.rollbacks, run.rebuilds, ends) == (1, 2, [])
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 15))
