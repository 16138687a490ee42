"""From the bytes of a connection to answers: pure. The only place that knows httptools."""

import zlib
from typing import Final

import httptools

from tinkex.actors._transport._attempt import HttpReply

MOST_HEAD_BYTES: Final = 256 * 1024
_SWITCHING_PROTOCOLS: Final = 101
_FIRST_FINAL: Final = 200
_PACKED: Final = frozenset({"gzip", "x-gzip", "deflate"})
_ANY_ZLIB: Final = 32 + zlib.MAX_WBITS


class MalformedAnswer(Exception):  # noqa: N818 - it is what the peer sent
    """What came is no HTTP, or none that was asked for."""


class AnswerReader:
    """Reads the answers of one connection, one after the other; interim ones are passed over."""

    def __init__(self) -> None:
        """Begin before the first answer."""
        self.keeps_alive: bool = True
        """Whether another request may follow on the connection, as far as the server said."""

        self._parser: Final = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._head_bytes = 0
        self._in_body = False
        self._until_end = False
        self._reply: HttpReply | None = None

    def feed(self, data: bytes) -> HttpReply | None:
        """Read ``data``; return the answer that ends in it, None where none does.

        Raises:
            MalformedAnswer: it is no answer.
        """
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._reply is None:
                raise _malformed(error) from error
            self.keeps_alive = False  # noise behind an answer, which is whole
        if self._head_bytes > MOST_HEAD_BYTES and not self._in_body and self._reply is None:
            raise MalformedAnswer("the head of an answer never ends")
        return self._take()

    def end(self) -> HttpReply | None:
        """Hear that the connection has ended; return the answer whose end that was, None where it breaks one off.

        Raises:
            MalformedAnswer: its content cannot be unpacked.
        """
        if self._in_body and self._until_end:
            self._finish()
        return self._take()

    def _take(self) -> HttpReply | None:
        reply, self._reply = self._reply, None
        return reply

    def _finish(self) -> None:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        if body:  # an answer without one may still say how it would be packed
            for packed in reversed(self._headers.get("content-encoding", "").lower().split(",")):
                body = _unpacked(body, packed.strip())
        self._reply = HttpReply(self._parser.get_status_code(), self._headers, body)
        self._in_body, self._head_bytes, self._parts = False, 0, []

    # What the parser calls

    def on_message_begin(self) -> None:
        """Begin with an answer; a second one within what was read was not asked for."""
        if self._reply is not None:
            self.keeps_alive = False
        self._headers, self._parts, self._in_body, self._until_end = {}, [], False, False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, under its name in lower case; what comes twice is joined. What follows a body is none."""
        if self._in_body:
            return
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        """Note how the body ends."""
        self._in_body = True
        self._until_end = "content-length" not in self._headers and "transfer-encoding" not in self._headers

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Keep the answer, unless it is an interim one."""
        status = self._parser.get_status_code()
        if status == _SWITCHING_PROTOCOLS:
            raise MalformedAnswer("the server changes to another protocol, which nobody asked for")
        if status < _FIRST_FINAL:
            self._in_body = False
        elif self._reply is None:
            self.keeps_alive = self.keeps_alive and self._parser.should_keep_alive()
            self._finish()


def _malformed(error: Exception) -> MalformedAnswer:
    if isinstance(error, httptools.HttpParserCallbackError):
        return MalformedAnswer(str(error.__context__ or error))
    return MalformedAnswer(f"what the server sent is no HTTP answer: {error}")


def _unpacked(body: bytes, packed: str) -> bytes:
    if packed not in _PACKED:
        return body
    try:
        return zlib.decompress(body, _ANY_ZLIB)
    except zlib.error as error:
        if packed == "deflate":  # some servers mean it without its frame
            try:
                return zlib.decompress(body, -zlib.MAX_WBITS)
            except zlib.error:
                pass
        raise MalformedAnswer(f"the body is no {packed}: {error}") from error
