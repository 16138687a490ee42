"""Runs on the main thread: restarted when they crash, stopped by a signal so that they can be resumed."""

import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pykka
import pytest

from support_engine_url import engine_url
from support_trainer import Gate, Program, config, sequence
from tinkex.actors import RunStore, Trainer, run_until_done, trainer_name, whereis
from tinkex.protocol import CheckpointPolicy, TinkexError


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("engine")
    with engine_url(root) as url:
        yield url, root


@pytest.fixture(autouse=True)
def nothing_left() -> Generator[None]:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    before = set(pykka.ActorRegistry.get_all())
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    for left in set(pykka.ActorRegistry.get_all()) - before:
        ref: Any = left
        assert ref.join(20.0), left


def when(gate: Gate, act: Any) -> threading.Thread:
    """Act when the gate is reached, on another thread, and open it."""

    def run() -> None:
        assert gate.reached.wait(30.0)
        act()
        gate.open.set()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_several_runs_end_with_status_0(engine: tuple[str, Path], tmp_path: Path) -> None:
    configs = [config(tmp_path, engine[0], Program(3), run=name) for name in ("a", "b", "c")]
    outcomes = run_until_done(configs)
    assert [(item.run, item.state, item.status, item.durable_update) for item in outcomes] == [
        (name, "finished", 0, 3) for name in ("a", "b", "c")
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops_and_the_same_call_goes_on(
    engine: tuple[str, Path], tmp_path: Path, number: signal.Signals
) -> None:
    gate = Gate(5)
    told: list[str] = []
    thread = when(gate, lambda: os.kill(os.getpid(), number))
    (outcome,) = run_until_done(config(tmp_path, engine[0], Program(gate=gate)), on_signal=told.append)
    thread.join()
    assert told == [number.name]
    assert (outcome.state, outcome.status) == ("stopped", 75)
    assert outcome.durable_update == outcome.update >= 3
    assert Trainer.run_until_done(config(tmp_path, engine[0])).status == 0
    assert [row for _, _, rows in sequence(tmp_path) for row in rows] == list(range(24))


def test_a_run_that_cannot_save_in_time_is_left_and_resumable(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(0)  # the program hangs: nothing is trained, nothing can be saved

    def hurry() -> None:
        assert gate.reached.wait(30.0)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=hurry)
    thread.start()
    (outcome,) = run_until_done(config(tmp_path, engine[0], Program(gate=gate)), grace_seconds=1.0)
    thread.join()
    assert outcome.status == 75
    gate.open.set()


def test_a_second_signal_ends_at_once(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(4)

    def twice(_name: str) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    thread = when(gate, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as ended:
        run_until_done(config(tmp_path, engine[0], Program(gate=gate)), on_signal=twice)
    thread.join()
    assert ended.value.code == 143


def test_a_trainer_that_crashes_is_started_again_and_restores(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(6)
    given = config(tmp_path, engine[0], Program(gate=gate))

    def kill() -> None:
        ref = whereis(trainer_name(given))
        assert ref is not None
        ref.kill()

    thread = when(gate, kill)
    (outcome,) = run_until_done(given)
    thread.join()
    assert (outcome.state, outcome.status) == ("finished", 0)
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))


def test_a_failed_run_has_status_1_and_says_why(engine: tuple[str, Path], tmp_path: Path) -> None:
    class Broken(Program):
        def batch(self, cursor: Any) -> Any:
            raise ZeroDivisionError(f"no batch at {cursor}")

    (outcome,) = run_until_done(config(tmp_path, engine[0], Broken()))
    assert outcome.status == 1
    assert outcome.error is not None
    assert "no batch at" in outcome.error.message


def test_a_root_that_is_a_file_is_refused_before_anything_runs(engine: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(TinkexError) as refused:
        run_until_done(config(tmp_path, engine[0]))
    assert refused.value.kind == "validation"


def test_it_is_for_the_main_thread(engine: tuple[str, Path], tmp_path: Path) -> None:
    errors: list[TinkexError] = []

    def elsewhere() -> None:
        try:
            run_until_done(config(tmp_path, engine[0]))
        except TinkexError as error:
            errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert errors[0].kind == "validation"
    assert not (tmp_path / "runs").exists()


def test_two_runs_of_one_name_are_refused_before_anything_runs(engine: tuple[str, Path], tmp_path: Path) -> None:
    given = [config(tmp_path, engine[0], Program(count), run=name) for count, name in enumerate(("a", "b", "a"), 2)]
    with pytest.raises(TinkexError, match="'a'") as raised:
        run_until_done(given)
    assert raised.value.kind == "validation"
    assert not (tmp_path / "runs").exists()


def test_a_run_that_was_taken_over_is_not_to_be_started_again(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(4)

    def take() -> None:
        store = RunStore.open(tmp_path / "runs")
        store.take("r", reason="a test takes it")
        store.close()

    thread = when(gate, take)
    (outcome,) = run_until_done(config(tmp_path, engine[0], Program(gate=gate)))
    thread.join()
    assert outcome.error is not None
    assert (outcome.error.kind, outcome.status) == ("fenced", 1)


def test_a_trainer_that_is_killed_more_often_than_its_supervisor_starts_it_ends_the_call(
    engine: tuple[str, Path], tmp_path: Path
) -> None:
    given = config(tmp_path, engine[0], Program(gate=lambda _update: _kill(given)))
    (outcome,) = run_until_done(given)
    assert (outcome.state, outcome.status) == ("failed", 75)
    assert run_until_done(config(tmp_path, engine[0]))[0].status == 0


def _kill(given: Any) -> None:
    ref = whereis(trainer_name(given))
    assert ref is not None
    ref.kill()


def test_a_signal_saves_only_where_the_policy_wants_it(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(5)
    thread = when(gate, lambda: os.kill(os.getpid(), signal.SIGTERM))
    policy = CheckpointPolicy(every_updates=None, on_stop=False)
    (outcome,) = run_until_done(config(tmp_path, engine[0], Program(gate=gate), checkpoints=policy))
    thread.join()
    assert (outcome.state, outcome.status, outcome.durable_update) == ("stopped", 75, None)
