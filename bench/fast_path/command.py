"""The hot path against the official SDK and the wire's own cost, in one run: ``python bench/fast_path/run.py``."""

import argparse
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from fast_path.goals import of_stub, rows_of
from fast_path.page import DOCS, draw, machine, made_on, table, write_between, write_json
from fast_path.processes import SIDES, WrongError, engine, run, stub
from fast_path.scenarios import SCENARIOS, Scenario
from fast_path.starts import measure as measure_starts

REPEATS: Final = 5
MARKER: Final = "fast path"

Repeats = dict[str, dict[str, list[dict[str, Any]]]]


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    names = [*SCENARIOS, "F"]
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--scenarios", default=",".join(names), help=f"with commas between; default {','.join(names)}")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="of each, alternating; medians are told")
    parser.add_argument("--only", default=",".join(SIDES), help="sides, with commas between: sdk, ours, floor")
    parser.add_argument("--tiny", action="store_true", help="small, to see that it runs; its figures mean nothing")
    parser.add_argument("--count", type=int, help="operations instead of a scenario's own number")
    parser.add_argument("--profile", metavar="SCENARIO", help="run ours once under a profiler and name the top costs")
    parser.add_argument("--how", choices=["calls", "cpu"], default="calls", help="count calls, or take samples")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    parser.add_argument("--plot", type=Path, help="a file for the plot")
    parser.add_argument("--write", action="store_true", help="write the table, the JSON and the plot of the docs")
    given = parser.parse_args(arguments)
    given.scenarios, given.only = given.scenarios.split(","), given.only.split(",")
    for name in {*given.scenarios, *filter(None, [given.profile])} - set(names):
        parser.error(f"there is no scenario {name}; there are {', '.join(names)}")
    for side in set(given.only) - set(SIDES):
        parser.error(f"there is no side {side}; there are {', '.join(SIDES)}")
    if given.write and (
        given.tiny or given.count or set(given.scenarios) != set(names) or set(given.only) != set(SIDES)
    ):
        parser.error("--write is for a whole run: without --tiny, --count, --scenarios and --only")
    if given.repeats < 1:
        parser.error("--repeats must be at least 1")
    return given


class Bench:
    """One run of the benchmark: its servers, and what was found so far."""

    def __init__(self, given: argparse.Namespace, servers: ExitStack) -> None:
        self._given = given
        self._stub = servers.enter_context(stub())
        engines = any(SCENARIOS[name].server == "engine" for name in given.scenarios if name in SCENARIOS)
        self._engine = servers.enter_context(engine()) if engines else ""
        self._extra = ["--tiny"] if given.tiny else []
        if given.count is not None:
            self._extra += ["--count", str(given.count)]
        self.found: Repeats = {}
        self.load = [os.getloadavg()[0]]

    def measure(self) -> None:
        """Run every scenario by every side, as often as asked for; the sides take turns in being first."""
        for repeat in range(self._given.repeats):
            for name in self._given.scenarios:
                if name == "F":
                    self._starts()
                else:
                    self._scenario(SCENARIOS[name], backwards=repeat % 2 == 1)
                self.load.append(os.getloadavg()[0])

    def profile(self, name: str, how: str) -> None:
        """Run ours once under a profiler."""
        self._keep(
            name,
            "ours",
            run("ours", "drive_ours", self._url(name), name, *self._extra, "--profile", how, profiled=True),
        )

    def _starts(self) -> None:
        if not self.found.get("F"):
            measure_starts(self._stub)  # the first reads the files
        for side, figures in measure_starts(self._stub).items():
            self.found.setdefault("F", {}).setdefault(side, []).append(figures)
            print(f"F {side:5} {figures}", flush=True)

    def _scenario(self, case: Scenario, *, backwards: bool) -> None:
        sides = [side for side in self._given.only if self._takes_part(side, case)]
        answers = dict[str, str]()
        for side in reversed(sides) if backwards else sides:
            module = "drive_floor_httpx" if (side, case.lane) == ("floor", "httpx") else f"drive_{side}"
            figures = run(side, module, self._url(case.name), case.name, *self._extra)
            answers[side] = figures["answers"]
            self._keep(case.name, side, figures)
        if case.server == "engine" and len(set(answers.values())) > 1:
            raise WrongError(f"{case.name}: the engine answered the sides differently: {answers}")

    def _takes_part(self, side: str, case: Scenario) -> bool:
        """Say whether a side is run: another lane of ours is compared with what the others do in the plain scenario."""
        if side == "floor":
            return case.server == "stub"
        return side == "ours" or case.lane == "own"

    def _url(self, name: str) -> str:
        return self._engine if SCENARIOS[name].server == "engine" else self._stub

    def _keep(self, name: str, side: str, figures: dict[str, Any]) -> None:
        self.found.setdefault(name, {}).setdefault(side, []).append(figures)
        print(line(name, side, figures), flush=True)


def line(name: str, side: str, figures: dict[str, Any]) -> str:
    """Return one line about one run."""
    count = figures["operations"]
    told = f"{name:8} {side:5} cpu {figures['cpu'] / count * 1e3:7.3f} ms/op"
    told += f"  wall {figures['wall'] / count * 1e3:7.3f} ms/op  {count / figures['wall']:7.0f} ops/s"
    told += "".join(f"  p{part} {figures[f'p{part}'] * 1e3:.2f}" for part in (50, 95, 99) if f"p{part}" in figures)
    told += f"  peak {figures['peak_rss'] / 1e6:.0f} MB  threads {figures['threads']}"
    stub_told = figures["stub"]
    if stub_told is not None:
        told += f"  polls/op {stub_told['polls'] / count:.2f}  requests/op {stub_told['requests'] / count:.2f}"
        told += f"  connections {stub_told['connections']}"
        told += f"  in/op {stub_told['bytes_in'] / count:.0f} B  out/op {stub_told['bytes_out'] / count:.0f} B"
        told += f"  stub {stub_told['cpu'] / max(1, stub_told['requests']) * 1e6:.0f} us/request"
    return told


def main() -> None:
    """Run what was asked for."""
    given = options()
    with ExitStack() as servers:
        if given.profile:
            given.scenarios = [given.profile]
        bench = Bench(given, servers)
        if given.profile:
            bench.profile(given.profile, given.how)
            return
        bench.measure()
    rows = rows_of(bench.found)
    about = machine()
    words = f"{made_on(about, bench.load)} Medians of {given.repeats}. {of_stub(bench.found) or ''}".rstrip()
    text = f"{words}\n\n{table(rows)}\n"
    print(f"\n{text}")
    kept = {
        "machine": about,
        "load": bench.load,
        "rows": [{**row.__dict__, "ratio": row.ratio} for row in rows],
        "runs": bench.found,
    }
    if given.json is not None:
        write_json(given.json, kept)
    if given.plot is not None:
        draw(given.plot, rows)
    if given.write:
        write_json(DOCS / "benchmarks" / "fast_path.json", kept)
        draw(DOCS / "benchmarks" / "fast_path.png", rows)
        write_between(MARKER, text)
    missed = [f"{row.scenario}: {row.what}" for row in rows if row.met is False]
    if missed:
        print("missed: " + "; ".join(missed))


if __name__ == "__main__":
    try:
        main()
    except WrongError as error:
        sys.exit(str(error))
