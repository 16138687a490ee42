"""Our client through its public interface: replies are asked for, then awaited; ``python -m fast_path.drive_ours``."""

import asyncio
import time
from contextlib import ExitStack
from typing import Any, cast

from fast_path.driving import chosen, drive, options, tell
from fast_path.meter import Meter
from fast_path.profiling import profiler
from fast_path.scenarios import Scenario
from fast_path.values import RANK, SEED, Answers, rate_of, tokens_of
from tinkex.actors import ServiceClient, TrainingClientRef
from tinkex.protocol import AdamParams, Datum, ModelInput, Result, messages
from tinkex.protocol.replies import ForwardBackwardOutput


class Ours:
    """One scenario."""

    def __init__(self, url: str, case: Scenario) -> None:
        self._url = url
        self._case = case
        self.answers = Answers(case)
        self._world = ExitStack()
        self._clients = list[TrainingClientRef]()
        self._data = list[Datum]()
        self._number = 0

    async def prepare(self) -> None:
        if self._case.lane == "httpx":
            import httpx  # noqa: PLC0415 - a user of a transport of his own has it; others need not

            from tinkex.actors.testing import runtime  # noqa: PLC0415

            self._world.enter_context(runtime(http_transport=httpx.AsyncHTTPTransport()))
        self._service = ServiceClient.start(base_url=self._url, state_dir="")
        for _ in range(self._case.clients):
            made = await self._service.ask(
                messages.CreateLoraTrainingClient(self._case.model, rank=RANK, seed=SEED), block=False
            )
            self._clients.append(made.unwrap())
        for datum in range(self._case.datums):
            ids = tokens_of(datum, self._case).tolist()
            inputs = {"target_tokens": ids[1:], "weights": [1.0] * self._case.tokens}
            self._data.append(Datum(ModelInput.from_ints(ids[:-1]), inputs))

    async def run(self, count: int, meter: Meter | None) -> None:
        await getattr(self, self._case.kind)(count, meter)

    async def sequential(self, count: int, meter: Meter | None) -> None:
        client = self._clients[0]
        for _ in range(count):
            begun = time.perf_counter()
            reply = client.ask(messages.OptimStep(AdamParams(learning_rate=rate_of(self._next()))), block=False)
            self.answers.step((await reply).unwrap().metrics, self._number)
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    async def pipelined(self, count: int, meter: Meter | None) -> None:
        del meter
        client, first = self._clients[0], self._number + 1
        replies = [
            client.ask(messages.OptimStep(AdamParams(learning_rate=rate_of(self._next()))), block=False)
            for _ in range(count)
        ]
        for place, reply in enumerate(replies):
            self.answers.step((await reply).unwrap().metrics, first + place)

    async def passes(self, count: int, meter: Meter | None) -> None:
        client = self._clients[0]
        for _ in range(count):
            begun = time.perf_counter()
            result = await client.ask(messages.ForwardBackward(self._data), block=False)
            self.answers.passed(_read(result), self._next())
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    async def saves(self, count: int, meter: Meter | None) -> None:
        client, service = self._clients[0], self._service.proxy()
        for _ in range(count):
            begun = time.perf_counter()
            name = f"step-{self._next()}"
            saved = (await client.ask(messages.SaveState(name), block=False)).unwrap()
            fresh = await service.create_training_client_from_state_with_optimizer(saved.path)
            self._clients.append(fresh.unwrap())
            self.answers.saved(saved.path, name)
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    async def clients(self, count: int, meter: Meter | None) -> None:
        del meter
        first = self._number
        await asyncio.gather(*(self._train(client, count, first) for client in self._clients))
        self._number += 2 * count

    async def _train(self, client: TrainingClientRef, count: int, number: int) -> None:
        for _ in range(count):
            passed = client.ask(messages.ForwardBackward(self._data), block=False)
            stepped = client.ask(messages.OptimStep(AdamParams(learning_rate=rate_of(number))), block=False)
            number += 2
            self.answers.passed(_read(await passed), number - 1)
            self.answers.step((await stepped).unwrap().metrics, number)

    async def close(self) -> None:
        await self._service.stop(block=False)
        self._world.close()

    def _next(self) -> int:
        self._number += 1
        return self._number


def _read(result: Result[ForwardBackwardOutput]) -> Any:
    output = result.unwrap()
    return output.metrics["loss:sum"], [cast("Any", one["logprobs"]).to_numpy() for one in output.loss_fn_outputs]


def main() -> None:
    """Run one scenario."""
    given = options(__doc__)
    case = chosen(given)
    watching = profiler(given.profile)
    work = Ours(given.url, case)
    tell(asyncio.run(drive(work, case, given.url, watching.around if watching is not None else None)))


if __name__ == "__main__":
    main()
