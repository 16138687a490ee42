"""A trainer that stands still before one of its writes or sends, is taken over by another one, and goes on then."""

import random
import shutil
import signal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from chaos.child import FENCED, FINISHED
from chaos.laws import Undisturbed, check, check_nothing_left, epoch_of, latest, undisturbed
from chaos.mother import Child, Mother
from chaos.points import TRAINS
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import read_events

Scenario = Literal["new run", "resumed run"]
Stage = Literal["taken", "began", "ended"]
"""Until when it stands still: the other has taken the run, trains, or is through with it."""

SCENARIOS: Final[tuple[Scenario, ...]] = ("new run", "resumed run")
STAGES: Final[tuple[Stage, ...]] = ("taken", "began", "ended")
RESUMED_AT: Final = 2
UPDATES: Final = 6
EVERY: Final = 2
LOCKED_SECONDS: Final = 3.0
"""Within which one trainer takes over another, unless that one holds the store's lock."""


class Point(NamedTuple):
    """Where it stands still."""

    scenario: Scenario
    label: str
    nth: int

    @property
    def locks(self) -> bool:
        """Whether it holds the store's write lock there, so that it can be taken over only once it goes on."""
        word, _, rest = self.label.partition(" ")
        return word == "sqlite" and not rest.startswith(("BEGIN", "CREATE")) and rest != "COMMIT"


@dataclass
class Haunted:
    """What became of it."""

    point: Point
    stage: Stage
    came: bool = True
    """Whether the point was reached; what a run sends varies a little."""
    had_taken: bool = False
    """Whether the zombie held the run when it stopped."""
    taken: bool = False
    """Whether it was taken over before it went on: not where a thread of it stood still with the store's lock."""
    zombie: int | None = None
    other: int | None = None


