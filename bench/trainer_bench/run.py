"""Measures a supervised run against a bare loop over the same client: ``make bench-trainer``.

Prints a table of medians, and writes it with its figures into docs/benchmarks.md, with the machine it was made on.
"""

import argparse
import json
import os
import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from trainer_bench.measures import (
    TINY,
    Row,
    Size,
    checkpoint_rows,
    checkpoints,
    compare,
    memory,
    memory_rows,
    rows_of,
    settings,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BEGIN, END = "<!-- trainer -->\n", "<!-- end of trainer -->\n"


def machine() -> dict[str, Any]:
    """Return what the figures were made on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    cpu = next((line.partition(":")[2].strip() for line in lines if "model name" in line), platform.processor())
    names = ("pykka", "httpx", "msgspec")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def measure(size: Size) -> tuple[list[Row], dict[str, Any]]:
    """Measure everything; return the table and the figures behind it."""
    rows: list[Row] = []
    load = [os.getloadavg()[0]]
    figures: dict[str, Any] = {"machine": machine(), "load": load, "updates": {}, "checkpoints": []}
    for setting in settings(size):
        found = compare(setting, size.rounds)
        figures["updates"][setting.name] = found
        rows += rows_of(setting, found)
        load.append(os.getloadavg()[0])
    for seconds in (size.step_seconds, size.step_seconds / 5.0):
        saved = checkpoints(size, seconds)
        figures["checkpoints"].append(saved)
        rows += checkpoint_rows(saved)
        load.append(os.getloadavg()[0])
    long = memory(size)
    figures["memory"] = long
    load.append(os.getloadavg()[0])
    return rows + memory_rows(size, long), figures


def table(rows: list[Row]) -> str:
    """Lay the rows out."""
    head = ["| what | supervised | bare loop | difference | goal |", "|---|---|---|---|---|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def short(figures: dict[str, Any]) -> str:
    """Return the figures as JSON, rounded, with a tenth of the samples."""
    thin = {**figures, "memory": {**figures["memory"], "samples": figures["memory"]["samples"][9::10]}}
    return json.dumps(_rounded(thin), separators=(",", ":"))


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 6)
        case {**pairs}:
            return {key: _rounded(item) for key, item in pairs.items()}
        case [*items]:
            return [_rounded(item) for item in items]
        case _:
            return value


def page(rows: list[Row], figures: dict[str, Any]) -> str:
    """Return the part of docs/benchmarks.md that this fills."""
    made = figures["machine"]
    words = ", ".join(f"{name} {made[name]}" for name in ("pykka", "httpx", "msgspec"))
    about = f"{made['cpu']}, {made['cores']} cores, Python {made['python']}, {words}"
    low, high = min(figures["load"]), max(figures["load"])
    return (
        f"Made on {about}; load average {low:.1f} to {high:.1f} meanwhile.\n\n{table(rows)}\n\n"
        f"<details><summary>The figures, in seconds, MB and updates</summary>\n\n"
        f"```json\n{short(figures)}\n```\n\n</details>\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--updates", type=int, default=Size.memory_updates, help="of the long run")
    parser.add_argument("--rounds", type=int, default=Size.rounds)
    parser.add_argument("--tiny", action="store_true", help="show that it runs, measure nothing, write nothing")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    given = parser.parse_args()
    size = TINY if given.tiny else replace(Size(), memory_updates=given.updates, rounds=given.rounds)
    rows, figures = measure(size)
    text = page(rows, figures)
    print(text)
    if given.json is not None:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(figures))
    if not given.tiny:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}{text}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
