"""Our clients on an engine that misbehaves on request: slower, and otherwise as if nothing had happened."""

from pathlib import Path
from typing import Any

from support_clients import base_model, create, data, service
from support_engine_url import engine_url
from tinkex.engine import FaultPlan
from tinkex.protocol import AdamParams, messages

RATES = {"delay": 0.05, "error": 0.02, "rate_limit": 0.1, "lost_reply": 0.1, "slow_body": 0.2, "capacity_pause": 0.1}


def run(url: str) -> tuple[list[float], list[float]]:
    """Train, save, train on, and train the same from the checkpoint; return both lists of losses."""
    with service(url) as (ref, faults):
        assert base_model(ref)
        training = create(ref)
        losses = [step(training) for _ in range(3)]
        saved = training.ask(messages.SaveState("half-way")).unwrap()
        losses += [step(training) for _ in range(2)]
        assert set(faults.seq_ids()) == set(range(1, 12)), "5 steps of two requests and a save: no gap, none spent"
        resumed = ref.ask(messages.CreateTrainingClientFromState(saved.path, optimizer=True)).unwrap()
        again = [step(resumed) for _ in range(2)]
    return losses, again


def step(training: Any) -> float:
    passed = training.ask(messages.ForwardBackward(data()), block=False)
    training.ask(messages.OptimStep(AdamParams(learning_rate=1e-2))).unwrap()
    return float(passed.get().unwrap().metrics["loss:sum"])


def test_the_losses_are_those_of_an_engine_without_faults(tmp_path: Path) -> None:
    plan = FaultPlan(RATES, 4)
    with engine_url(tmp_path / "sound") as url:
        expected = run(url)
    with engine_url(tmp_path / "faulty", faults=plan) as url:
        assert run(url) == expected
    assert expected[0][3:] == expected[1]
    assert len({hit.kind for hit in plan.trace}) >= 4, "the plan was to hurt"
