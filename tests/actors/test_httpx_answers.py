"""An answer by httpx: what comes is told as it is, and what ends badly leaves nothing behind."""

import asyncio
import gc
import gzip
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from support_peers import KEY, NOWHERE, Own, answer, at, exchange, heard, keeps, listening, says
from tinkex.actors._transport._attempt import HttpReply, Lost, NotSent
from tinkex.actors._transport._http import Http

pytestmark = pytest.mark.one_lane

# What comes back


class Parts(httpx.AsyncByteStream):
    """A body in pieces, with what happens behind the last; counts how often it was closed."""

    def __init__(self, *parts: bytes, then: BaseException | None = None, forever: bool = False) -> None:
        self._parts, self._then, self._forever = parts, then, forever
        self.reached = asyncio.Event()
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part
        self.reached.set()
        if self._forever:
            await asyncio.Event().wait()
        if self._then is not None:
            raise self._then

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        (None, b'{"a": 1}'),
        ("identity", b'{"a": 1}'),
        ("gzip", gzip.compress(b'{"a": 1}')),
        ("deflate", zlib.compress(b'{"a": 1}')),
        ("deflate", zlib.compress(b'{"a": 1}')[2:-4]),
        ("deflate, gzip", gzip.compress(zlib.compress(b'{"a": 1}'))),
    ],
    ids=["nothing said", "identity", "gzip", "deflate", "raw deflate", "both"],
)
async def test_a_body_is_unpacked_however_it_comes(encoding: str | None, packed: bytes) -> None:
    headers = {} if encoding is None else {"content-encoding": encoding}
    pieces = Parts(*(packed[at : at + 3] for at in range(0, len(packed), 3)))
    for own in (
        Own(httpx.Response(200, headers=headers, stream=pieces)),
        Own(httpx.Response(200, headers=headers, content=packed)),
    ):
        reply = await exchange(Http(NOWHERE, KEY, own))
        assert isinstance(reply, HttpReply)
        assert (reply.status, reply.body) == (200, b'{"a": 1}')
    assert pieces.closed == 1
    raw = answer("200 OK", packed, *(f"{name}: {value}" for name, value in headers.items()))
    async with listening(says(raw)) as url, at(url) as http:
        reply = await exchange(http)
    assert isinstance(reply, HttpReply)
    assert reply.body == b'{"a": 1}'


