"""What is done to a run, and when: drawn from a seed. Pure."""

import random
from typing import Final, Literal, NamedTuple

What = Literal[
    "kill trainer",
    "kill engine",
    "kill both",
    "term",
    "term, then kill",
    "freeze trainer",
    "freeze engine",
    "take over",
]

KILLS: Final = frozenset({"kill trainer", "kill engine", "kill both", "term, then kill"})
"""What counts as a ``kill -9``."""

_WEIGHTS: Final[dict[What, int]] = {
    "kill trainer": 26,
    "kill engine": 20,
    "kill both": 14,
    "term": 8,
    "term, then kill": 6,
    "freeze trainer": 6,
    "freeze engine": 6,
    "take over": 14,
}

_MOMENTS: Final[tuple[tuple[str, int], ...]] = (
    ("", 600),
    ("", 150),
    ("http", 80),
    ("sqlite", 20),
    ("write events", 14),
    ("fsync", 12),
    ("link", 3),
    ("http POST save_weights", 3),
    ("http GET training_runs", 3),
    ("http POST sessions", 2),
)
"""Points of a trainer, and of how many the count is drawn."""


class Moment(NamedTuple):
    """When: at a point of the trainer or the engine, which stands still there, or after some seconds."""

    whose: Literal["trainer", "engine", "clock"]
    label: str
    nth: int
    seconds: float


class Strike(NamedTuple):
    """One thing that is done."""

    what: What
    moment: Moment
    seconds: float
    """How long the server is away, somebody stands still, or a SIGTERM is given to save."""
    engine_first: bool
    """Of two that were killed, which is started again first."""


class Plan(NamedTuple):
    """All that is done to one run."""

    every: int
    depth: int
    keep_last: int | None
    strikes: list[Strike]

    @property
    def promise(self) -> int:
        """How many completed updates one strike may cost."""
        return self.every + self.depth


def draw(rng: random.Random, strikes: int) -> Plan:
    """Draw a plan."""
    every, depth = rng.choice([1, 2, 3, 4]), rng.choice([1, 2, 2, 3])
    return Plan(every, depth, rng.choice([None, 1, 2]), [_strike(rng) for _ in range(strikes)])


def _strike(rng: random.Random) -> Strike:
    (what,) = rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
    return Strike(what, _moment(rng), rng.choice([0.0, 0.0, 0.05, 0.2, 0.5]), rng.random() < 0.5)


def _moment(rng: random.Random) -> Moment:
    whose: Literal["trainer", "engine", "clock"]
    (whose,) = rng.choices(("trainer", "engine", "clock"), (6, 2, 2))
    if whose == "clock":
        return Moment(whose, "", 0, round(rng.uniform(0.0, 0.8), 3))
    if whose == "engine":
        return Moment(whose, "", rng.randrange(1, 40), 0.0)
    label, most = rng.choice(_MOMENTS)
    return Moment(whose, label, rng.randrange(1, most + 1), 0.0)
