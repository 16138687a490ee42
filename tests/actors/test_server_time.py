"""What a transport says of its server's clock: the date that was heard last, as far as it can be read."""

import asyncio
import random

import httpx
import pytest

from tinkex.actors._runtime._clock import SystemClock
from tinkex.actors._transport import Transport
from tinkex.protocol import ApiKey

NOON = "Sun, 06 Nov 1994 12:00:00 GMT"
NOON_SECONDS = 784123200.0


@pytest.mark.parametrize(
    ("dates", "heard"),
    [
        ([None], None),
        ([NOON], NOON_SECONDS),
        ([NOON, None], NOON_SECONDS),
        ([NOON, "Sun, 06 Nov 1994 12:00:01 GMT"], NOON_SECONDS + 1.0),
        (["Sunday, 06-Nov-94 12:00:00 GMT"], NOON_SECONDS),
        (["soon"], None),
        ([""], None),
        (["Sun, 06 Nov 99999 12:00:00 GMT"], None),
    ],
)
def test_the_date_heard_last_is_the_servers_time(dates: list[str | None], heard: float | None) -> None:
    left = [*dates]

    def handle(_: httpx.Request) -> httpx.Response:
        date = left.pop(0)
        return httpx.Response(200, headers={} if date is None else {"date": date}, content=b"{}")

    async def ask() -> float | None:
        transport = Transport(
            "http://127.0.0.1:1",
            ApiKey("tml-test"),
            SystemClock(),
            send_timeout=0.0,
            rng=random.Random(0),
            http_transport=httpx.MockTransport(handle),
        )
        assert transport.server_time is None
        for _ in dates:
            await transport.command("GET", "/healthz", None, what="health")
        await transport.close()
        return transport.server_time

    assert asyncio.run(ask()) == heard
