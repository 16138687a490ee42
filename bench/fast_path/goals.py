"""Which figures are shown, what each is to be, and whether it is: pure."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Figures = Mapping[str, Any]
Found = Mapping[str, Mapping[str, Sequence[Figures]]]
"""By scenario and side, each repeat."""


@dataclass(frozen=True)
class Goal:
    """What a figure is to be: a ratio to the SDK's in the same run, or a figure by itself."""

    bound: float
    ratio: bool = True
    most: bool = True
    """Whether it is to be at most that; else at least."""

    def met(self, ours: float, rival: float | None) -> bool | None:
        """Say whether it is met; None where there is nothing to compare with."""
        if self.ratio and not rival:
            return None
        value = ours / rival if self.ratio and rival else ours
        return value <= self.bound if self.most else value >= self.bound

    def __str__(self) -> str:
        """Return it in words, without a unit."""
        return f"at {'most' if self.most else 'least'} {self.bound:.3g}{'x' if self.ratio else ''}"


@dataclass(frozen=True)
class Shown:
    """A line of the table."""

    scenario: str
    what: str
    unit: str
    value: Callable[[Figures], float]
    goal: Goal | None = None
    rival: str | None = None
    """The scenario whose SDK figures these are compared with, where it is another."""


@dataclass(frozen=True)
class Row:
    """A line with its medians; None where a side was not run."""

    scenario: str
    what: str
    unit: str
    ours: float
    sdk: float | None
    floor: float | None
    goal: str
    met: bool | None

    @property
    def ratio(self) -> float | None:
        """Ours to the SDK's."""
        return self.ours / self.sdk if self.sdk else None


FIFTH: Final = Goal(0.2)
FIVE_TIMES: Final = Goal(5.0, most=False)
THIRD: Final = Goal(1 / 3)


def _cpu(figures: Figures) -> float:
    return float(figures["cpu"] / figures["operations"] * 1e3)


def _median(figures: Figures) -> float:
    return float(figures["p50"]) * 1e3


def _rate(figures: Figures) -> float:
    return float(figures["operations"] / figures["wall"])


def _wall(figures: Figures) -> float:
    return float(figures["wall"])


def _peak(figures: Figures) -> float:
    return float(figures["peak_rss"]) / 2**20


def _of_stub(name: str, unit: float = 1.0) -> Callable[[Figures], float]:
    return lambda figures: float(figures["stub"][name] / figures["operations"] / unit)


def _connections(figures: Figures) -> float:
    return float(figures["stub"]["connections"])


def _of_start(part: str, name: str, unit: float = 1.0) -> Callable[[Figures], float]:
    return lambda figures: float(figures[part][name]) / unit if part in figures else float("nan")


def _tail(part: int) -> Callable[[Figures], float]:
    return lambda figures: float(figures[f"p{part}"]) * 1e3


