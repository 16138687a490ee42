"""A trainer over the real engine: whatever happens to it, the run ends as the one to which nothing happened."""

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from support_clients import Faults
from support_engine_url import engine_url, health
from support_trainer import Gate, Program, config, finish, first_losses, sequence, tensors, trainer
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import CheckpointPolicy, Err, Ok, messages


class Undisturbed(NamedTuple):
    sequence: list[Any]
    tensors: dict[str, str]
    path: str


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("engine")
    with engine_url(root) as url:
        yield url, root


@pytest.fixture(scope="module")
def undisturbed(engine: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    url, root = engine
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = finish(config(folder, url))
    assert ended.state == "finished"
    assert ended.update == ended.durable_update == 12
    found = sequence(folder)
    assert [update for update, _, _ in found] == list(range(1, 13))
    assert [row for _, _, rows in found for row in rows] == list(range(24))
    return Undisturbed(found, tensors(root, ended.durable_path), ended.durable_path)


def check(engine: tuple[str, Path], folder: Path, ended: Any, undisturbed: Undisturbed) -> None:
    assert ended.state == "finished", ended
    assert sequence(folder) == undisturbed.sequence
    assert all(len(losses) == 1 for losses in first_losses(folder).values()), "a replayed loss differs"
    assert tensors(engine[1], ended.durable_path) == undisturbed.tensors


def test_a_run_that_is_stopped_goes_on_exactly(
    engine: tuple[str, Path], tmp_path: Path, undisturbed: Undisturbed
) -> None:
    gate = Gate(5)
    with trainer(config(tmp_path, engine[0], Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        stopping = ref.ask(messages.Stop(), block=False)
        gate.open.set()
        stopped = stopping.get().unwrap()
    assert stopped.state == "stopped"
    assert stopped.resumable
    assert stopped.update == stopped.durable_update
    assert 3 <= stopped.update <= 5, "what was on its way is done, and nothing more"
    check(engine, tmp_path, finish(config(tmp_path, engine[0])), undisturbed)


def test_a_run_whose_trainer_is_killed_goes_on_from_its_last_checkpoint(
    engine: tuple[str, Path], tmp_path: Path, undisturbed: Undisturbed
) -> None:
    gate = Gate(8)
    with trainer(config(tmp_path, engine[0], Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        ref.kill()
        gate.open.set()
    check(engine, tmp_path, finish(config(tmp_path, engine[0])), undisturbed)
    assert "e00002-u000000012" in RunFolder(tmp_path / "runs", "r").manifest_names()


def test_a_run_that_was_killed_before_its_first_checkpoint_begins_again_as_the_same_run(
    engine: tuple[str, Path], tmp_path: Path, undisturbed: Undisturbed
) -> None:
    gate = Gate(2)
    with trainer(config(tmp_path, engine[0], Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        ref.kill()
        gate.open.set()
    check(engine, tmp_path, finish(config(tmp_path, engine[0])), undisturbed)


def test_a_run_whose_session_is_lost_is_rebuilt(
    engine: tuple[str, Path], tmp_path: Path, undisturbed: Undisturbed
) -> None:
    gate = Gate(7)
    with trainer(config(tmp_path, engine[0], Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        store = RunStore.open(tmp_path / "runs")
        taken = store.take("r", reason="to read the sessions of the test")
        store.close()
        assert taken.epoch == 2
        gate.open.set()
        # the test holds the run now: the trainer finds out, and changes nothing
        fenced = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        assert isinstance(fenced, Err)
        assert fenced.error.kind == "fenced"
    with trainer(config(tmp_path, engine[0])) as ref:
        check(engine, tmp_path, ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap(), undisturbed)


def test_lost_replies_and_a_lost_session_on_the_way_change_nothing(
    engine: tuple[str, Path], tmp_path: Path, undisturbed: Undisturbed
) -> None:
    finished: list[str] = []

    def rule(request: httpx.Request, count: int) -> "str | httpx.Response | None":
        path = request.url.path
        if path.endswith("/optim_step") and count in (2, 5):
            return "lose"
        if path.endswith("/forward_backward") and count == 13 and not finished:
            finished.append(path)
            gone = {"detail": "this session is gone"}
            return httpx.Response(410, json=gone)
        return None

    given = config(tmp_path, engine[0])
    with trainer(given, Faults(rule)) as ref:
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap()
        status = ref.ask(messages.Status()).unwrap().run
    assert status is not None
    assert finished
    assert status.rebuilds == 1
    check(engine, tmp_path, ended, undisturbed)


def test_pause_holds_the_run_between_updates_and_resume_goes_on(
    engine: tuple[str, Path], tmp_path: Path, undisturbed: Undisturbed
) -> None:
    gate = Gate(4)
    with trainer(config(tmp_path, engine[0], Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        pausing = ref.ask(messages.Pause(), block=False)
        gate.open.set()
        paused = pausing.get().unwrap()
        assert paused.state == "paused"
        assert 2 <= paused.update <= 4
        assert ref.ask(messages.Status()).unwrap().state == "paused"
        committed = ref.ask(messages.CheckpointNow()).unwrap()
        assert committed.update == paused.update
        assert ref.ask(messages.CheckpointNow()).unwrap() == committed, "nothing was trained since"
        assert ref.ask(messages.Resume()).unwrap().state == "training"
        check(engine, tmp_path, ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap(), undisturbed)


def test_a_checkpoint_on_demand_holds_what_was_sent(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(4)
    policy = CheckpointPolicy(every_updates=None, on_stop=False)
    with trainer(config(tmp_path, engine[0], Program(gate=gate), checkpoints=policy)) as ref:
        assert gate.reached.wait(30.0)
        saving = ref.ask(messages.CheckpointNow(), block=False)
        gate.open.set()
        committed = saving.get().unwrap()
        stopped = ref.ask(messages.Stop(save=False)).unwrap()
    manifest = RunFolder(tmp_path / "runs", "r").read_manifest(committed.manifest)
    assert manifest.update == committed.update == stopped.durable_update
    assert manifest.cursor == {"row": 2 * committed.update}
    assert stopped.durable_path == committed.path


def test_before_the_first_update_there_is_nothing_to_save(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(0)
    with trainer(config(tmp_path, engine[0], Program(gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        match ref.ask(messages.CheckpointNow()):
            case Err(error):
                assert error.kind == "conflict"
            case Ok(saved):
                raise AssertionError(saved)
        gate.open.set()


def test_the_stop_rule_ends_the_run_at_the_same_update_when_it_is_resumed(
    engine: tuple[str, Path], tmp_path: Path, undisturbed: Undisturbed
) -> None:
    losses = [loss for _, loss, _ in undisturbed.sequence]
    below = losses[3] * 1.0001
    first = next(index for index, loss in enumerate(losses, 1) if loss < below)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = finish(config(tmp_path / "a", engine[0], Program(stop_below=below)))
    assert whole.update == first + 1, "one more was on its way"
    gate = Gate(first)
    with trainer(config(tmp_path / "b", engine[0], Program(stop_below=below, gate=gate))) as ref:
        assert gate.reached.wait(30.0)
        ref.kill()
        gate.open.set()
    resumed = finish(config(tmp_path / "b", engine[0], Program(stop_below=below)))
    assert resumed.update == whole.update
    assert sequence(tmp_path / "b") == sequence(tmp_path / "a")


def test_a_finished_run_that_is_started_again_is_finished(engine: tuple[str, Path], tmp_path: Path) -> None:
    first = finish(config(tmp_path, engine[0], Program(2)))
    again = finish(config(tmp_path, engine[0], Program(2)))
    assert again.state == "finished"
    assert again.durable_path == first.durable_path
    longer = finish(config(tmp_path, engine[0], Program(4)))
    assert longer.update == 4


def test_nothing_is_left_on_the_server(tmp_path: Path) -> None:
    with engine_url(tmp_path / "engine") as url:
        finish(config(tmp_path, url, Program(2)))
        assert health(url)["models"] == 0


def test_a_run_that_is_stopped_while_it_restores_says_what_is_durable(engine: tuple[str, Path], tmp_path: Path) -> None:
    finish(config(tmp_path, engine[0], Program(3)))
    reached = threading.Event()

    def rule(request: httpx.Request, count: int) -> "str | httpx.Response | None":
        if request.url.path.endswith("/weights_info"):
            reached.set()
            return "hold"
        return None

    with trainer(config(tmp_path, engine[0], Program(9)), Faults(rule)) as ref:
        assert reached.wait(30.0)
        stopped = ref.ask(messages.Stop()).unwrap()
    assert (stopped.state, stopped.update, stopped.durable_update) == ("stopped", 3, 3)