async def test_an_answer_that_the_transport_has_read_already_is_taken_as_it_is() -> None:
    response = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Parts(gzip.compress(b"{}")))
    assert await response.aread() == b"{}"
    reply = await exchange(Http(NOWHERE, KEY, Own(response)))
    assert isinstance(reply, HttpReply)
    assert reply.body == b"{}"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (httpx.ConnectError("no"), NotSent("ConnectError: no")),
        (httpx.ConnectTimeout("no"), NotSent("ConnectTimeout: no")),
        (httpx.PoolTimeout("no"), NotSent("PoolTimeout: no")),
        (httpx.InvalidURL("no"), NotSent("InvalidURL: no")),
        (httpx.ReadTimeout("no"), Lost("ReadTimeout: no", timed_out=True)),
        (httpx.WriteTimeout("no"), Lost("WriteTimeout: no", timed_out=True)),
        (httpx.ReadError("no"), Lost("ReadError: no", timed_out=False)),
        (httpx.WriteError("no"), Lost("WriteError: no", timed_out=False)),
        (httpx.CloseError("no"), Lost("CloseError: no", timed_out=False)),
        (httpx.ProxyError("no"), Lost("ProxyError: no", timed_out=False)),
        (httpx.LocalProtocolError("no"), Lost("LocalProtocolError: no", timed_out=False)),
        (httpx.RemoteProtocolError(""), Lost("RemoteProtocolError", timed_out=False)),
        (httpx.UnsupportedProtocol("no"), Lost("UnsupportedProtocol: no", timed_out=False)),
        (httpx.TooManyRedirects("no"), Lost("TooManyRedirects: no", timed_out=False)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_a_transport_raises_says_whether_the_request_may_have_run(error: Exception, outcome: Any) -> None:
    assert await exchange(Http(NOWHERE, KEY, Own(error))) == outcome


async def test_what_no_transport_should_raise_is_raised_and_holds_no_close_up() -> None:
    own = Own(ZeroDivisionError("a bug of the user's"))
    http = Http(NOWHERE, KEY, own)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await exchange(http)
    assert own.closed == 0
    await http.close()
    assert own.closed == 1


# What is left behind


@pytest.mark.parametrize(
    ("part", "then", "outcome"),
    [
        (b"{", httpx.ReadError("gone"), Lost("ReadError: gone", timed_out=False)),
        (b"{", httpx.ReadTimeout("late"), Lost("ReadTimeout: late", timed_out=True)),
        (b"no gzip", None, None),
    ],
    ids=["broken off", "too slow", "no gzip"],
)
async def test_a_body_that_does_not_come_whole_is_lost_and_given_back(
    part: bytes, then: Exception | None, outcome: Lost | None
) -> None:
    stream = Parts(part, then=then)
    headers = {"content-encoding": "gzip"} if outcome is None else {}
    attempt = await exchange(Http(NOWHERE, KEY, Own(httpx.Response(200, headers=headers, stream=stream))))
    assert isinstance(attempt, Lost)
    assert attempt == outcome or (outcome is None and attempt.cause.startswith("DecodingError"))
    assert stream.closed == 1


async def test_an_exchange_cancelled_in_mid_body_gives_it_back() -> None:
    stream = Parts(b"{", forever=True)
    task = asyncio.ensure_future(exchange(Http(NOWHERE, KEY, Own(httpx.Response(200, stream=stream)))))
    await stream.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stream.closed == 1


async def test_an_exchange_cancelled_in_mid_body_leaves_no_connection() -> None:
    gone: list[asyncio.Event] = []
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"
    written = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone.append(asyncio.Event())
        await heard(reader)
        writer.write(half)
        written.set()
        await reader.read()
        gone[-1].set()

    async with listening(peer) as url, at(url) as http:
        for _ in range(2):
            written.clear()
            task = asyncio.ensure_future(exchange(http))
            await written.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(gone[-1].wait(), 10)
        assert len(gone) == 2


async def test_after_its_end_a_lane_opens_anew_and_ends_again() -> None:
    wires: list[bytes] = []
    ended = asyncio.Semaphore(0)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await keeps(wires, answer("200 OK", b"{}"))(reader, writer)
        finally:
            ended.release()

    async with listening(peer) as url:
        http = Http(url, KEY)
        for _ in range(3):
            assert isinstance(await exchange(http), HttpReply)
            await http.close()
            await asyncio.wait_for(ended.acquire(), 10)
    assert len(wires) == 3


@pytest.fixture
def garbage() -> Iterator[list[Any]]:
    """What only the collector frees of what a test leaves behind."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.enable()
    gc.garbage.clear()


OURS = (httpx.Request, httpx.Response, httpx.Headers, httpx.URL, httpx.AsyncByteStream, HttpReply, Lost, NotSent)


def replies(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"a": 1})


def redirects(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(307, headers={"location": "/elsewhere"}, stream=Parts(b"{}"))


def talks_nonsense(_request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Parts(b"none"))


def breaks_off(_request: httpx.Request) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        raise httpx.ReadError("gone")

    return httpx.Response(200, content=body())


def is_not_there(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no")


@pytest.mark.parametrize(
    "answers",
    [replies, redirects, talks_nonsense, breaks_off, is_not_there, None],
    ids=["an answer", "a redirect", "no gzip", "half a body", "no connection", "over the network"],
)
async def test_no_exchange_leaves_a_cycle_behind(answers: Any, garbage: list[Any]) -> None:
    transport = None if answers is None else httpx.MockTransport(answers)
    async with listening(keeps([], answer("200 OK", b"{}"))) as url, at(url, transport) as http:
        for _ in range(3):
            await exchange(http)
        gc.collect()
        assert [found for found in garbage if isinstance(found, OURS)] == []
