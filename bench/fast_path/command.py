"""The hot path against the official SDK and the wire's own cost, in one run: ``python bench/fast_path/run.py --help``."""

import argparse
import statistics
import sys
from typing import Any

from fast_path.processes import SIDES, driver, stub
from fast_path.scenarios import SCENARIOS


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help="letters, with commas between")
    parser.add_argument("--repeats", type=int, default=5, help="of each, alternating; medians are told")
    parser.add_argument("--only", default=",".join(SIDES), help="sides, with commas between: sdk, ours, floor")
    parser.add_argument("--tiny", action="store_true", help="small, to see that it runs; its figures mean nothing")
    parser.add_argument("--count", type=int, help="operations instead of a scenario's own number")
    parser.add_argument("--lane", choices=["own", "httpx"], default="own", help="ours over a user's own transport")
    parser.add_argument("--profile", metavar="SCENARIO", help="run ours once under a profiler and name the top costs")
    parser.add_argument("--how", choices=["calls", "cpu"], default="calls", help="count calls, or take samples")
    return parser.parse_args()


def median(found: list[dict[str, Any]], *path: str) -> float:
    """Return the median of one figure over the repeats."""
    values = list[float]()
    for figures in found:
        value: Any = figures
        for part in path:
            value = value[part]
        values.append(value)
    return statistics.median(values)


def main() -> None:
    """Run what was asked for."""
    given = options()
    extra = [*(["--tiny"] if given.tiny else []), *(["--count", str(given.count)] if given.count else [])]
    if given.profile:
        with stub() as url:
            show(given.profile, "ours", [driver("ours", url, given.profile, [*extra, "--profile", given.how])])
        return
    found = dict[tuple[str, str], list[dict[str, Any]]]()
    with stub() as url:
        for repeat in range(given.repeats):
            for name in given.scenarios.split(","):
                sides = given.only.split(",")
                for side in sides if repeat % 2 == 0 else reversed(sides):
                    lane = ["--lane", given.lane] if side == "ours" else []
                    found.setdefault((name, side), []).append(driver(side, url, name, [*extra, *lane]))
                    show(name, side, found[name, side][-1:])
    if given.repeats > 1:
        print("medians:")
        for (name, side), figures in sorted(found.items()):
            show(name, side, figures)


def show(name: str, side: str, found: list[dict[str, Any]]) -> None:
    """Print one line of figures."""
    count = median(found, "operations")
    line = f"{name} {side:5} cpu {median(found, 'cpu') / count * 1e3:8.3f} ms/op"
    line += f"  wall {median(found, 'wall') / count * 1e3:8.3f} ms/op  {count / median(found, 'wall'):8.0f} ops/s"
    if "p50" in found[0]:
        line += "".join(f"  p{part} {median(found, f'p{part}') * 1e3:.2f}" for part in (50, 95, 99))
    line += f"  polls/op {median(found, 'stub', 'polls') / count:.2f}  requests/op {median(found, 'stub', 'requests') / count:.2f}"
    line += f"  connections {median(found, 'stub', 'connections'):.0f}  peak {median(found, 'peak_rss') / 2**20:.0f} MB"
    line += f"  in/op {median(found, 'stub', 'bytes_in') / count:.0f} B  out/op {median(found, 'stub', 'bytes_out') / count:.0f} B"
    line += f"  stub cpu {median(found, 'stub', 'cpu') / median(found, 'stub', 'requests') * 1e6:.0f} us/request"
    print(line)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
