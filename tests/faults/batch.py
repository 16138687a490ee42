"""Many runs, side by side in processes that one loaded parent forks."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from faults.invariants import broken_laws
from faults.plan import KINDS, LABELS, Fault, applies, plan
from faults.play import Outcome, play
from faults.program import Program, program, reached

TAIL: Final = 60
"""Lines of a failed run's trace that are shown."""

CHUNK: Final = 20
STOP_AT: Final = 20
"""After how many failures the rest is not run."""


class Case(NamedTuple):
    """One run."""

    seed: int
    program: Program
    plan: tuple[Fault, ...]


@dataclass
class Tally:
    """What many runs came to.

    Args:
        runs: how many there were.
        hits: how often each kind struck at each label.
        failures: a text for each run that broke a law.
        seconds: how long it took.
    """

    runs: int = 0
    hits: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    failures: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    def add(self, other: "Tally") -> None:
        """Count in what another came to."""
        self.runs += other.runs
        self.hits.update(other.hits)
        self.failures += other.failures

    def report(self) -> str:
        """Say how fast it went, and what was hit how often."""
        pairs = [(kind, label) for kind in KINDS for label in LABELS if applies(kind, label)]
        met = sum(pair in self.hits for pair in pairs)
        lines = [
            f"{self.runs} runs in {self.seconds:.1f} s, {self.runs / max(self.seconds, 1e-9):.0f} a second",
            f"{sum(self.hits.values())} faults struck, {met} of {len(pairs)} pairs of fault and step",
            f"{len(self.failures)} runs broke a law",
        ]
        for position, title in enumerate(("fault", "step")):
            counts = Counter[str]()
            for pair, count in self.hits.items():
                counts[pair[position]] += count
            lines.append(f"by {title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
        width = max(map(len, LABELS))
        lines.append(f"{'':{width}} " + " ".join(f"{number:>3}" for number in range(1, len(KINDS) + 1)))
        for label in LABELS:
            cells = [f"{min(self.hits[kind, label], 999):>3}" if applies(kind, label) else "  -" for kind in KINDS]
            lines.append(f"{label:{width}} {' '.join(cells)}")
        lines.append("columns: " + ", ".join(f"{number} {kind}" for number, kind in enumerate(KINDS, 1)))
        return "\n".join(lines)


def seeded(seeds: Iterable[int]) -> Iterator[Case]:
    """Yield the runs of ``seeds``."""
    for seed in seeds:
        what = program(seed)
        yield Case(seed, what, plan(seed, reached(what)))


def run_case(case: Case) -> Tally:
    """Run one, and see whether it broke a law."""
    outcome = play(*case)
    tally = Tally(1, Counter(outcome.network.hits))
    laws = broken_laws(outcome)
    if laws:
        tally.failures.append(describe(case, outcome, laws))
    return tally


def run_cases(cases: Iterable[Case], jobs: int) -> Tally:
    """Run ``cases`` in ``jobs`` processes."""
    total = Tally()
    begun = time.monotonic()
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for tally in pool.imap_unordered(run_case, cases, CHUNK):
            total.add(tally)
            if len(total.failures) >= STOP_AT:
                break
        else:
            pool.close()
            pool.join()
    total.seconds = time.monotonic() - begun
    return total


def describe(case: Case, outcome: Outcome, laws: list[str]) -> str:
    """Say all that is needed to see a failure again."""
    what = case.program
    lines = [
        f"seed {case.seed}; plan: {' '.join(map(str, case.plan)) or 'no faults'}",
        *(f"  broken: {law}" for law in laws[:10]),
        f"  {what}",
        *(f"    {step}" for step in what.steps),
        f"  the trace ends (of {len(outcome.trace)} lines):",
        *(f"    {line}" for line in outcome.trace[-TAIL:]),
    ]
    return "\n".join(lines)
