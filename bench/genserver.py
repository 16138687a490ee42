"""GenServer against plain pykka, side by side in one process: ``python bench/genserver.py [rounds]``.

Every figure is the median over rounds that alternate between the two, so that a busy machine slows both.
"""

import gc
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pykka

from tinkex.actors import GenServer, on
from tinkex.protocol import Ok, Request, Result

ROUNDS: Final = 9
ACTORS: Final = 200
REPLIES: Final = 20_000


class Ping(Request[int], frozen=True):
    number: int


class Server(GenServer):
    @on(Ping)
    def _ping(self, message: Ping) -> Result[int]:
        return Ok(message.number)

    def add(self, number: int) -> int:
        return number + 1


class Plain(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return Ok(message.number)

    def add(self, number: int) -> int:
        return number + 1


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, and whether more is better."""

    name: str
    unit: str
    ours: float
    plain: float
    more_is_better: bool

    @property
    def ratio(self) -> float:
        """How many times better than plain pykka: above 1 is better."""
        return self.ours / self.plain if self.more_is_better else self.plain / self.ours


def blocking(ref: Any, count: int = 2_000) -> float:
    message = Ping(1)
    start = time.perf_counter()
    for _ in range(count):
        ref.ask(message)
    return count / (time.perf_counter() - start)


def pipelined(ref: Any, count: int = 10_000) -> float:
    message = Ping(1)
    start = time.perf_counter()
    replies = [ref.ask(message, block=False) for _ in range(count)]
    for reply in replies:
        reply.get()
    return count / (time.perf_counter() - start)


def tells(ref: Any, count: int = 10_000) -> float:
    message = Ping(1)
    start = time.perf_counter()
    for _ in range(count):
        ref.tell(message)
    ref.ask(message)
    return count / (time.perf_counter() - start)


def proxied(ref: Any, count: int = 5_000) -> float:
    proxy = ref.proxy()
    start = time.perf_counter()
    replies = [proxy.add(1) for _ in range(count)]
    for reply in replies:
        reply.get()
    return count / (time.perf_counter() - start)


def bytes_per_reply(ref: Any) -> float:
    message = Ping(1)
    replies: list[Any] = []
    gc.collect()
    tracemalloc.start()
    replies.extend(ref.ask(message, block=False) for _ in range(REPLIES))
    for reply in replies:
        reply.get()
    ref.ask(message)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / REPLIES


def bytes_per_actor(start: Callable[[], Any]) -> float:
    gc.collect()
    tracemalloc.start()
    refs = [start() for _ in range(ACTORS)]
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for ref in refs:
        ref.stop()
    return used / ACTORS


def compare(name: str, unit: str, measure: Callable[[Any], float], ours: Any, plain: Any, rounds: int) -> Figure:
    mine: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        for _ in range(2):
            if (len(mine) + len(theirs) + number) % 2:
                mine.append(measure(ours))
            else:
                theirs.append(measure(plain))
    return Figure(name, unit, statistics.median(mine), statistics.median(theirs), unit.endswith("/s"))


def run(rounds: int = ROUNDS) -> list[Figure]:
    """Measure everything, ``rounds`` times each."""
    ours, plain = Server.start(), Plain.start()
    try:
        figures = [
            compare("blocking asks", "1/s", blocking, ours, plain, rounds),
            compare("pipelined asks", "1/s", pipelined, ours, plain, rounds),
            compare("tells", "1/s", tells, ours, plain, rounds),
            compare("proxied calls, pipelined", "1/s", proxied, ours, plain, rounds),
            compare("memory per settled reply", "bytes", bytes_per_reply, ours, plain, min(rounds, 3)),
        ]
    finally:
        ours.stop()
        plain.stop()
    return [*figures, compare("memory per actor", "bytes", bytes_per_actor, Server.start, Plain.start, min(rounds, 3))]


def table(figures: list[Figure]) -> str:
    """Lay the figures out; a ratio above 1 is better than plain pykka."""
    lines = [f"{'':26} {'unit':>6} {'GenServer':>11} {'plain pykka':>12} {'ratio':>7}"]
    lines += [
        f"{figure.name:26} {figure.unit:>6} {figure.ours:11,.0f} {figure.plain:12,.0f} {figure.ratio:7.2f}"
        for figure in figures
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(run(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)))
