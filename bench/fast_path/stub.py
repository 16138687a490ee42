"""The stub server: HTTP/1.1 by hand on one event loop, ``python -m fast_path.stub``; prints its address.

Every request is read whole, answered in its order, and the connection is kept. It ends with its standard input.
"""

import asyncio
import email.utils
import gc
import os
import sys
from functools import partial
from typing import Final

from fast_path.stub_service import Answer, Service
from fast_path.stub_wire import Buffer

FIRST_BYTES: Final = 8192
_NO_LENGTH: Final = b"411 Length Required"


class Connection(asyncio.BufferedProtocol):
    """One client's connection. What arrives goes into one buffer that is kept: fresh memory costs more than reading."""

    __slots__ = ("_buffer", "_counted", "_filled", "_head", "_needed", "_parked", "_server", "_transport")

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._buffer = bytearray(FIRST_BYTES)
        self._counted = False
        self._filled = 0
        self._needed = 0
        self._head = b""
        self._parked: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._counted:
            self._server.service.open_connections -= 1
        if self._parked is not None:
            self._parked.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        wanted = max(self._needed, self._filled + FIRST_BYTES // 2)
        if wanted > len(self._buffer):
            grown = bytearray(wanted + FIRST_BYTES)
            grown[: self._filled] = memoryview(self._buffer)[: self._filled]
            self._buffer = grown
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        while self._filled and self._parked is None and self._filled >= self._needed and self._step():
            pass

    def _step(self) -> bool:
        """Answer the first request in the buffer; return whether it was there whole."""
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n", 0, self._filled)
            if end < 0:
                return False
            self._head = bytes(self._buffer[: end + 2])
            length = _length(self._head)
            if length < 0:
                self._send(Answer(b'{"detail":"say a content-length"}', status=_NO_LENGTH))
                self._transport.close()
                return False
            self._needed = end + 4 + length
            if self._filled < self._needed:
                return False
        size, left = self._needed, self._filled - self._needed
        self._answer(self._head, memoryview(self._buffer)[len(self._head) + 2 : size], size)
        if left:
            self._buffer[:left] = bytes(memoryview(self._buffer)[size : self._filled])
        self._filled, self._needed = left, 0
        return True

    def _answer(self, head: bytes, body: memoryview, size: int) -> None:
        line = head[: head.find(b"\r\n")]
        path = line.split(b" ", 2)[1].partition(b"?")[0]
        service = self._server.service
        if path.startswith(b"/stub/"):
            self._send(service.private(path, body))
            return
        if not self._counted:
            self._counted = True
            service.opened()
        service.bytes_in += size
        lower = head.lower()
        given: Buffer = body if b"\r\ncontent-encoding: zstd" not in lower else _unzip(body)
        accept = _value(lower, b"accept")
        self._settle(service.answer(path, _value(lower, b"content-type"), accept, given), accept)

    def _settle(self, answer: Answer, accept: bytes) -> None:
        if answer.parked:
            again = partial(self._resume, answer.parked, accept)
            self._parked = asyncio.get_running_loop().call_at(answer.at, again)
        else:
            self._server.service.bytes_out += self._send(answer)

    def _resume(self, request_id: str, accept: bytes) -> None:
        self._parked = None
        self._settle(self._server.service.poll(request_id, accept, held=True), accept)
        self.buffer_updated(0)

    def _send(self, answer: Answer) -> int:
        head = b"HTTP/1.1 %b\r\n%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (
            answer.status,
            self._server.constant_headers(),
            answer.kind,
            len(answer.body),
        )
        self._transport.write(head + answer.body)
        return len(head) + len(answer.body)


class Server:
    """The service with its clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.service = Service(self._loop.time)
        self._headers = b""
        self._until = 0.0

    def constant_headers(self) -> bytes:
        """Return the headers that every server sends, the time among them."""
        now = self._loop.time()
        if now >= self._until:
            self._until = now + 1.0
            self._headers = b"date: %b\r\nserver: stub\r\n" % email.utils.formatdate(usegmt=True).encode()
        return self._headers


def _length(head: bytes) -> int:
    lower = head.lower()
    text = _value(lower, b"content-length")
    if text:
        return int(text)
    return -1 if b"\r\ntransfer-encoding:" in lower else 0


def _value(lower: bytes, name: bytes) -> bytes:
    at = lower.find(b"\r\n" + name + b":")
    if at < 0:
        return b""
    at += len(name) + 3
    return lower[at : lower.find(b"\r\n", at)].strip()


def _unzip(body: Buffer) -> bytes:
    import zstandard  # noqa: PLC0415 - most runs need it not

    return zstandard.ZstdDecompressor().decompressobj().decompress(body)


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = Server()
    listening = await loop.create_server(lambda: Connection(server), "127.0.0.1", 0, backlog=4096)
    port = listening.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    gc.collect()
    gc.freeze()
    ended = loop.create_future()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 4096) and not ended.done():
            ended.set_result(None)

    loop.add_reader(sys.stdin.fileno(), read)
    await ended
    listening.close()


if __name__ == "__main__":
    asyncio.run(serve())
