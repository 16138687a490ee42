"""The figures of the benchmark at scale as a table, with what must not grow, and as a plot."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from fast_path.page import shown

Figures = Mapping[str, Any]
Found = Mapping[str, Sequence[Figures]]
"""By kind, in the order of sizes."""

FLAT: Final = 1.2
"""A cost counts as the same up to that many times itself: two runs of the same differ by as much."""


def cost(figures: Figures) -> float:
    """Return milliseconds of CPU of an operation."""
    return float(figures["cpu"] / figures["operations"] * 1e3)


def rate(figures: Figures) -> float:
    """Return operations in a second."""
    return float(figures["operations"] / figures["wall"])


def per_operation(figures: Figures, name: str) -> float:
    """Return one of the stub's counts for each operation."""
    return float(figures["stub"][name] / figures["operations"])


def tables(found: Found) -> str:
    """Return the tables of all kinds that were measured."""
    parts = [make(found[kind]) for kind, make in _TABLES.items() if kind in found]
    return "\n\n".join([*parts, _table(["what must not grow", "from", "to", "goal"], growth(found))])


def growth(found: Found) -> list[list[str]]:
    """Return what must not grow: the cost at the least and at the most, and whether it is the same."""
    rows = list[list[str]]()

    def compare(what: str, first: float, last: float, unit: str) -> None:
        met = "met" if last <= first * FLAT else "MISSED"
        rows.append([what, shown(first, unit), shown(last, unit), f"at most {FLAT:.3g}x: {met} ({last / first:.2f}x)"])

    if "clients" in found:
        least, most = found["clients"][0], found["clients"][-1]
        beside = f"CPU of an operation beside {most['size'] - least['size']:,} idle clients"
        compare(beside, cost(least["alone"]), cost(most["alone"]), "ms")
        together = f"CPU of an operation with {most['size']:,} clients at work"
        compare(together, cost(least["together"]), cost(most["together"]), "ms")
        tenth = found["clients"][-2] if len(found["clients"]) > 1 else least
        compare(f"memory of a client, of {most['size']:,}", tenth["bytes_each"] / 1e3, most["bytes_each"] / 1e3, "kB")
    if "futures" in found:
        least, most = found["futures"][0], found["futures"][-1]
        compare(f"CPU of an operation with {most['size']:,} results on their way", cost(least), cost(most), "ms")
    if "payload" in found:
        large = [figures for figures in found["payload"] if figures["bytes"] >= 1e6] or found["payload"][-1:]
        costs = [_cost_of_megabyte(figures) for figures in large]
        compare("CPU for a MB of a pass, from 1 MB on", costs[0], costs[-1], "ms")
    if "past" in found:
        blocks: Sequence[Figures] = found["past"][0]["blocks"]
        quarter = max(1, len(blocks) // 4)
        first, last = (sum(map(cost, part)) / quarter for part in (blocks[:quarter], blocks[-quarter:]))
        done = sum(int(block["operations"]) for block in blocks)
        compare(f"CPU of an operation after {done:,} others", first, last, "ms")
        compare(f"memory after {done:,} operations", blocks[0]["rss"] / 2**20, blocks[-1]["rss"] / 2**20, "MiB")
    return rows


def _clients(found: Sequence[Figures]) -> str:
    head = [
        "clients",
        "CPU of a create",
        "memory each",
        "threads",
        "CPU of an operation, one at work",
        "all at work",
        "operations in a second",
        "lag of the user's loop, p99",
        "connections",
        "stop of all",
    ]
    rows = [
        [
            f"{one['size']:,}",
            shown(cost(one["making"]), "ms"),
            shown(one["bytes_each"] / 1e3, "kB"),
            str(one["threads"]),
            shown(cost(one["alone"]), "ms"),
            shown(cost(one["together"]), "ms"),
            shown(rate(one["together"]), ""),
            shown(one["late_p99"] * 1e3, "ms"),
            str(one["together"]["stub"]["connections"]),
            shown(one["ending"]["wall"], "s"),
        ]
        for one in found
    ]
    return _table(head, rows)


def _futures(found: Sequence[Figures]) -> str:
    head = [
        "results on their way",
        "CPU of an operation",
        "a round",
        "polls of an operation",
        "connections",
        "memory each",
    ]
    rows = [
        [
            f"{one['size']:,}",
            shown(cost(one), "ms"),
            shown(one["wall"] / one["rounds"], "s"),
            f"{per_operation(one, 'polls'):.2f}",
            str(one["stub"]["connections"]),
            shown(one["bytes_each"] / 1e3, "kB") if one["size"] >= 100 else "",
        ]
        for one in found
    ]
    return _table(head, rows)


def _payload(found: Sequence[Figures]) -> str:
    head = ["body in protobuf", "CPU of a pass", "CPU for a MB", "a pass", "sent", "requests", "memory beyond the data"]
    rows = [
        [
            shown(one["bytes"] / 1e6, "MB"),
            shown(cost(one), "ms"),
            shown(_cost_of_megabyte(one), "ms"),
            shown(one["wall"] / one["operations"] * 1e3, "ms"),
            shown(per_operation(one, "bytes_in") / 1e6, "MB"),
            f"{per_operation(one, 'requests'):.3g}",
            shown(one["grown"] / 1e6, "MB"),
        ]
        for one in found
    ]
    return _table(head, rows)


_TABLES: Final[Mapping[str, Callable[[Sequence[Figures]], str]]] = {
    "clients": _clients,
    "futures": _futures,
    "payload": _payload,
}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _cost_of_megabyte(figures: Figures) -> float:
    return cost(figures) / float(figures["bytes"]) * 1e6


def _kilobytes(figures: Figures) -> float:
    return float(figures["bytes_each"]) / 1e3


def _late(part: int) -> Callable[[Figures], float]:
    return lambda figures: float(figures[f"late_p{part}"]) * 1e3


def _cost_of(part: str) -> Callable[[Figures], float]:
    return lambda figures: cost(figures[part])


def _polls(figures: Figures) -> float:
    return per_operation(figures, "polls")


Lines = Mapping[str, Callable[[Figures], float]]
_COSTS: Final[Lines] = {"one at work, the others idle": _cost_of("alone"), "all at work": _cost_of("together")}
_LAG: Final[Lines] = {"p50": _late(50), "p99": _late(99)}
_ON_THE_WAY: Final[Lines] = {"CPU of an operation, ms": cost, "polls of an operation": _polls}


def draw(path: Path, found: Found) -> None:
    """Draw each kind over its sizes."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to load: only where something is drawn
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    mpl.use("Agg")
    # Any: matplotlib's own annotations are unfinished.
    figure: Any = Figure(figsize=(12, 8), layout="constrained")
    axes = figure.subplots(2, 3).flatten()

    def panel(place: int, kind: str, title: str, lines: Lines, label: str) -> None:
        rows = found.get(kind, ())
        for name, value in lines.items():
            axes[place].plot([one["size"] for one in rows], [value(one) for one in rows], "o-", label=name)
        axes[place].set(title=title, xlabel=label, xscale="log")
        if kind != "payload":
            axes[place].set_ylim(bottom=0)
        axes[place].legend(fontsize=8)

    panel(0, "clients", "CPU of an operation, ms", _COSTS, "clients")
    panel(1, "clients", "lag of the user's event loop, all at work, ms", _LAG, "clients")
    panel(2, "clients", "memory of a client, kB", {"idle": _kilobytes}, "clients")
    panel(3, "futures", "results of 200 ms on their way", _ON_THE_WAY, "on their way")
    panel(4, "payload", "a pass, by its size", {"ms of CPU for a MB": _cost_of_megabyte}, "bytes in protobuf")
    axes[4].set_yscale("log")
    blocks: Sequence[Figures] = found["past"][0]["blocks"] if "past" in found else ()
    done = [sum(int(block["operations"]) for block in blocks[: place + 1]) for place in range(len(blocks))]
    axes[5].plot(done, [cost(block) for block in blocks], "o-")
    axes[5].set(title="CPU of an operation behind others, ms", xlabel="operations before", ylim=(0, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})
