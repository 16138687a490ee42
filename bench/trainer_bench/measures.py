"""What is measured, and what becomes a row of the table. Seconds inside, milliseconds in what is shown."""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from tinkex.protocol import CheckpointPolicy
from trainer_bench.drivers import ReadyMade, bare, supervised
from trainer_bench.fake import FakeServer, Marks, Service

WARM_UP: Final = 10
"""One update in so many warms up, and is not counted."""

PART_OF_PASS: Final = 0.9
"""Of an update's time; the rest is the optimizer step's."""

GOAL_PART: Final = 0.01
GOAL_CPU: Final = 1e-3
GOAL_MB: Final = 2.0
SAVE_EVERY: Final = 20
SAVE_SECONDS: Final = 0.2
MEMORY_SECONDS: Final = 3600.0


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int = 7
    updates: int = 100
    """Of a run whose updates take time."""
    quick_updates: int = 1_000
    """Of a run whose updates take none."""
    large_updates: int = 200
    saves: int = 8
    memory_updates: int = 100_000
    memory_saves: int = 1_000
    """Updates between two checkpoints of the long run."""
    step_seconds: float = 0.05
    save_seconds: float = SAVE_SECONDS


TINY: Final = Size(
    rounds=1,
    updates=20,
    quick_updates=20,
    large_updates=10,
    saves=2,
    memory_updates=60,
    memory_saves=10,
    step_seconds=0.002,
    save_seconds=0.005,
)
"""Shows that all of it runs; its figures mean nothing."""


class Row(NamedTuple):
    """A line of the table."""

    what: str
    ours: str
    rival: str
    difference: str
    goal: str


@dataclass(frozen=True)
class Setting:
    """What one comparison runs with."""

    name: str
    seconds: float
    """Of an update, on the server."""
    depth: int
    updates: int
    rows: int = 8
    tokens: int = 128


class WrongError(Exception):
    """A run did not do what it was to do, so its figures are worth nothing."""


def settings(size: Size) -> list[Setting]:
    """Return what is compared."""
    ms = f"{size.step_seconds * 1e3:g} ms"
    return [
        Setting(f"an update of {ms}, two on their way", size.step_seconds, 2, size.updates),
        Setting(f"an update of {ms}, one on its way", size.step_seconds, 1, size.updates),
        Setting("an update of 0 ms", 0.0, 2, size.quick_updates),
        Setting("an update of 0 ms with 64 rows of 256 tokens", 0.0, 2, size.large_updates, 64, 256),
    ]


