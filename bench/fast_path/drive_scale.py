"""Many clients, many results on their way, large bodies, a long past: ``python -m fast_path.drive_scale``.

``URL clients 100`` prints one line of JSON. Every answer is checked, and the stub the order of every request.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from fast_path.memory import memory
from fast_path.meter import Control, Meter, quantile, threads
from fast_path.scenarios import SCENARIOS, Scenario
from fast_path.values import RANK, SEED, check, loss_of, norm_of, rate_of, tokens_of
from tinkex.actors import ServiceClient, TrainingClientRef
from tinkex.protocol import AdamParams, Datum, ModelInput, messages

DELAY: Final = 0.2
TICK: Final = 0.005
TOKEN_BYTES: Final = 16
"""What a token with its target and weight takes in protobuf."""
LONGEST: Final = 2048
"""Tokens of a datum."""


class Scale:
    """Clients over one service, each with the number of its last request."""

    def __init__(self, url: str) -> None:
        self.control = Control(url)
        self.service = ServiceClient.start(base_url=url, state_dir="")
        self.numbers = dict[TrainingClientRef, int]()

    async def create(self, count: int) -> list[TrainingClientRef]:
        """Make that many clients at once."""
        asked = [
            self.service.ask(messages.CreateLoraTrainingClient("fast/path", rank=RANK, seed=SEED), block=False)
            for _ in range(count)
        ]
        made: list[TrainingClientRef] = [(await reply).unwrap() for reply in asked]
        self.numbers.update(dict.fromkeys(made, 0))
        return made

    async def steps(self, client: TrainingClientRef, count: int) -> None:
        """Take steps one after another."""
        for _ in range(count):
            await self.together(client, 1)

    async def together(self, client: TrainingClientRef, count: int) -> None:
        """Ask for that many steps at once, then await them."""
        first = self.numbers[client] + 1
        self.numbers[client] += count
        asked = [
            client.ask(messages.OptimStep(AdamParams(learning_rate=rate_of(first + place))), block=False)
            for place in range(count)
        ]
        for place, reply in enumerate(asked):
            check((await reply).unwrap().metrics, {"grad_norm:mean": norm_of(first + place)})

    async def measure(self, operations: int, work: Callable[[], Awaitable[Any]], delay: float = 0.0) -> dict[str, Any]:
        """Do ``work`` and return what it took, and what the stub saw of it."""
        self.control.begin(delay=delay)
        meter = Meter()
        meter.start()
        await work()
        meter.stop()
        told = self.control.report()
        check(told["disorder"], [])
        return {**meter.figures(operations), "stub": told}


async def clients(scale: Scale, count: int, operations: int) -> dict[str, Any]:
    """One client of many at work, and all of them."""
    (first,) = await scale.create(1)  # it opens the session and loads what is loaded late
    await scale.steps(first, 2)
    before, threads_before = memory("VmRSS"), threads()
    making = await scale.measure(count, lambda: scale.create(count))
    everyone = [client for client in scale.numbers if client is not first]
    held, threads_held = memory("VmRSS"), threads()
    await asyncio.gather(*(scale.steps(client, 1) for client in everyone))
    alone = await scale.measure(operations, lambda: scale.steps(everyone[0], operations))
    each = max(2, operations // count)
    late = list[float]()
    watching = asyncio.ensure_future(_watch(late))
    together = await scale.measure(
        each * count, lambda: asyncio.gather(*(scale.steps(client, each) for client in everyone))
    )
    watching.cancel()
    await asyncio.wait([watching])
    late.sort()
    return {
        "making": making,
        "alone": alone,
        "together": together,
        "bytes_each": (held - before) / count,
        "bytes_each_at_work": (memory("VmRSS") - before) / count,
        "threads": threads_held - threads_before,
        "late_p50": quantile(late, 0.5),
        "late_p99": quantile(late, 0.99),
    }


async def futures(scale: Scale, count: int, operations: int) -> dict[str, Any]:
    """Many results of one client on their way at a time."""
    (client,) = await scale.create(1)
    await scale.together(client, 10)
    before = memory("VmRSS")
    rounds = max(1, operations // count)

    async def work() -> None:
        for _ in range(rounds):
            await scale.together(client, count)

    found = await scale.measure(rounds * count, work, DELAY)
    return {**found, "rounds": rounds, "bytes_each": max(0, memory("VmHWM") - before) / count}


async def payload(scale: Scale, size: int, operations: int) -> dict[str, Any]:
    """Passes with bodies of about ``size`` bytes, were they sent as one in protobuf."""
    tokens = max(1, size // TOKEN_BYTES)
    length = min(LONGEST, tokens)
    case: Scenario = replace(SCENARIOS["C"], datums=tokens // length, tokens=length)
    data = list[Datum]()
    for datum in range(case.datums):
        ids = tokens_of(datum, case)
        inputs = {"target_tokens": ids[1:].tolist(), "weights": [1.0] * length}
        data.append(Datum(ModelInput.from_ints(ids[:-1].tolist()), inputs))
    (client,) = await scale.create(1)
    await scale.steps(client, 1)
    last = 1

    async def work() -> None:
        nonlocal last
        for _ in range(rounds):
            output = (await client.ask(messages.ForwardBackward(data), block=False)).unwrap()
            check([len(one["logprobs"].to_numpy()) for one in output.loss_fn_outputs], [length] * case.datums)
            last = _parts(output.metrics["loss:sum"], last)

    rounds = 1
    await work()
    rounds = operations
    before = memory("VmRSS")
    found = await scale.measure(rounds, work)
    return {**found, "bytes": tokens * TOKEN_BYTES, "grown": max(0, memory("VmHWM") - before), "datums": case.datums}


async def past(scale: Scale, count: int, operations: int) -> dict[str, Any]:
    """Blocks of steps one after another on one client: the last with all the others behind it."""
    (client,) = await scale.create(1)
    await scale.steps(client, 20)
    found = list[dict[str, Any]]()
    for _ in range(count):
        found.append(await scale.measure(operations, lambda: scale.steps(client, operations)))
        found[-1]["rss"] = memory("VmRSS")
    return {"blocks": found}


async def _watch(late: list[float]) -> None:
    """Note how much later than asked for this event loop, the user's, goes on after a short sleep."""
    while True:
        begun = time.perf_counter()
        try:
            await asyncio.sleep(TICK)
        finally:  # the last, which is cut short, may be late already
            late.append(max(0.0, time.perf_counter() - begun - TICK))


