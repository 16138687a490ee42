"""What a user's httpx transport costs by itself, one request at a time: ``python -m fast_path.drive_floor_httpx``.

No client over that transport can be as cheap: there is no ``httpx.AsyncClient`` about it.
"""

import asyncio
import json
import time
from typing import Any

import httpx

from fast_path.driving import chosen, drive, options, tell
from fast_path.meter import Meter
from fast_path.scenarios import Scenario
from fast_path.values import RANK, Answers, rate_of


class HttpxFloor:
    """One scenario of optimizer steps."""

    def __init__(self, url: str, case: Scenario) -> None:
        self._url = url
        self._case = case
        self.answers = Answers(case)
        self._number = 0

    async def prepare(self) -> None:
        self._transport = httpx.AsyncHTTPTransport()
        self._urls = {name: httpx.URL(f"{self._url}/api/v1/{name}") for name in ("optim_step", "retrieve_future")}
        self._session = json.loads(await self._post("create_session", b"{}"))["session_id"]
        about = {"session_id": self._session, "model_seq_id": 0, "base_model": self._case.model}
        made = await self._post("create_model", json.dumps({**about, "lora_config": {"rank": RANK}}).encode())
        self._model = json.loads(await self._post("retrieve_future", made))["model_id"].encode()

    async def run(self, count: int, meter: Meter | None) -> None:
        await (self._sequential(count, meter) if self._case.kind == "sequential" else self._pipelined(count))

    async def close(self) -> None:
        await self._post(f"sessions/{self._session}/finish", b"{}")
        await self._transport.aclose()

    async def _sequential(self, count: int, meter: Meter | None) -> None:
        for _ in range(count):
            begun = time.perf_counter()
            answer = await self._post("retrieve_future", await self._step())
            self.answers.step(json.loads(answer)["metrics"], self._number)
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    async def _pipelined(self, count: int) -> None:
        first = self._number + 1
        receipts = [await self._step() for _ in range(count)]
        for place, receipt in enumerate(receipts):
            answer: Any = json.loads(await self._post("retrieve_future", receipt))
            self.answers.step(answer["metrics"], first + place)

    async def _step(self) -> bytes:
        self._number += 1
        body = b'{"adam_params":{"learning_rate":%a},"model_id":"%b","seq_id":%d,"type":"optim_step"}'
        return await self._post("optim_step", body % (rate_of(self._number), self._model, self._number))

    async def _post(self, name: str, body: bytes) -> bytes:
        url = self._urls.get(name) or httpx.URL(f"{self._url}/api/v1/{name}")
        request = httpx.Request("POST", url, headers={"content-type": "application/json"}, content=body)
        response = await self._transport.handle_async_request(request)
        found = await response.aread()
        await response.aclose()
        return found


def main() -> None:
    """Run one scenario."""
    given = options(__doc__)
    case = chosen(given)
    tell(asyncio.run(drive(HttpxFloor(given.url, case), case, given.url)))


if __name__ == "__main__":
    main()
