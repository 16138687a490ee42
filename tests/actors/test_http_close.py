"""The pool of connections is closed once, by whoever leaves last, whatever is under way when it is to be closed."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from support_lanes import change_lanes
from support_peers import answer, keeps, listening
from tinkex.actors._transport._attempt import HttpReply
from tinkex.actors._transport._http import Http
from tinkex.protocol import ApiKey

pytestmark = pytest.mark.one_lane


class Pool(httpx.AsyncBaseTransport):
    """Answers when the gate is open; complains of a request behind its end."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.entered = asyncio.Event()
        self.under_way = 0
        self.closed_with: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.under_way += 1
        self.entered.set()
        try:
            await self.gate.wait()
            return httpx.Response(200, json={})
        finally:
            self.under_way -= 1

    async def aclose(self) -> None:
        self.closed_with.append(self.under_way)


def ask(http: Http) -> "asyncio.Task[Any]":
    return asyncio.create_task(http.exchange("GET", "/x", None, read_seconds=5.0))


async def test_it_is_closed_behind_the_last_exchange_that_is_under_way() -> None:
    pool = Pool()
    http = Http("http://127.0.0.1:1", ApiKey("tml-x"), pool)
    first, second = ask(http), ask(http)
    await pool.entered.wait()
    await http.close()
    assert pool.closed_with == []
    first.cancel()
    pool.gate.set()
    assert isinstance(await second, HttpReply)
    assert pool.closed_with == [0]


async def close_one_while_the_other_asks(pool: Pool, one: Http, other: Http, asks: Callable[[], Any]) -> None:
    pool.gate.set()
    assert isinstance(await ask(one), HttpReply)
    pool.gate.clear()
    pool.entered.clear()
    under_way = asyncio.ensure_future(asks())
    await pool.entered.wait()
    await one.close()
    assert pool.closed_with == []
    pool.gate.set()
    assert isinstance(await under_way, HttpReply)
    assert pool.closed_with == [0]
    await other.close()


async def test_a_transport_that_two_clients_share_is_closed_when_neither_is_in_the_midst_of_an_exchange() -> None:
    pool = Pool()
    one, other = (Http("http://127.0.0.1:1", ApiKey("tml-x"), pool) for _ in range(2))
    await close_one_while_the_other_asks(pool, one, other, lambda: ask(other))
    assert pool.closed_with == [0, 0]


async def test_so_it_is_where_the_tests_reach_it_through_the_fast_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    change_lanes(monkeypatch)
    pool = Pool()
    one, other = (Http("http://127.0.0.1:1", ApiKey("tml-x"), pool) for _ in range(2))
    await close_one_while_the_other_asks(pool, one, other, lambda: other.post("/x", b"{}", read_seconds=5.0))
    assert pool.closed_with == [0]


async def test_transports_that_say_they_are_equal_are_closed_each_for_itself() -> None:
    class Equal(Pool):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        __hash__ = None  # type: ignore[assignment]

    busy, idle = Equal(), Equal()
    one, other = (Http("http://127.0.0.1:1", ApiKey("tml-x"), pool) for pool in (busy, idle))
    idle.gate.set()
    assert isinstance(await ask(other), HttpReply)
    under_way = ask(one)
    await busy.entered.wait()
    await other.close()
    assert idle.closed_with == [0]
    busy.gate.set()
    await under_way
    await one.close()
    assert busy.closed_with == [0]


async def test_an_exchange_that_comes_later_closes_behind_itself_even_if_it_is_cancelled() -> None:
    pool = Pool()
    http = Http("http://127.0.0.1:1", ApiKey("tml-x"), pool)
    await http.close()
    assert pool.closed_with == []
    late = ask(http)
    await pool.entered.wait()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert pool.closed_with == [0]
    pool.gate.set()
    assert isinstance(await ask(http), HttpReply)
    assert pool.closed_with == [0, 0]


async def test_a_close_that_is_cancelled_leaves_neither_way_open() -> None:
    wires: list[asyncio.StreamWriter] = []
    gone = asyncio.Semaphore(0)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wires.append(writer)
        try:
            await keeps([], answer("200 OK", b"{}"))(reader, writer)
        finally:
            gone.release()

    async with listening(peer) as url:
        http = Http(url, ApiKey("tml-x"))
        assert isinstance(await http.post("/x", b"{}", read_seconds=5.0), HttpReply)
        assert isinstance(await ask(http), HttpReply)
        closing = asyncio.ensure_future(http.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        try:
            for _ in range(2):
                await asyncio.wait_for(gone.acquire(), 10)
        finally:
            for writer in wires:
                writer.transport.abort()
    assert len(wires) == 2


async def test_an_open_one_keeps_its_pool() -> None:
    pool = Pool()
    pool.gate.set()
    http = Http("http://127.0.0.1:1", ApiKey("tml-x"), pool)
    for _ in range(3):
        await ask(http)
    assert pool.closed_with == []
    await http.close()
    await http.close()
    assert pool.closed_with == [0]
