"""Faults on request: which request they hit is decided by a seed, the same in every run. Pure but for its counts."""

import random
import threading
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, Self

import structlog

from tinkex.engine._base._errors import EngineError

log = structlog.get_logger("tinkex.engine")

DEFAULT_RATE: Final = 0.05
BURST: Final = 4
"""How many requests in a row a burst refuses."""

KINDS: Final[Mapping[str, str]] = {
    "delay": "a request waits up to a second before it is handled",
    "error": f"{BURST} requests in a row to one endpoint are answered 503 and not handled",
    "rate_limit": f"{BURST} requests in a row to one endpoint are answered 429 with a hint when to come again",
    "lost_reply": "a request is handled, and the connection is cut in the middle of the answer",
    "slow_body": "an answer comes in pieces, with pauses",
    "capacity_pause": "a poll is told that the queue is paused for want of capacity",
    "session_expiry": "a session has expired when its heartbeat comes",
    "crash_in_save": "the process kills itself between writing a checkpoint and recording it",
}
"""What each kind does."""

_IN_BURSTS: Final = frozenset({"error", "rate_limit"})


class Hit(NamedTuple):
    """A fault that happened: the ``number``-th time, from 0, that ``place`` might have had one of its kind."""

    kind: str
    place: str
    number: int


class FaultPlan:
    """Which requests are hit. Thread-safe.

    A decision depends on the seed, the kind, the place (an endpoint) and how often that place was asked before, and on
    nothing else: clients that make the same requests meet the same faults, however their requests interleave.

    Args:
        rates: from a kind of ``KINDS`` to the share of occasions that it hits, 0 to 1.
        seed: any int.

    Raises:
        EngineError: an unknown kind, or a rate that is no share.
    """

    def __init__(self, rates: Mapping[str, float], seed: int = 0) -> None:
        for kind, rate in rates.items():
            if kind not in KINDS:
                raise EngineError(f"unknown fault {kind!r}; known: {', '.join(KINDS)}")
            if not 0.0 <= rate <= 1.0:
                raise EngineError(f"the rate of fault {kind!r} must be 0 to 1, not {rate!r}")
        self._rates: Final = dict(rates)
        self._seed: Final = seed
        self._lock: Final = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._trace: list[Hit] = []

    @classmethod
    def parse(cls, texts: Iterable[str], seed: int) -> Self:
        """Read ``KIND`` or ``KIND=RATE``, as the command line has them.

        Raises:
            EngineError: as the class.
        """
        rates: dict[str, float] = {}
        for text in texts:
            kind, given, rate = text.partition("=")
            try:
                rates[kind] = float(rate) if given else DEFAULT_RATE
            except ValueError as error:
                raise EngineError(f"a fault is KIND or KIND=RATE with a rate of 0 to 1, not {text!r}") from error
        return cls(rates, seed)

    @property
    def seed(self) -> int:
        """What replays it."""
        return self._seed

    @property
    def trace(self) -> list[Hit]:
        """What has happened so far, in order."""
        with self._lock:
            return list(self._trace)

    def hit(self, kind: str, place: str) -> Hit | None:
        """Count an occasion; return the fault that happens on it, if one does."""
        rate = self._rates.get(kind, 0.0)
        if not rate:
            return None
        with self._lock:
            number = self._counts[kind, place] = self._counts.get((kind, place), -1) + 1
            occasion = number // BURST if kind in _IN_BURSTS else number
            if self._draw(kind, place, occasion, "hit") >= rate:
                return None
            hit = Hit(kind, place, number)
            self._trace.append(hit)
        log.warning("fault on request", kind=kind, place=place, number=number, seed=self._seed)
        return hit

    def share(self, hit: Hit) -> float:
        """Return 0 to 1, how much of a fault there is: for how long it lasts, or where it strikes."""
        return self._draw(hit.kind, hit.place, hit.number, "share")

    def _draw(self, *key: object) -> float:
        return random.Random(f"{self._seed}:{key}").random()  # noqa: S311 - to be repeated, not to be secret
