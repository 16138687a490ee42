"""One connection of the fast lane: a request, its answer, and the next."""

import asyncio
import os
import select
import sys
from typing import Any, Final, cast

from tinkex.actors._transport._answer_reader import AnswerReader, MalformedAnswer
from tinkex.actors._transport._attempt import HttpReply

PIECE_BYTES: Final = 256 * 1024
"""Larger bodies go out piece by piece, and each piece must go out in the time that a read may take."""

WAITING_BYTES: Final = 16 * 1024
"""Of a full socket the transport is given so much, to tell when it takes more."""


class Connection(asyncio.Protocol):
    """Made by ``loop.create_connection``. One exchange at a time, on the loop's thread."""

    def __init__(self) -> None:
        """Not connected yet."""
        self._loop: Final = asyncio.get_running_loop()
        self._reader: Final = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[HttpReply] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._whole = True
        self._ended = False
        self._seconds = 0.0
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.gone: Final[asyncio.Future[None]] = self._loop.create_future()
        """Done when the socket is closed."""

        self.idle_since = 0.0
        """The loop's time at the end of the last exchange."""

    @property
    def usable(self) -> bool:
        """Whether another request may be written."""
        return (
            self._answer is None
            and self._whole
            and not self._paused
            and not self._ended
            and self._reader.keeps_alive
            and self._transport is not None
            and not self._transport.is_closing()
        )

    @property
    def silent(self) -> bool:
        """Whether nothing has come that the loop has not read yet: an end, or what nobody asked for."""
        socket = None if self._transport is None else self._transport.get_extra_info("socket")
        return socket is None or not _is_readable(socket)

    async def exchange(self, head: bytes, body: bytes, read_seconds: float) -> HttpReply:
        """Write a request and return its answer.

        From the call on, the server may have seen it.

        Args:
            head: the request's line and headers, with the empty line behind them.
            body: what follows.
            read_seconds: within which each piece of the body must go out, and each next byte of the answer come.

        Raises:
            OSError: the connection broke before the answer was whole; ``TimeoutError`` where the time was up.
            MalformedAnswer: what came is none.
        """
        if self._transport is None or self._answer is not None:
            raise AssertionError("a connection is used by one exchange at a time")
        answer: asyncio.Future[HttpReply] = self._loop.create_future()
        self._answer = answer
        self._seconds = read_seconds
        self._extend()
        try:
            if len(body) <= PIECE_BYTES:
                self._transport.write(head + body)
            else:
                await self._write(self._transport, head, body, answer)
            return await answer
        finally:
            self._answer = None
            self.idle_since = self._loop.time()
            if answer.done() and not answer.cancelled():
                answer.exception()  # where the exchange was given up just then, nobody else will look at it

    def abort(self) -> None:
        """Close the socket, whatever is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    async def _write(
        self, transport: asyncio.Transport, head: bytes, body: bytes, answer: "asyncio.Future[HttpReply]"
    ) -> None:
        self._whole = False
        view, begin, file = memoryview(body), 0, _file_beneath(transport)
        transport.write(head)
        while begin < len(body):
            while self._paused and not answer.done():
                self._drained = self._loop.create_future()
                await self._drained
            if not answer.done() and not self.silent:
                await asyncio.sleep(0)
                await asyncio.sleep(0)  # the loop has looked, and has read
            if answer.done():
                return  # it did not want to hear the rest
            self._extend()
            try:
                begin += _put(transport, file, view[begin:])
            except OSError:
                return  # the peer has closed; what it may have answered before that is still to be read
        self._whole = True

    # Time

    def _extend(self) -> None:
        self._deadline = self._loop.time() + self._seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """One timer serves many exchanges: it is set again where its exchange goes on, and not where none does."""
        self._timer = None
        if self._answer is None:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._look)
        else:
            self._fail(TimeoutError(f"nothing came or went for {self._seconds:g} s"))

    # What the transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        # A transport that is not paused holds nothing back from now on. One of TLS would be paused for good by a 0.
        self._transport.set_write_buffer_limits(high=0 if _file_beneath(self._transport) is not None else 1)

    def data_received(self, data: bytes) -> None:
        """Read on; what nobody asked for ends the connection."""
        answer = self._answer
        if answer is None or answer.done():
            self.abort()
            return
        self._deadline = self._loop.time() + self._seconds
        try:
            reply = self._reader.feed(data)
        except MalformedAnswer as error:
            self._fail(error)
            return
        if reply is not None:
            answer.set_result(reply)
            self._wake()

    def eof_received(self) -> None:
        """Have the connection closed: nobody needs half of one."""
        self._ended = True  # behind TLS, the transport does not say yet that it is closing

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is under way."""
        if not self.gone.done():
            self.gone.set_result(None)
        answer = self._answer
        if answer is not None and not answer.done():
            try:
                reply = self._reader.end() if exc is None else None
            except MalformedAnswer as error:
                answer.set_exception(error)
            else:
                if reply is not None:
                    answer.set_result(reply)
                else:
                    answer.set_exception(_broken_off(exc))
        self._wake()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def pause_writing(self) -> None:
        """Wait with the next piece."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with the next piece."""
        self._paused = False
        self._wake()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._wake()
        self.abort()

    def _wake(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)


def _file_beneath(transport: asyncio.Transport) -> int | None:
    """Return what to write to without asyncio, whose buffer copies all that a socket does not take at once."""
    socket = transport.get_extra_info("socket")
    if socket is None or os.name == "nt" or transport.get_extra_info("sslcontext") is not None:
        return None
    return cast("int", socket.fileno())


def _put(transport: asyncio.Transport, file: int | None, rest: memoryview) -> int:
    """Write the next piece of ``rest`` and return its length; where the socket is full, the transport waits for it."""
    if file is None:
        piece = rest[:PIECE_BYTES]
    else:
        try:
            return os.write(file, rest[:PIECE_BYTES])
        except BlockingIOError:
            piece = rest[:WAITING_BYTES]
    transport.write(piece)
    return len(piece)


def _is_readable(socket: Any) -> bool:
    if sys.platform == "win32":
        return bool(select.select([socket], [], [], 0)[0])
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def _broken_off(cause: Exception | None) -> OSError:
    """Return what an exchange raises: a time that was up elsewhere, in the kernel or in TLS, is not that of a read."""
    if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
        return cause
    return ConnectionResetError(f"the connection ended before the answer did{f': {cause}' if cause else ''}")
