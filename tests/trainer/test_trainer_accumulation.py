"""Gradients of several micro batches are one step's or nobody's; two trainers of one process share no run."""

from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from support_clients import Faults
from support_engine_url import engine_url
from support_trainer import Gate, Program, config, finish, first_losses, sequence, tensors, trainer
from tinkex.protocol import CheckpointPolicy, Err, messages


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("engine")
    with engine_url(root) as url:
        yield url, root


@pytest.mark.parametrize("number", [7, 8], ids=["the first micro batch", "the second"])
@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_micro_batch_that_is_refused_leaves_no_step_of_the_rest_in_any_checkpoint(
    engine: tuple[str, Path], tmp_path: Path, number: int, status: int
) -> None:
    (tmp_path / "whole").mkdir()
    every = CheckpointPolicy(every_updates=1)
    whole = finish(config(tmp_path / "whole", engine[0], Program(8), checkpoints=every))

    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        refused = request.url.path.endswith("/forward_backward") and count == number
        return httpx.Response(status, json={"detail": "this one is refused"}) if refused else None

    with trainer(config(tmp_path, engine[0], Program(8), checkpoints=every), Faults(rule)) as ref:
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        if status == 400:
            assert isinstance(ended, Err), "what is refused for good fails the run"
            ref.ask(messages.Start()).unwrap()
            ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        done = ended.unwrap()
    assert sequence(tmp_path) == sequence(tmp_path / "whole")
    assert all(len(losses) == 1 for losses in first_losses(tmp_path).values())
    assert done.durable_path is not None
    assert tensors(engine[1], done.durable_path) == tensors(engine[1], str(whole.durable_path))


def test_of_two_trainers_of_one_run_in_one_process_the_later_one_has_it(
    engine: tuple[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "whole").mkdir()
    finish(config(tmp_path / "whole", engine[0]))
    gate = Gate(5)
    with trainer(config(tmp_path, engine[0], Program(gate=gate))) as first:
        assert gate.reached.wait(30.0)
        with trainer(config(tmp_path, engine[0])) as second:
            gate.open.set()
            assert second.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().state == "finished"
        lost = first.ask(messages.WaitUntilDone(await_timeout=60.0))
        assert isinstance(lost, Err)
        assert lost.error.kind == "fenced"
    assert sequence(tmp_path) == sequence(tmp_path / "whole")
