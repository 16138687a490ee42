"""Peers that say exactly what a test writes, and tell what they heard."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import httpx

from tinkex.actors._transport._attempt import Attempt
from tinkex.actors._transport._http import Http
from tinkex.protocol import ApiKey

KEY = ApiKey("tml-secret")
NOWHERE = "http://127.0.0.1:1"

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(peer: Peer, tls: ssl.SSLContext | None = None) -> AsyncGenerator[str]:
    """Serve while the block runs; give the URL."""
    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await peer(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.gather(*serving)


@contextlib.asynccontextmanager
async def at(url: str, transport: httpx.AsyncBaseTransport | None = None) -> AsyncGenerator[Http]:
    """Close what was opened to ``url``."""
    http = Http(url, KEY, transport)
    try:
        yield http
    finally:
        await http.close()


async def heard(reader: asyncio.StreamReader) -> bytes:
    """Return the next request as it came."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, found, length = head.lower().partition(b"\r\ncontent-length:")
    return head + await reader.readexactly(int(length.partition(b"\r\n")[0]) if found else 0)


async def asked(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Return the next request's line, headers by their names in lower case, and body."""
    head, _, body = (await heard(reader)).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return line, headers, body


def says(raw: bytes) -> Peer:
    """Answer one request with ``raw``, and end."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(raw)
        await writer.drain()

    return peer


def answer(status: str, body: bytes, *headers: str) -> bytes:
    """Return an answer with its length."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return head.encode() + b"\r\n\r\n" + body


def keeps(wires: list[bytes], raw: bytes) -> Peer:
    """Answer each request with ``raw``; keep in ``wires`` how it came."""

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            wires.append(await heard(reader))
            writer.write(raw)

    return peer


def network(own: bool) -> httpx.AsyncBaseTransport | None:
    """Return a transport as a user brings it, where one is asked for."""
    return httpx.AsyncHTTPTransport() if own else None


async def exchange(http: Http, method: str = "POST", path: str = "/x", body: bytes | None = b"{}") -> Attempt:
    """Make one exchange by httpx, wherever it leads."""
    return await http.exchange(method, path, body, read_seconds=5.0)


class Own(httpx.AsyncBaseTransport):
    """Answers with what it is given; keeps what it was asked."""

    def __init__(self, reply: Any = None) -> None:
        self.asked: list[httpx.Request] = []
        self.reply = reply
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply if self.reply is not None else httpx.Response(200, json={})

    async def aclose(self) -> None:
        self.closed += 1
