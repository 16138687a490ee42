"""One long supervised run in a process of its own: ``python -m trainer_bench.memory UPDATES EVERY`` prints JSON.

It saves every ``EVERY`` updates and keeps the last three checkpoints. Memory, threads and open files are read a hundred
times on the way.
"""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import psutil

from tinkex.protocol import CheckpointPolicy, RetentionPolicy
from trainer_bench.drivers import ReadyMade, supervised
from trainer_bench.fake import FakeServer, Service

SAMPLES: Final = 100
KEPT: Final = 3
ROWS: Final = 2
TOKENS: Final = 16


class Sample(NamedTuple):
    """This process, at one update."""

    update: int
    resident_mb: float
    threads: int
    files: int


def measure(updates: int, every: int, root: Path) -> dict[str, object]:
    """Run to the end; return the samples and what is left of the run."""
    me = psutil.Process(os.getpid())
    samples: list[Sample] = []
    step = max(updates // SAMPLES, 1)

    def stepped(update: int, _end: float) -> None:
        if update % step == 0:
            samples.append(Sample(update, me.memory_info().rss / 1e6, me.num_threads(), me.num_fds()))

    server = FakeServer(Service(), ROWS, TOKENS, stepped)
    policy, retention = CheckpointPolicy(every_updates=every), RetentionPolicy(keep_last=KEPT)
    logged = supervised(server, ReadyMade(updates, ROWS, TOKENS), 2, policy, retention, root)
    return {
        "samples": samples,
        "whole": logged.updates == list(range(1, updates + 1)),
        "manifests": logged.manifests,
        "checkpoints": len(server.checkpoints),
        "deleted": server.deleted,
        "disorder": server.disorder,
    }


if __name__ == "__main__":
    with TemporaryDirectory(prefix="tinkex-bench-") as place:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]), Path(place))))
