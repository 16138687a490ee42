"""How late an event loop gets while replies are awaited in it: ``python bench/asyncio_lag.py [open awaits ...]``.

A ticker of 5 ms in the loop notes by how much it is late: in an idle loop, in one with N awaits of a GenServer's
replies, and in one with N awaits of plain pykka's. The replies come over one second, from another thread. All are
measured in one process, one after the other, so that a busy machine slows them alike: read the ratios to the idle loop.
The worst of ours is the burst in which the caller makes its tasks, 10,000 in one turn of the loop.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pykka

from tinkex.actors import Deferred, GenServer, on
from tinkex.protocol import Ok, Request, Result

OPEN: Final = (100, 1_000, 10_000)
TICK: Final = 0.005
SECONDS: Final = 1.0
"""Over which the replies come."""

BATCHES: Final = 100


class Later(Request[int], frozen=True):
    """Answered when its deferred is settled."""

    deferred: Deferred[int]


class Server(GenServer):
    @on(Later)
    def _later(self, message: Later) -> Result[int] | Deferred[int]:
        return message.deferred


@dataclass(frozen=True)
class Lag:
    """How late the ticks were, in seconds."""

    name: str
    lags: list[float]

    def at(self, part: float) -> float:
        """Return the lag that ``part`` of the ticks did not exceed."""
        ordered = sorted(self.lags)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)]

    @property
    def shown(self) -> tuple[float, float, float]:
        """The median, the 99th percentile and the worst."""
        return self.at(0.5), self.at(0.99), self.at(1.0)


async def measured(name: str, work: Callable[[], Awaitable[object]]) -> Lag:
    lags: list[float] = []

    async def tick() -> None:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            lags.append(time.perf_counter() - due)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(4 * TICK)
    lags.clear()
    await work()
    await asyncio.sleep(TICK)
    ticking.cancel()
    return Lag(name, lags)


async def idle() -> None:
    await asyncio.sleep(SECONDS)


async def ours(count: int) -> Lag:
    """Await ``count`` replies that a GenServer owes."""
    ref = Server.start()
    deferreds = [Deferred[int]() for _ in range(count)]
    replies = [ref.ask(Later(deferred), block=False) for deferred in deferreds]
    settling = threading.Thread(
        target=over_a_second, args=([partial(deferred.settle, Ok(0)) for deferred in deferreds],)
    )
    lag = await measured("GenServer", lambda: awaited(replies, settling))
    settling.join()
    await ref.stop(block=False)
    return lag


async def plain(count: int) -> Lag:
    """Await ``count`` of pykka's own futures, which somebody else settles."""
    futures = [pykka.ThreadingFuture[int]() for _ in range(count)]
    settling = threading.Thread(target=over_a_second, args=([partial(future.set, 0) for future in futures],))
    lag = await measured("plain pykka", lambda: awaited(futures, settling))
    settling.join()
    return lag


async def awaited(replies: list[Any], settling: threading.Thread) -> None:
    async def wait(reply: Any) -> None:
        await reply

    settling.start()  # first: pykka's await stops this loop until the reply is there
    tasks = [asyncio.ensure_future(wait(reply)) for reply in replies]
    await asyncio.gather(*tasks)


def over_a_second(settles: list[Callable[[], object]]) -> None:
    size = -(-len(settles) // BATCHES)
    for begin in range(0, len(settles), size):
        time.sleep(SECONDS * size / len(settles))
        for settle in settles[begin : begin + size]:
            settle()


async def run(counts: tuple[int, ...] = OPEN) -> list[tuple[int, list[Lag]]]:
    """Measure the idle loop, ours and pykka's for each number of open awaits."""
    return [(count, [await measured("idle loop", idle), await ours(count), await plain(count)]) for count in counts]


def table(rows: list[tuple[int, list[Lag]]]) -> str:
    """Lay the lags out in ms, and the worst as a multiple of the idle loop's worst."""
    lines = [f"{'open awaits':>11} {'':12} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'max, idle loop = 1':>19}"]
    for count, lags in rows:
        for lag in lags:
            p50, p99, worst = (value * 1e3 for value in lag.shown)
            ratio = lag.at(1.0) / max(lags[0].at(1.0), 1e-6)
            lines.append(f"{count:11,} {lag.name:12} {p50:8.2f} {p99:8.2f} {worst:8.2f} {ratio:19.1f}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(asyncio.run(run(tuple(map(int, sys.argv[1:])) or OPEN))))