CPU: Final = "CPU of an operation, all threads"
SHOWN: Final[Sequence[Shown]] = (
    Shown("A", CPU, "ms", _cpu, FIFTH),
    Shown("A", "p50", "ms", _median, FIFTH),
    Shown("A", "p95", "ms", _tail(95)),
    Shown("A", "p99", "ms", _tail(99)),
    Shown("A", "bytes sent for an operation", "B", _of_stub("bytes_in")),
    Shown("B", CPU, "ms", _cpu, FIFTH),
    Shown("B", "operations in a second", "1/s", _rate, FIVE_TIMES),
    Shown("C", CPU, "ms", _cpu, FIFTH),
    Shown("C", "p50", "ms", _median, FIFTH),
    Shown("C", "bytes sent for an operation", "MB", _of_stub("bytes_in", 1e6)),
    Shown("C", "bytes received for an operation", "MB", _of_stub("bytes_out", 1e6)),
    Shown("C", "peak memory", "MiB", _peak),
    Shown("D", CPU, "ms", _cpu, FIFTH),
    Shown("D", "p50 of a pair", "ms", _median, FIFTH),
    Shown("D", "requests of an operation", "", _of_stub("requests")),
    Shown("E", CPU, "ms", _cpu, FIFTH),
    Shown("E", "operations in a second", "1/s", _rate, FIVE_TIMES),
    Shown("E", "peak memory", "MiB", _peak, Goal(80.0, ratio=False)),
    Shown("E", "connections", "", _connections),
    Shown("F", "import", "s", _of_start("import", "wall"), Goal(0.15, ratio=False)),
    Shown("F", "import, its CPU", "s", _of_start("import", "cpu")),
    Shown("F", "process start to first step done", "s", _of_start("first", "wall"), THIRD),
    Shown("F", "the same, CPU of the whole process", "s", _of_start("first", "cpu"), THIRD),
    Shown("F", "memory after the import", "MiB", _of_start("import", "rss", 2**20), Goal(32.0, ratio=False)),
    Shown("F", "import of the bare package", "ms", _of_start("bare", "wall", 1e-3)),
    Shown("G", "all of it", "s", _wall, FIFTH),
    Shown("G", CPU, "ms", _cpu, FIFTH),
    Shown("G", "polls of an operation", "", _of_stub("polls"), Goal(1.1, ratio=False)),
    Shown("G", "connections", "", _connections),
    Shown("httpx-A", CPU, "ms", _cpu, THIRD, "A"),
    Shown("httpx-A", "p50", "ms", _median, THIRD, "A"),
    Shown("httpx-B", CPU, "ms", _cpu, THIRD, "B"),
    Shown("httpx-B", "operations in a second", "1/s", _rate, Goal(3.0, most=False), "B"),
    Shown("engine-A", CPU, "ms", _cpu),
    Shown("engine-A", "p50", "ms", _median),
    Shown("engine-C", CPU, "ms", _cpu),
    Shown("engine-C", "p50", "ms", _median),
    Shown("engine-E", CPU, "ms", _cpu),
    Shown("engine-E", "operations in a second", "1/s", _rate),
)


def rows_of(found: Found) -> list[Row]:
    """Return the lines whose scenarios were run by our side."""
    rows = list[Row]()
    for shown in SHOWN:
        sides = found.get(shown.scenario, {})
        ours = _middle(sides.get("ours", ()), shown)
        if ours is None:
            continue
        rivals = found.get(shown.rival or shown.scenario, {})
        sdk = _middle(sides.get("sdk") or rivals.get("sdk", ()), shown)
        floor = _middle(sides.get("floor", ()), shown)
        goal = shown.goal
        met = None if goal is None else goal.met(ours, sdk)
        unit = "" if goal is None or goal.ratio else f" {shown.unit}".rstrip()
        text = "" if goal is None else f"{goal}{unit}"
        rows.append(Row(shown.scenario, shown.what, shown.unit, ours, sdk, floor, text, met))
    return rows


def _middle(repeats: Sequence[Figures], shown: Shown) -> float | None:
    if not repeats:
        return None
    value = statistics.median(shown.value(figures) for figures in repeats)
    return None if value != value else value  # noqa: PLR0124 - no number: that side has no such figure


def of_stub(found: Found) -> str | None:
    """Return in words how far the stub was from holding up a client; None where it was not seen at its own pace.

    At the pace of raw sockets, of which one is busy at a time, its share of the CPU is what it takes for an exchange.
    """
    floor = found.get("A", {}).get("floor")
    ours = {name: sides["ours"] for name, sides in found.items() if name in set("ABCDEG") and "ours" in sides}
    if not floor or not ours:
        return None
    exchange = statistics.median(figures["stub"]["cpu"] / figures["stub"]["requests"] for figures in floor) * 1e6
    rate = statistics.median(figures["stub"]["requests"] / figures["wall"] for figures in floor)
    busy = {
        name: statistics.median(figures["stub"]["cpu"] / figures["wall"] for figures in repeats)
        for name, repeats in ours.items()
    }
    worst = max(busy, key=lambda name: busy[name])
    return (
        f"The stub takes {exchange:.0f} µs of CPU for an exchange and answers {rate:,.0f} a second to one raw socket "
        f"that waits for each; beside our client it was busy for at most {busy[worst]:.0%} of the time (in {worst})."
    )
