"""The two that are compared: the trainer, and a bare loop over the same client, with the same program and server."""

from collections import deque
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from tinkex.actors import ServiceClient
from tinkex.actors._programs._program import Batch
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import committed_sequence
from tinkex.actors._trainer._config import TrainerConfig
from tinkex.actors._trainer._trainer import Trainer
from tinkex.actors.testing import runtime
from tinkex.protocol import (
    AdamParams,
    CheckpointPolicy,
    Datum,
    ModelInput,
    RetentionPolicy,
    messages,
)
from trainer_bench.fake import URL, FakeServer

NO_CHECKPOINTS: Final = CheckpointPolicy(every_updates=None, on_pause=False, on_stop=False)
KEEP_ALL: Final = RetentionPolicy()
READY: Final = 8
"""Batches that are made before; they come in turn."""


class ReadyMade:
    """A program whose batches were made before the run, so that both sides have them for next to nothing."""

    loss_fn = "cross_entropy"
    loss_fn_config: Mapping[str, float] | None = None

    def __init__(self, updates: int, rows: int, tokens: int) -> None:
        self.updates: int | None = updates
        self._data = [[_datum(batch * rows + row, tokens) for row in range(rows)] for batch in range(READY)]

    def fingerprint(self) -> dict[str, str]:
        return {"program": "ready made"}

    def first_cursor(self) -> Any:
        return {"batch": 0}

    def batch(self, cursor: Any) -> Batch | None:
        number: int = cursor["batch"]
        return Batch([self._data[number % READY]], {"batch": number + 1}, [number])

    def adam_params(self, update: int) -> AdamParams:
        return AdamParams(learning_rate=1e-3 / (1 + update))

    def finished(self, update: int, metrics: Mapping[str, float]) -> bool:
        del update, metrics
        return False


def _datum(number: int, tokens: int) -> Datum:
    ids = [(number + place) % 256 for place in range(tokens + 1)]
    return Datum(ModelInput.from_ints(ids[:-1]), {"target_tokens": ids[1:], "weights": [1.0] * tokens})


class Logged(NamedTuple):
    """What a supervised run left in its folder."""

    updates: list[int]
    """Of the committed sequence."""
    manifests: int
    loss: float
    """The sum of the logged losses."""


def supervised(
    server: FakeServer,
    program: ReadyMade,
    depth: int,
    checkpoints: CheckpointPolicy = NO_CHECKPOINTS,
    retention: RetentionPolicy = KEEP_ALL,
    root: Path | None = None,
) -> Logged:
    """Run the program under a trainer, with its log and its status, to its end."""
    with TemporaryDirectory(prefix="tinkex-bench-", dir=root) as place:
        config = TrainerConfig(
            run="bench",
            root=place,
            program=program,
            service={"base_url": URL, "state_dir": ""},
            checkpoints=checkpoints,
            retention=retention,
            depth=depth,
        )
        with runtime(http_transport=server):
            ref = Trainer.start(config)
            try:
                ref.ask(messages.WaitUntilDone()).unwrap()
            finally:
                ref.stop()
        folder = RunFolder(Path(place), "bench")
        records = list(committed_sequence(folder.events))
        loss = sum(record.loss_sum or 0.0 for record in records)
        return Logged([record.update for record in records], len(folder.manifest_names()), loss)


def bare(server: FakeServer, program: ReadyMade, depth: int) -> float:
    """Run the program in a loop that keeps ``depth`` updates on their way; return the sum of the losses read."""
    total = 0.0
    with runtime(http_transport=server):
        service = ServiceClient.start(base_url=URL, state_dir="")
        try:
            client = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
            cursor = program.first_cursor()
            under_way = deque[tuple[Any, Any]]()
            for update in range(program.updates or 0):
                if len(under_way) == depth:
                    total += _read(*under_way.popleft())
                batch = program.batch(cursor)
                assert batch is not None
                cursor = batch.cursor
                passed = client.ask(messages.ForwardBackward(batch.micro_batches[0], program.loss_fn), block=False)
                stepped = client.ask(messages.OptimStep(program.adam_params(update)), block=False)
                under_way.append((passed, stepped))
            while under_way:
                total += _read(*under_way.popleft())
        finally:
            service.stop()
    return total


def _read(passed: Any, stepped: Any) -> float:
    loss: float = passed.get().unwrap().metrics["loss:sum"]
    stepped.get().unwrap()
    return loss
