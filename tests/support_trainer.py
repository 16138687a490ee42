"""Runs under test: a small program, trainers over the real engine, and what is to be compared of two runs."""

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pykka

from support_clients import Faults
from tinkex.actors._programs._program import Batch
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import committed_sequence, read_updates
from tinkex.actors._trainer._config import TrainerConfig
from tinkex.actors._trainer._trainer import Trainer
from tinkex.actors._trainer._trainer_proxy import TrainerRef
from tinkex.actors.testing import runtime
from tinkex.protocol import (
    AdamParams,
    CheckpointPolicy,
    Datum,
    LoraConfig,
    ModelInput,
    RebuildPolicy,
    RunStatus,
    messages,
)

LORA = LoraConfig(rank=4, seed=1)
QUICK = RebuildPolicy(backoff_seconds=0.01, max_backoff_seconds=0.05)


def rows_of(cursor: int) -> list[int]:
    return [cursor, cursor + 1]


def datum(row: int) -> Datum:
    tokens = list(f"row {row} of {row * row}".encode())
    weights = [0.5 / (len(tokens) - 1)] * (len(tokens) - 1)
    return Datum(ModelInput.from_ints(tokens[:-1]), {"target_tokens": tokens[1:], "weights": weights})


class Program:
    """Two rows in each batch, one micro batch for each; a learning rate that changes with each step."""

    loss_fn = "cross_entropy"
    loss_fn_config: Mapping[str, float] | None = None

    def __init__(
        self,
        updates: int = 12,
        *,
        gate: Callable[[int], None] | None = None,
        stop_below: float | None = None,
        data: str = "squares",
    ) -> None:
        self.updates: int | None = updates
        self.gate = gate
        self.stop_below = stop_below
        self.data = data

    def fingerprint(self) -> dict[str, str]:
        return {"program": "two rows", "data": self.data}

    def first_cursor(self) -> Any:
        return {"row": 0}

    def batch(self, cursor: Any) -> Batch | None:
        row = cursor["row"]
        if self.gate is not None:
            self.gate(row // 2)
        return Batch([[datum(item)] for item in rows_of(row)], {"row": row + 2}, rows_of(row))

    def adam_params(self, update: int) -> AdamParams:
        return AdamParams(learning_rate=1e-2 / (1 + update))

    def finished(self, update: int, metrics: Mapping[str, float]) -> bool:
        return self.stop_below is not None and metrics["loss"] < self.stop_below


class Gate:
    """Holds the program before the batch of one update, until it is opened."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self, update: int) -> None:
        if update >= self.at:
            self.reached.set()
            assert self.open.wait(60.0)


def config(root: Path, url: str, program: Any = None, **options: Any) -> TrainerConfig:
    """Describe a run ``r`` in ``root`` that saves every third update."""
    fields: dict[str, Any] = {
        "run": "r",
        "root": root / "runs",
        "program": program if program is not None else Program(),
        "lora": LORA,
        "service": {"base_url": url, "heartbeat_seconds": 1.0, "state_dir": ""},
        "checkpoints": CheckpointPolicy(every_updates=3),
        "rebuild": QUICK,
    }
    return TrainerConfig(**{**fields, **options})


@contextmanager
def trainer(given: TrainerConfig, faults: Faults | None = None, *, start: bool = True) -> Generator[TrainerRef]:
    """Give a trainer; afterwards no actor of it may be left."""
    before = set(pykka.ActorRegistry.get_all())
    with runtime(http_transport=faults):
        ref = Trainer.start(given, start=start)
        try:
            yield ref
        finally:
            ref.stop()
        for left in set(pykka.ActorRegistry.get_all()) - before:
            assert cast("Any", left).join(20.0), left


def until(ref: TrainerRef, holds: Callable[[RunStatus], bool]) -> RunStatus:
    """Wait until the run's status is as wanted."""
    for _ in range(3000):
        run = ref.ask(messages.Status()).unwrap().run
        assert run is not None
        if holds(run):
            return run
        threading.Event().wait(0.01)  # the status has no event for it
    raise AssertionError(ref.ask(messages.Status()))


def finish(given: TrainerConfig, faults: Faults | None = None) -> Any:
    """Run to the end; return how it ended."""
    with trainer(given, faults) as ref:
        return ref.ask(messages.WaitUntilDone(await_timeout=120.0)).unwrap()


def sequence(root: Path, run: str = "r") -> list[tuple[int, float | None, list[int | str]]]:
    """Return the committed sequence: update, loss, rows."""
    folder = RunFolder(root / "runs", run)
    return [(item.update, item.loss_sum, list(item.rows)) for item in committed_sequence(folder.events)]


def first_losses(root: Path, run: str = "r") -> dict[int, set[float | None]]:
    """Return each update's losses, of all its loggings."""
    folder = RunFolder(root / "runs", run)
    return {update: {item.loss_sum for item in items} for update, items in read_updates(folder.events).items()}


def tensors(engine: Path, path: str) -> dict[str, str]:
    """Return digests of the tensor files of a checkpoint of the engine in ``engine``."""
    rows = sqlite3.connect(engine / "engine.sqlite3").execute("SELECT folder FROM checkpoints WHERE path = ?", (path,))
    ((folder,),) = rows.fetchall()
    files = sorted((engine / "checkpoints" / folder).glob("*.safetensors"))
    assert len(files) == 2, files
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
