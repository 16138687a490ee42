"""What is measured: the scenarios with their sizes, shared by all drivers. Nothing but the standard library."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

STUB_MODEL: Final = "fast/path"
ENGINE_MODEL: Final = "tinkex/byte-tiny"

Kind = Literal["sequential", "pipelined", "passes", "saves", "clients"]
"""Which loop of a driver runs it."""


@dataclass(frozen=True)
class Scenario:
    """One row of the table of goals.

    Attributes:
        name: how it is asked for.
        title: what is done, for people.
        kind: which loop of a driver runs it.
        count: operations in the measured part; with several clients, rounds of each.
        warm_up: operations, or rounds, before it.
        clients: training clients at work at the same time.
        datums: of each pass.
        tokens: of each datum.
        delay: seconds from a request's arrival until its result is there.
        server: the stub, or the engine, whose answers nobody knows before.
        lane: ours over its own way to the network, or over a transport that a user brings.
    """

    name: str
    title: str
    kind: Kind
    count: int
    warm_up: int
    clients: int = 1
    datums: int = 0
    tokens: int = 0
    delay: float = 0.0
    server: Literal["stub", "engine"] = "stub"
    lane: Literal["own", "httpx"] = "own"

    @property
    def operations(self) -> int:
        """What is counted as an operation: a call of the user's that has a result."""
        return self.count * self.clients * (2 if self.kind in ("saves", "clients") else 1)

    @property
    def model(self) -> str:
        """The base model."""
        return STUB_MODEL if self.server == "stub" else ENGINE_MODEL

    @property
    def vocabulary(self) -> int:
        """How many tokens the base model knows."""
        return 151_643 if self.server == "stub" else 512


_A: Final = Scenario("A", "300 optim_steps, one after another", "sequential", 300, 20)
_B: Final = Scenario("B", "1,000 optim_steps pipelined", "pipelined", 1000, 50)
_ALL: Final = (
    _A,
    _B,
    Scenario("C", "forward_backward, 64 datums x 2,048 tokens, ten times", "passes", 10, 2, 1, 64, 2048),
    Scenario("D", "200 x (save, load with optimizer into a fresh client)", "saves", 200, 3),
    Scenario("E", "64 clients x 20 x (forward_backward 4 x 256 + optim_step)", "clients", 20, 1, 64, 4, 256),
    Scenario("G", "1,000 futures of 200 ms outstanding", "pipelined", 1000, 50, delay=0.2),
    replace(_A, name="httpx-A", title="A over a user's own httpx transport", lane="httpx"),
    replace(_B, name="httpx-B", title="B over a user's own httpx transport", lane="httpx"),
    Scenario("engine-A", "engine: 100 optim_steps, one after another", "sequential", 100, 5, server="engine"),
    Scenario("engine-C", "engine: forward_backward 8 x 256, five times", "passes", 5, 1, 1, 8, 256, server="engine"),
    Scenario(
        "engine-E",
        "engine: 8 clients x 5 x (forward_backward 2 x 64 + optim_step)",
        "clients",
        5,
        1,
        8,
        2,
        64,
        server="engine",
    ),
)
SCENARIOS: Final = {scenario.name: scenario for scenario in _ALL}
"""All that run in a driver; F, import and start, is measured from outside."""

_TINY: Final[Mapping[str, Mapping[str, Any]]] = {
    "A": {"count": 6, "warm_up": 1},
    "B": {"count": 12, "warm_up": 2},
    "C": {"count": 2, "warm_up": 1, "datums": 3, "tokens": 16},
    "D": {"count": 2, "warm_up": 1},
    "E": {"count": 2, "warm_up": 1, "clients": 3, "datums": 2, "tokens": 8},
    "G": {"count": 12, "warm_up": 2, "delay": 0.02},
}


def scenario(name: str, *, tiny: bool = False, count: int | None = None) -> Scenario:
    """Return the scenario called ``name``; a tiny one shows only that all of it runs right.

    Raises:
        KeyError: there is none.
    """
    found = SCENARIOS[name]
    if tiny:
        found = replace(found, **_TINY[name.rpartition("-")[2]])
    return found if count is None else replace(found, count=count)
