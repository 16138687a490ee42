"""What must hold of a run that has ended, whatever was done to it."""

import threading
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from support_engine_url import health
from support_trainer import first_losses, sequence, tensors
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import read_events
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import Manifest


@dataclass(frozen=True)
class Undisturbed:
    """The run to which nothing happened."""

    sequence: list[Any]
    tensors: dict[str, str]


def latest(root: Path) -> Manifest:
    """Return the manifest that the run goes on from; it must be readable."""
    store = RunStore.open(root / "runs", create=False)
    row = store.run("r")
    store.close()
    assert row is not None
    assert row.latest is not None
    return RunFolder(root / "runs", "r").read_manifest(row.latest)


def epoch_of(root: Path) -> int:
    """Return the epoch that holds the run; 0 where there is none yet."""
    if not (root / "runs").exists():
        return 0
    try:
        store = RunStore.open(root / "runs", create=False)
    except Exception:  # noqa: BLE001 - it is just being made
        return 0
    try:
        row = store.run("r")
    finally:
        store.close()
    return 0 if row is None else row.epoch


def undisturbed(engine: Path, root: Path) -> Undisturbed:
    """Read what there is to compare with."""
    found = sequence(root)
    assert [update for update, _, _ in found] == list(range(1, len(found) + 1))
    assert [row for _, _, rows in found for row in rows] == list(range(2 * len(found)))
    return Undisturbed(found, tensors(engine, latest(root).path))


def check(engine: Path, root: Path, expected: Undisturbed) -> None:
    """See that the run ended as the undisturbed one."""
    found = sequence(root)
    assert found == expected.sequence, difference(found, expected.sequence)
    several = {update: losses for update, losses in first_losses(root).items() if len(losses) != 1}
    assert not several, f"replayed losses differ from their first logging: {several}"
    manifest = latest(root)
    assert manifest.update == len(expected.sequence), manifest
    assert manifest.optimizer
    assert tensors(engine, manifest.path) == expected.tensors, f"the tensors of {manifest.path} are others"


def difference(found: list[Any], expected: list[Any]) -> str:
    """Say where two committed sequences part."""
    for mine, theirs in zip(found, expected, strict=False):
        if mine != theirs:
            return f"the committed sequence has {mine}, and should have {theirs}"
    return f"the committed sequence has {len(found)} updates, and should have {len(expected)}"


def check_kept(engine: Path, root: Path, most: int) -> None:
    """See that the policy's checkpoints are kept, and no others of those that were committed."""
    kept = RunFolder(root / "runs", "r").manifest_names()
    assert len(kept) <= most, f"{kept} are kept, and at most {most} should be"
    for name in kept:
        tensors(engine, RunFolder(root / "runs", "r").read_manifest(name).path)


def check_nothing_left(url: str, seconds: float = 20.0) -> None:
    """See that no session and no model is left on the server."""
    beat, end = threading.Event(), time.monotonic() + seconds
    while True:
        counts = health(url)
        if counts["sessions"] == 0 and counts["models"] == 0:
            return
        assert time.monotonic() < end, f"left on the server: {counts}"
        beat.wait(0.02)


def lost_work(root: Path) -> dict[int, int]:
    """Return, for each epoch that began, how many updates of the epoch before it were completed and had to be again."""
    began: dict[int, int] = {}
    furthest: dict[int, int] = {}
    for event in read_events(RunFolder(root / "runs", "r").events):
        epoch, update = event["epoch"], event.get("update", 0)
        if event["kind"] == "began":
            began[epoch] = update
            furthest[epoch] = max(update, furthest.get(epoch, 0))
        elif event["kind"] == "update":
            furthest[epoch] = max(update, furthest.get(epoch, 0))
    order = sorted(began)
    return {epoch: furthest[before] - began[epoch] for before, epoch in pairwise(order)}
