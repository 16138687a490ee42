"""Trainers in a seeded world, over a server that fails: whatever happens in whichever order, the run is the same run.

The server's weights tell which rows trained them: no row twice, none skipped, in order, with the rate of its step.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pykka
import pytest

from support_train_server import Faults, TrainServer
from support_trainer import Program, config, first_losses, sequence
from tinkex.actors import Trainer, TrainerRef
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import read_updates
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import CheckpointPolicy, RebuildPolicy, RetentionPolicy, messages

UPDATES = 12
PATIENT = RebuildPolicy(max_rebuilds=1000, backoff_seconds=1.0)
HOUR = 3_600.0


class World:
    def __init__(self, root: Path, server: TrainServer, run_for: Callable[[float], None]) -> None:
        self.root = root
        self.server = server
        self.run_for = run_for

    def start(self, program: Any = None, **options: Any) -> TrainerRef:
        given = {"rebuild": PATIENT, "service": {"base_url": "http://127.0.0.1:1", "state_dir": ""}, **options}
        return Trainer.start(config(self.root, "", program or Program(UPDATES), **given))

    def finish(self, ref: TrainerRef, seconds: float = 24 * HOUR) -> Any:
        return ref.ask(messages.WaitUntilDone(await_timeout=seconds)).unwrap()

    def check(self, ended: Any, updates: int = UPDATES) -> None:
        assert ended.state == "finished", ended
        weights = self.server.checkpoints[ended.durable_path]
        wanted = tuple(((2 * n, 2 * n + 1), 1e-2 / (1 + n)) for n in range(updates))
        assert weights.steps == wanted, "the weights are not those of the rows, once each and in order"
        assert weights.pending == ()
        assert weights.optimizer
        assert [rows for _, _, rows in sequence(self.root)] == [list(rows) for rows, _ in wanted]
        assert all(len(losses) == 1 for losses in first_losses(self.root).values()), "a replayed loss differs"
        latest = RunFolder(self.root / "runs", "r").manifest_names()[-1]
        assert RunFolder(self.root / "runs", "r").read_manifest(latest).path == ended.durable_path


@contextmanager
def world(root: Path, seed: int, faults: Faults | None = None) -> Generator[World]:
    """Give a world; at its end no actor, session or model may be left."""
    server = TrainServer(faults)
    with SeededScheduler(seed, http_transport=server) as scheduler:
        yield World(root, server, scheduler.run_for)
        for left in pykka.ActorRegistry.get_all():
            if left.actor_class is Trainer:
                left.stop()
        scheduler.run_for(600.0)
        assert pykka.ActorRegistry.get_all() == []
    assert (server.sessions, dict(server.models)) == (set(), {})


@pytest.mark.parametrize("seed", range(6))
def test_a_run_to_which_nothing_happens(tmp_path: Path, seed: int) -> None:
    with world(tmp_path, seed) as here:
        here.check(here.finish(here.start()))


@pytest.mark.parametrize("seed", range(60))
def test_a_run_to_which_everything_happens_is_the_same_run(tmp_path: Path, seed: int) -> None:
    faults = Faults(seed=seed, lose=0.03, busy=0.05, end_session=0.02, fail=0.02)
    with world(tmp_path, seed, faults) as here:
        here.check(here.finish(here.start(depth=1 + seed % 4)))
        assert here.server.struck or seed, "a world in which nothing went wrong shows nothing"


@pytest.mark.parametrize("seed", range(20))
def test_a_trainer_that_is_killed_again_and_again_ends_the_same_run(tmp_path: Path, seed: int) -> None:
    with world(tmp_path, seed, Faults(seed=seed, lose=0.02, busy=0.03, end_session=0.01)) as here:
        for kill in range(4):
            ref = here.start(depth=1 + seed % 3)
            here.run_for(0.2 + 0.13 * ((7 * seed + 3 * kill) % 5))
            ref.kill()
        here.check(here.finish(here.start()))


@pytest.mark.parametrize("seed", range(10))
def test_requests_that_are_never_answered_are_noticed_and_the_run_rebuilt(tmp_path: Path, seed: int) -> None:
    with world(tmp_path, seed, Faults(seed=seed, hang=0.03, most=3)) as here:
        here.check(here.finish(here.start()))


@pytest.mark.parametrize("seed", range(2))
def test_a_server_that_is_down_for_hours_ends_no_run(tmp_path: Path, seed: int) -> None:
    faults = Faults(down=[(0.5, 3 * HOUR)])
    with world(tmp_path, seed, faults) as here:
        ref = here.start(rebuild=RebuildPolicy())
        here.run_for(HOUR)
        status = ref.ask(messages.Status()).unwrap().run
        assert status is not None
        assert status.state == "restoring"
        assert "the server" in (status.reason or "") or "reach" in (status.reason or ""), status.reason
        here.check(here.finish(ref))


@pytest.mark.parametrize("seed", range(2))
def test_a_pause_by_the_server_is_no_stall_and_brings_a_save(tmp_path: Path, seed: int) -> None:
    with world(tmp_path, seed) as here:
        ref = here.start(checkpoints=CheckpointPolicy(every_updates=None))
        here.run_for(0.4)
        here.server.paused_until = HOUR
        here.run_for(HOUR / 2)
        status = ref.ask(messages.Status()).unwrap().run
        assert status is not None
        assert status.waiting == "paused_capacity"
        assert "paused by the server for capacity for 29 min" in ref.ask(messages.Why()).unwrap().sentence
        ended = here.finish(ref)
        here.check(ended)
        status = ref.ask(messages.Status()).unwrap().run
        assert status is not None
        assert status.rebuilds == 0
        names = RunFolder(here.root / "runs", "r").manifest_names()
        assert len(names) == 2, "one for the pause, one for the end"


@pytest.mark.parametrize("seed", range(2))
def test_checkpoints_that_expire_are_renewed_for_as_long_as_a_run_is_paused(tmp_path: Path, seed: int) -> None:
    policy = CheckpointPolicy(every_updates=2, ttl_seconds=600)
    with world(tmp_path, seed) as here:
        ref = here.start(checkpoints=policy, retention=RetentionPolicy(keep_last=2))
        while ref.ask(messages.Status()).unwrap().run.durable_update is None:  # type: ignore[union-attr]
            here.run_for(0.1)
        paused = ref.ask(messages.Pause()).unwrap()
        here.run_for(2 * HOUR)
        assert len(here.server.renewed) >= 20, "at each half of its life"
        ref.ask(messages.Resume()).unwrap()
        ended = here.finish(ref)
        here.check(ended)
        assert len(here.server.checkpoints) == 2
        assert paused.durable_update is not None


@pytest.mark.parametrize("seed", range(8))
def test_two_trainers_of_one_run_end_with_one(tmp_path: Path, seed: int) -> None:
    with world(tmp_path, seed) as here:
        first = here.start()
        here.run_for(0.1 * (1 + seed))
        second = here.start()
        here.check(here.finish(second))
        error = first.ask(messages.WaitUntilDone(await_timeout=600.0))
        assert error.error.kind == "fenced"  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(10))
def test_a_checkpoint_counts_only_once_the_results_of_its_updates_are_in_the_log(tmp_path: Path, seed: int) -> None:
    """Whenever a trainer is killed: what a manifest holds was written down before it."""
    with world(tmp_path, seed) as here:
        here.server.late_steps = 0.7
        folder = RunFolder(tmp_path / "runs", "r")
        for kill in range(6):
            ref = here.start(depth=2, checkpoints=CheckpointPolicy(every_updates=1))
            here.run_for(1.0 + 0.23 * ((3 * seed + kill) % 9))
            ref.kill()
            logged = set(read_updates(folder.events))
            for name in folder.manifest_names():
                update = folder.read_manifest(name).update
                assert set(range(1, update + 1)) <= logged, name
        here.check(here.finish(here.start()))