def compare(setting: Setting, rounds: int) -> dict[str, Any]:
    """Run both in turn, each first in every other round; return the seconds of an update in each round."""
    found: dict[str, dict[str, list[float]]] = {side: {"wall": [], "cpu": []} for side in ("supervised", "bare")}
    begin, updates = max(setting.updates // WARM_UP, 1), setting.updates
    for number in range(rounds):
        for side in ("supervised", "bare") if number % 2 else ("bare", "supervised"):
            marks = Marks()
            service = Service(setting.seconds * PART_OF_PASS, setting.seconds * (1.0 - PART_OF_PASS))
            server = FakeServer(service, setting.rows, setting.tokens, marks.note)
            program = ReadyMade(updates, setting.rows, setting.tokens)
            if side == "supervised":
                logged = supervised(server, program, setting.depth)
                _check(logged.updates == list(range(1, updates + 1)), f"the log has the updates {logged.updates}")
                total = logged.loss
            else:
                total = bare(server, program, setting.depth)
            _check(total == updates * server.loss, f"the losses of {updates} updates add up to {total}")
            _check_order(server, updates)
            found[side]["wall"].append(marks.wall(begin, updates) / (updates - begin))
            found[side]["cpu"].append(marks.busy(begin, updates) / (updates - begin))
    return found


def rows_of(setting: Setting, found: dict[str, Any]) -> list[Row]:
    """Return the medians of both sides and what lies between."""
    wall, rival_wall, cpu, rival_cpu = (
        statistics.median(found[side][what]) for what in ("wall", "cpu") for side in ("supervised", "bare")
    )
    more, more_cpu = wall - rival_wall, cpu - rival_cpu
    if setting.seconds > 0.0:
        part = more / setting.seconds
        difference = f"{more * 1e3:+.3f} ms ({part:+.2%})"
        goal = f"at most 1 %: {_verdict(part <= GOAL_PART)}"
    else:
        difference, goal = f"{more * 1e3:+.3f} ms", ""
    cpu_goal = f"below 1 ms: {_verdict(more_cpu < GOAL_CPU)}"
    return [
        Row(setting.name, _ms(wall), _ms(rival_wall), difference, goal),
        Row("its CPU time, all threads", _ms(cpu), _ms(rival_cpu), f"{more_cpu * 1e3:+.3f} ms", cpu_goal),
    ]


def checkpoints(size: Size, seconds: float) -> dict[str, Any]:
    """Run with a checkpoint every 20 updates and without, in turn; return the seconds of each 20 updates.

    Each block but the first holds one save. The lane's arithmetic says how long it takes if it never stands idle.
    """
    updates = SAVE_EVERY * (size.saves + 1)
    found: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(max(size.rounds // 2, 1)):
        for side in ("with", "without") if number % 2 else ("without", "with"):
            marks = Marks()
            service = Service(seconds * PART_OF_PASS, seconds * (1.0 - PART_OF_PASS), size.save_seconds)
            server = FakeServer(service, 8, 128, marks.note)
            every = SAVE_EVERY if side == "with" else None
            policy = CheckpointPolicy(every_updates=every, on_pause=False, on_stop=False)
            logged = supervised(server, ReadyMade(updates, 8, 128), 2, policy)
            saves = updates // SAVE_EVERY if every else 0
            _check_order(server, updates)
            _check(logged.manifests == saves, f"{logged.manifests} checkpoints were committed, not {saves}")
            ends = range(SAVE_EVERY, updates, SAVE_EVERY)
            found[side] += [marks.wall(end, end + SAVE_EVERY) for end in ends]
    without = SAVE_EVERY * seconds
    arithmetic = {"with": without + size.save_seconds, "without": without}
    return {"step": seconds, "save": size.save_seconds, "arithmetic": arithmetic, **found}


def checkpoint_rows(found: dict[str, Any]) -> list[Row]:
    """Return how much longer 20 updates took than the server's own arithmetic, with a save and without."""
    late = {side: [took - found["arithmetic"][side] for took in found[side]] for side in ("with", "without")}
    stall, noise = statistics.median(late["with"]), statistics.median(late["without"])
    met = stall - noise <= GOAL_PART * found["save"]
    return [
        Row(
            f"20 updates of {found['step'] * 1e3:g} ms and a save",
            _ms(statistics.median(found["with"])),
            f"{_ms(found['arithmetic']['with'])} by arithmetic",
            f"{_more(stall)} ms, worst {_more(max(late['with']))}",
            f"at most 1 % of the save beyond it: {_verdict(met)}",
        ),
        Row(
            "the same without a save",
            _ms(statistics.median(found["without"])),
            f"{_ms(found['arithmetic']['without'])} by arithmetic",
            f"{_more(noise)} ms, worst {_more(max(late['without']))}",
            "",
        ),
    ]


def memory(size: Size) -> dict[str, Any]:
    """Run the long run in a process of its own; return its samples, what is left of it, and the slopes."""
    command = [sys.executable, "-m", "trainer_bench.memory", str(size.memory_updates), str(size.memory_saves)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=MEMORY_SECONDS)
    found: dict[str, Any] = json.loads(done.stdout)
    saves = size.memory_updates // size.memory_saves
    _check(found["whole"], "the log of the long run lacks updates")
    _check(not found["disorder"], f"out of order: {found['disorder'][:3]}")
    _check(found["checkpoints"] == found["manifests"] == min(saves, 3), f"kept {found['checkpoints']} checkpoints")
    _check(found["deleted"] == max(saves - 3, 0), f"deleted {found['deleted']} checkpoints")
    samples = [sample for sample in found["samples"] if sample[0] >= size.memory_updates // WARM_UP]
    middle = len(samples) // 2
    found["slopes"] = [slope(samples[:middle]), slope(samples[middle:])]
    return found


def memory_rows(size: Size, found: dict[str, Any]) -> list[Row]:
    """Return memory, threads and files after a tenth of the long run and at its end."""
    first = next(sample for sample in found["samples"] if sample[0] >= size.memory_updates // WARM_UP)
    last = found["samples"][-1]
    early, late = found["slopes"]
    flat = late < GOAL_MB and last[1] - first[1] < GOAL_MB * size.memory_updates / 10_000
    growth = f"below 2 MB for 10,000 updates: {_verdict(flat)}"
    return [
        Row(
            f"memory after {last[0]:,} updates, and after {first[0]:,}",
            f"{last[1]:.1f} MB",
            f"{first[1]:.1f} MB",
            f"slopes {early:+.2f} and {late:+.2f} MB for 10,000",
            growth,
        ),
        _same("threads, likewise", last[2], first[2]),
        _same("open files, likewise", last[3], first[3]),
    ]


def slope(samples: list[list[float]]) -> float:
    """Return the slope of memory in MB for 10,000 updates, by least squares."""
    updates, sizes = [sample[0] for sample in samples], [sample[1] for sample in samples]
    return 1e4 * statistics.linear_regression(updates, sizes).slope if len(samples) > 1 else 0.0


def _same(what: str, last: int, first: int) -> Row:
    return Row(what, str(last), str(first), f"{last - first:+d}", f"no more: {_verdict(last <= first)}")


def _check_order(server: FakeServer, updates: int) -> None:
    _check(not server.disorder, f"out of order: {server.disorder[:3]}")
    _check(server.steps == updates, f"the server saw {server.steps} steps, not {updates}")


def _check(holds: bool, sentence: str) -> None:
    if not holds:
        raise WrongError(sentence)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds < 0.01 else f"{seconds * 1e3:.2f} ms"


def _more(seconds: float) -> str:
    return f"{round(seconds * 1e3, 2) + 0.0:+.2f}"


def _verdict(met: bool) -> str:
    return "met" if met else "missed"
