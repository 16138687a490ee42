"""The official SDK as its docs use it: futures are submitted, then awaited; ``python -m fast_path.drive_sdk``."""

import asyncio
import importlib
import sys
import time
import warnings
from typing import Any

from fast_path.driving import chosen, drive, options, tell
from fast_path.meter import Meter
from fast_path.scenarios import Scenario
from fast_path.values import RANK, SEED, Answers, rate_of, tokens_of

KEY = "tml-bench"


def alone() -> Any:
    """Import the SDK from its own environment alone, which another may have been lent to: torch is an extra of it."""
    sys.path[:] = [entry for entry in sys.path if not entry.endswith("site-packages") or entry.startswith(sys.prefix)]
    warnings.simplefilter("ignore")
    return importlib.import_module("tinker")


class Sdk:
    """One scenario."""

    def __init__(self, tinker: Any, url: str, case: Scenario) -> None:
        self._tinker = tinker
        self._types = tinker.types
        self._url = url
        self._case = case
        self.answers = Answers(case)
        self._clients = list[Any]()
        self._data = list[Any]()
        self._number = 0

    async def prepare(self) -> None:
        self._service = self._tinker.ServiceClient(base_url=self._url, api_key=KEY)
        for _ in range(self._case.clients):
            self._clients.append(
                await self._service.create_lora_training_client(self._case.model, rank=RANK, seed=SEED)
            )
        types = self._types
        for datum in range(self._case.datums):
            ids = tokens_of(datum, self._case).tolist()
            inputs = {"target_tokens": ids[1:], "weights": [1.0] * self._case.tokens}
            self._data.append(types.Datum(model_input=types.ModelInput.from_ints(ids[:-1]), loss_fn_inputs=inputs))

    async def run(self, count: int, meter: Meter | None) -> None:
        await getattr(self, self._case.kind)(count, meter)

    async def sequential(self, count: int, meter: Meter | None) -> None:
        client = self._clients[0]
        for _ in range(count):
            begun = time.perf_counter()
            future = client.optim_step(self._types.AdamParams(learning_rate=rate_of(self._next())))
            self.answers.step((await future).metrics, self._number)
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    async def pipelined(self, count: int, meter: Meter | None) -> None:
        del meter
        client, first = self._clients[0], self._number + 1
        futures = [client.optim_step(self._types.AdamParams(learning_rate=rate_of(self._next()))) for _ in range(count)]
        for place, future in enumerate(futures):
            self.answers.step((await future).metrics, first + place)

    async def passes(self, count: int, meter: Meter | None) -> None:
        client = self._clients[0]
        for _ in range(count):
            begun = time.perf_counter()
            result = await client.forward_backward(self._data, "cross_entropy")
            self.answers.passed(self._read(result), self._next())
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    async def saves(self, count: int, meter: Meter | None) -> None:
        client = self._clients[0]
        for _ in range(count):
            begun = time.perf_counter()
            name = f"step-{self._next()}"
            saved = await client.save_state(name)
            fresh = await self._service.create_training_client_from_state_with_optimizer(saved.path)
            self._clients.append(fresh)
            self.answers.saved(saved.path, name)
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    async def clients(self, count: int, meter: Meter | None) -> None:
        del meter
        first = self._number
        await asyncio.gather(*(self._train(client, count, first) for client in self._clients))
        self._number += 2 * count

    async def _train(self, client: Any, count: int, number: int) -> None:
        for _ in range(count):
            passed = client.forward_backward(self._data, "cross_entropy")
            stepped = client.optim_step(self._types.AdamParams(learning_rate=rate_of(number)))
            number += 2
            self.answers.passed(self._read(await passed), number - 1)
            self.answers.step((await stepped).metrics, number)

    async def close(self) -> None:
        await self._service.close("success")

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _read(self, result: Any) -> Any:
        return result.metrics["loss:sum"], [output["logprobs"].to_numpy() for output in result.loss_fn_outputs]


def main() -> None:
    """Run one scenario."""
    given = options(__doc__)
    case = chosen(given)
    tell(asyncio.run(drive(Sdk(alone(), given.url, case), case, given.url)))


if __name__ == "__main__":
    main()