def _parts(loss: float, last: int) -> int:
    """Return the number of the last request of a pass whose first came behind ``last``: how many parts it had.

    Raises:
        AssertionError: no number of parts adds up to that loss.
    """
    total, number = 0.0, last
    while total < loss - 0.5:
        number += 1
        total += loss_of(number)
    check(abs(total - loss) < 1e-6 * max(1.0, loss), True)
    return number


KINDS: Final[Mapping[str, Callable[[Scale, int, int], Awaitable[dict[str, Any]]]]] = {
    "clients": clients,
    "futures": futures,
    "payload": payload,
    "past": past,
}


async def run(url: str, kind: str, size: int, operations: int) -> dict[str, Any]:
    """Measure one size of one kind, and end all."""
    scale = Scale(url)
    try:
        found = await KINDS[kind](scale, size, operations)
    finally:
        ending = Meter()
        ending.start()
        await scale.service.stop(block=False, shutdown=60.0)
        ending.stop()
    told = scale.control.report()
    check(told["unread"], 0)
    return {**found, "size": size, "ending": {**ending.figures(0), "unloads_unread": told["unloads_unread"]}}


def main() -> None:
    """Run what the command line says: the address, the kind, its size, and how many operations."""
    url, kind, size, operations = sys.argv[1:]
    print(json.dumps(asyncio.run(run(url, kind, int(size), int(operations)))), flush=True)


if __name__ == "__main__":
    main()
