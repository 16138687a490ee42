"""What is measured: the scenarios with their sizes, shared by all drivers. Nothing but the standard library."""

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class Scenario:
    """One row of the issue's table.

    Attributes:
        name: one letter.
        title: what is done, for people.
        kind: which loop of a driver runs it: ``sequential``, ``pipelined``, ``passes``, ``saves`` or ``clients``.
        count: operations in the measured part; with several clients, rounds of each.
        warm_up: operations, or rounds, before it.
        clients: training clients at work at the same time.
        datums: of each pass.
        tokens: of each datum.
        delay: seconds from a request's arrival until its result is there.
    """

    name: str
    title: str
    kind: str
    count: int
    warm_up: int
    clients: int = 1
    datums: int = 0
    tokens: int = 0
    delay: float = 0.0

    @property
    def operations(self) -> int:
        """What is counted as an operation: a call of the user's that has a result."""
        return self.count * self.clients * (2 if self.kind in ("saves", "clients") else 1)


SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario("A", "300 optim_steps, one after another", "sequential", 300, 20),
        Scenario("B", "1,000 optim_steps pipelined", "pipelined", 1000, 50),
        Scenario("C", "forward_backward, 64 datums x 2,048 tokens, ten times", "passes", 10, 2, 1, 64, 2048),
        Scenario("D", "200 x (save, load with optimizer into a fresh client)", "saves", 200, 3),
        Scenario("E", "64 clients x 20 x (forward_backward 4 x 256 + optim_step)", "clients", 20, 1, 64, 4, 256),
        Scenario("G", "1,000 futures of 200 ms outstanding", "pipelined", 1000, 50, delay=0.2),
    )
}
"""All that run in a driver; F, import and start, is measured from outside."""

TINY: Final = {
    "A": {"count": 6, "warm_up": 1},
    "B": {"count": 12, "warm_up": 2},
    "C": {"count": 2, "warm_up": 1, "datums": 3, "tokens": 16},
    "D": {"count": 2, "warm_up": 1},
    "E": {"count": 2, "warm_up": 1, "clients": 3, "datums": 2, "tokens": 8},
    "G": {"count": 12, "warm_up": 2, "delay": 0.02},
}
"""Sizes that show only that all of it runs right."""


def scenario(name: str, *, tiny: bool = False) -> Scenario:
    """Return the scenario called ``name``."""
    found = SCENARIOS[name]
    return replace(found, **TINY[name]) if tiny else found  # type: ignore[arg-type]
