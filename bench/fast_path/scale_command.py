"""The hot path at scale, ``python bench/fast_path/scale.py``: many clients, results, bytes, and a long past."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from fast_path.page import DOCS, machine, made_on, write_between, write_json
from fast_path.processes import WrongError, run, stub
from fast_path.scale_page import draw, tables

MARKER: Final = "fast path at scale"


class Size(NamedTuple):
    """One size of a kind, and how many operations show what it costs."""

    size: int
    operations: int


SIZES: Final[dict[str, list[Size]]] = {
    "clients": [Size(1, 2000), Size(10, 2000), Size(100, 2000), Size(1000, 2000)],
    "futures": [Size(1, 10), Size(10, 100), Size(100, 1000), Size(1000, 3000), Size(10_000, 10_000)],
    "payload": [
        Size(1_000, 100),
        Size(10_000, 100),
        Size(100_000, 50),
        Size(1_000_000, 20),
        Size(5_000_000, 8),
        Size(10_000_000, 5),
        Size(50_000_000, 3),
    ],
    "past": [Size(20, 1000)],
}
TINY: Final[dict[str, list[Size]]] = {
    "clients": [Size(1, 6), Size(4, 8)],
    "futures": [Size(1, 2), Size(30, 30)],
    "payload": [Size(1_000, 2), Size(100_000, 1)],
    "past": [Size(4, 5)],
}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", default=",".join(SIZES), help=f"with commas between: {', '.join(SIZES)}")
    parser.add_argument("--tiny", action="store_true", help="small, to see that it runs; its figures mean nothing")
    parser.add_argument("--json", type=Path, help="a file for all figures")
    parser.add_argument("--plot", type=Path, help="a file for the plot")
    parser.add_argument("--write", action="store_true", help="write the tables, the JSON and the plot of the docs")
    given = parser.parse_args()
    kinds: list[str] = given.kinds.split(",")
    if unknown := set(kinds) - set(SIZES):
        parser.error(f"there is no kind {', '.join(unknown)}; there are {', '.join(SIZES)}")
    if given.write and (given.tiny or set(kinds) != set(SIZES)):
        parser.error("--write is for a whole run: without --tiny and --kinds")
    found = dict[str, list[dict[str, Any]]]()
    load = [os.getloadavg()[0]]
    with stub() as url:
        for kind in kinds:
            for size, operations in (TINY if given.tiny else SIZES)[kind]:
                figures = run("ours", "drive_scale", url, kind, str(size), str(operations))
                found.setdefault(kind, []).append(figures)
                load.append(os.getloadavg()[0])
                print(f"{kind} {size} done", flush=True)
    about = machine()
    text = f"{made_on(about, load)}\n\n{tables(found)}\n"
    print(f"\n{text}")
    kept = {"machine": about, "load": load, "runs": found}
    if given.json is not None:
        write_json(given.json, kept)
    if given.plot is not None:
        draw(given.plot, found)
    if given.write:
        write_json(DOCS / "benchmarks" / "fast_path_scale.json", kept)
        draw(DOCS / "benchmarks" / "fast_path_scale.png", found)
        write_between(MARKER, text)


if __name__ == "__main__":
    try:
        main()
    except WrongError as error:
        sys.exit(str(error))
