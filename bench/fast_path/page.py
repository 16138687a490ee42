"""What is left of a run: the table, the JSON, the plot, and the part of docs/benchmarks.md between the markers."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from fast_path.goals import Row
from fast_path.processes import SDK_VERSION
from fast_path.scenarios import SCENARIOS
from fast_path.starts import WHAT

DOCS: Final = Path(__file__).parents[2] / "docs"
DOCUMENT: Final = DOCS / "benchmarks.md"
COLOURS: Final[Mapping[str, str]] = {"sdk": "#d62728", "ours": "#1f77b4", "floor": "#7f7f7f"}
NAMES: Final[Mapping[str, str]] = {"sdk": f"official SDK {SDK_VERSION}", "ours": "Tinkex", "floor": "floor"}


def machine() -> dict[str, Any]:
    """Return what the figures were made on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    libraries = {name: version(name) for name in ("httpx", "msgspec", "numpy", "protobuf", "pykka")}
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "tinker": SDK_VERSION,
        **libraries,
    }


def made_on(about: Mapping[str, Any], load: Sequence[float]) -> str:
    """Return the sentence that says where and how busily it was measured."""
    libraries = ", ".join(f"{name} {told}" for name, told in about.items() if name not in ("cpu", "cores", "python"))
    where = f"{about['cpu']}, {about['cores']} cores, Python {about['python']}, {libraries}"
    return f"Made on {where}; load average {min(load):.1f} to {max(load):.1f} meanwhile."


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out, each scenario under a line of its own."""
    lines = [f"| what | ours | SDK {SDK_VERSION} | floor | ours / SDK | goal |", "|---|---|---|---|---|---|"]
    scenario = ""
    for row in rows:
        if row.scenario != scenario:
            scenario = row.scenario
            lines.append(f"| **{title(scenario)}** |  |  |  |  |  |")
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        verdict = "" if row.met is None else f": {'met' if row.met else 'MISSED'}"
        cells = [row.what, shown(row.ours, row.unit), shown(row.sdk, row.unit), shown(row.floor, row.unit), ratio]
        lines.append(f"| {' | '.join(cells)} | {row.goal}{verdict} |")
    return "\n".join(lines)


def title(scenario: str) -> str:
    """Return what is done in a scenario."""
    return f"F: {WHAT}" if scenario == "F" else f"{scenario}: {SCENARIOS[scenario].title}"


def shown(value: float | None, unit: str) -> str:
    """Return a figure with its unit, with as many digits as mean anything."""
    if value is None:
        return ""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return f"{value:,.{digits}f} {unit}".strip()


def write_json(path: Path, found: Any) -> None:
    """Write figures, rounded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rounded(found), separators=(",", ":")) + "\n")


def rounded(value: Any) -> Any:
    """Return figures without digits that mean nothing."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case {**pairs}:
            return {key: rounded(item) for key, item in pairs.items()}
        case [*items]:
            return [rounded(item) for item in items]
        case _:
            return value


def write_between(marker: str, text: str) -> None:
    """Put ``text`` between the markers of docs/benchmarks.md."""
    begin, end = f"<!-- {marker} -->\n", f"<!-- end of {marker} -->\n"
    before, found, rest = DOCUMENT.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{DOCUMENT} has no markers {begin.strip()} and {end.strip()}")
    DOCUMENT.write_text(f"{before}{begin}{text}{end}{after}")


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Draw the CPU of an operation in each scenario, and the time or rate that has a goal, relative to the SDK's."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to load: only where something is drawn
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    mpl.use("Agg")
    # Any: matplotlib's own annotations are unfinished.
    figure: Any = Figure(figsize=(10, 8), layout="constrained")
    above, below = figure.subplots(2, 1)
    costs = [row for row in rows if row.what.startswith("CPU of an operation")]
    for place, side in enumerate(("sdk", "ours", "floor")):
        heights = [getattr(row, side) or float("nan") for row in costs]
        at = [x + (place - 1) * 0.27 for x in range(len(costs))]
        bars = above.bar(at, heights, 0.26, color=COLOURS[side], label=NAMES[side])
        above.bar_label(bars, [shown(height, "") if height == height else "" for height in heights], fontsize=7)  # noqa: PLR0124
    above.set_yscale("log")
    above.margins(y=0.25)
    above.set_xticks(range(len(costs)), [row.scenario for row in costs])
    above.set_ylabel("ms of CPU for an operation, all threads")
    above.legend(loc="upper right")
    goals = [row for row in rows if row.met is not None and row.ratio is not None and row.goal.endswith("x")]
    gains = [_gain(row) for row in goals]
    colours = ["#2ca02c" if row.met else "#ff7f0e" for row in goals]
    bars = below.barh(range(len(goals)), gains, color=colours)
    below.bar_label(bars, [f"{gain:.1f}" for gain in gains], fontsize=7)
    below.set_yticks(range(len(goals)), [f"{row.scenario}: {row.what.partition(',')[0]}" for row in goals], fontsize=7)
    below.invert_yaxis()
    for bound in (3, 5):
        below.axvline(bound, color="black", linewidth=0.8, linestyle=":")
    below.set_xlabel("times better than the official SDK in the same run (green: the goal of 5, or 3, is met)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _gain(row: Row) -> float:
    ratio = row.ratio or float("nan")
    return ratio if row.unit == "1/s" else 1 / ratio