class Haunt:
    """Runs on one engine, one after the other."""

    def __init__(self, mother: Mother, folder: Path, port: int) -> None:
        self.mother = mother
        self.folder = folder
        self.engine = mother.engine(folder / "engine", port)
        self.expected: Undisturbed | None = None
        self.number = 0

    def prepare(self) -> list[Point]:
        """Run undisturbed, and return all points at which a trainer can stand still."""
        whole, half = self.folder / "whole", self.folder / "half"
        found = list(_points("new run", self._run(whole, UPDATES, keep_last=1)))
        self.expected = undisturbed(self.folder / "engine", whole)
        self._run(half, RESUMED_AT)
        again = self._root("resumed run")
        found += _points("resumed run", self._run(again, UPDATES))
        check(self.folder / "engine", again, self.expected)
        return found

    def haunt(self, point: Point, stage: Stage) -> Haunted:
        """Have it happen at one point, and look at what comes of it."""
        told = Haunted(point, stage)
        try:
            self._haunt(told)
        except AssertionError as error:
            tail = "\n".join(self.mother.log.read_text(errors="replace").splitlines()[-30:])
            raise AssertionError(f"{point}, going on when the other has {stage}: {error}\n{tail}") from error
        return told

    def _haunt(self, told: Haunted) -> None:
        assert self.expected is not None
        mother, point = self.mother, told.point
        root = self._root(point.scenario)
        base = epoch_of(root)
        # The checkpoint that runs are resumed from is there for all of them.
        keep = {"keep_last": 1} if point.scenario == "new run" else {}
        zombie = self._start(root, UPDATES, aim={"label": point.label, "nth": point.nth}, **keep)
        mother.until(lambda: zombie.stopped or not zombie.alive, "it stands still")
        if not zombie.stopped:
            told.came = False
            assert zombie.code == FINISHED, zombie
            return
        held = epoch_of(root)
        told.had_taken = held > base
        other = self._start(root, UPDATES, **keep)
        seconds = 0.3 if point.locks else LOCKED_SECONDS
        told.taken = mother.within(seconds, lambda: epoch_of(root) > held or not other.alive, beat=0.005)
        if told.taken:
            self._reach(told.stage, root, held, other)
        mother.thaw(zombie)
        mother.until(lambda: not zombie.alive and not other.alive, "both have ended")
        told.zombie, told.other = zombie.code, other.code
        self._check_ends(told, root, zombie, other, held)
        check(self.folder / "engine", root, self.expected)
        check_nothing_left(self.engine.url)
        shutil.rmtree(root)

    def _reach(self, stage: Stage, root: Path, held: int, other: Child) -> None:
        condition: dict[Stage, Callable[[], bool]] = {
            "taken": lambda: True,
            "began": lambda: _began(root, held + 1) is not None,
            "ended": lambda: not other.alive,
        }
        self.mother.within(60.0, lambda: condition[stage]() or not other.alive, beat=0.005)
        assert other.alive or other.code == FINISHED, f"the other ended by itself: {other}"

    def _check_ends(self, told: Haunted, root: Path, zombie: Child, other: Child, held: int) -> None:
        """One of the two is through with the run, and the other one knows that it has lost it."""
        both = f"the zombie: {zombie}\nthe other: {other}"
        assert {zombie.code, other.code} <= {FINISHED, FENCED}, both
        assert FINISHED in {zombie.code, other.code}, both
        if not told.had_taken:
            # It had not begun: where it goes on after the other has begun, it takes the run over in its turn.
            assert zombie.code == FINISHED or not told.taken, both
            return
        assert other.code == FINISHED, both
        if _began(root, held + 1) == UPDATES:
            return  # all was done and durable before the other took it
        assert zombie.code == FENCED, both
        assert latest(root).epoch > held, "what the zombie saved counts"
        if told.taken and told.stage != "taken":
            trained = [path for path, status in zombie.report["since"] if path in TRAINS and 200 <= status < 300]
            assert not trained, f"the zombie did {trained}"

    def end(self) -> None:
        """Leave nothing running."""
        self.mother.strike(self.engine, signal.SIGTERM)
        self.mother.until(lambda: not any(child.alive for child in self.mother.children.values()), "all have ended")
        assert self.engine.code == 0, self.engine

    # Runs

    def _root(self, scenario: Scenario) -> Path:
        self.number += 1
        root = self.folder / f"run-{self.number}"
        root.mkdir()
        if scenario == "resumed run":
            shutil.copytree(self.folder / "half" / "runs", root / "runs")
        return root

    def _run(self, root: Path, updates: int, **more: object) -> list[str]:
        root.mkdir(exist_ok=True)
        labels = root / "labels"
        child = self._start(root, updates, points=str(labels), **more)
        self.mother.until(lambda: not child.alive, "an undisturbed run ends")
        assert child.code == FINISHED, child
        check_nothing_left(self.engine.url)
        return labels.read_text().splitlines()

    def _start(self, root: Path, updates: int, **more: object) -> Child:
        options: dict[str, object] = {"updates": updates, "every": EVERY, "depth": 2}
        return self.mother.trainer(root=str(root), url=self.engine.url, **options, **more)


def _began(root: Path, least: int) -> int | None:
    """Return the update at which the first epoch from ``least`` on began."""
    for event in read_events(RunFolder(root / "runs", "r").events):
        if event["kind"] == "began" and event["epoch"] >= least:
            update: int = event["update"]
            return update
    return None


def _points(scenario: Scenario, labels: Iterable[str]) -> Iterable[Point]:
    counts: dict[str, int] = {}
    for label in labels:
        if not label.startswith("wire"):
            counts[label] = counts.get(label, 0) + 1
            yield Point(scenario, label, counts[label])


def sample(points: list[Point], rng: random.Random, more: int) -> list[Point]:
    """Return one point of each kind, and so many others."""
    kinds: dict[str, list[Point]] = {}
    for point in points:
        kinds.setdefault(point.label, []).append(point)
    chosen = [rng.choice(kind[: (len(kind) + 1) // 2 + 1]) for kind in kinds.values()]
    rest = [point for point in points if point not in chosen]
    return chosen + rng.sample(rest, min(more, len(rest)))
