"""The way of sends and polls where nothing but the network is between: sockets, and a parser in C.

An exchange costs a tenth of what it costs through an httpx client, most of which goes into objects for requests and
answers that nobody here looks at. What it means is the same: the tests of behaviour run through both.
"""

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import SplitResult, urlsplit

from tinkex.actors._transport._answer_reader import MalformedAnswer
from tinkex.actors._transport._attempt import Attempt, Lost, NotSent, cause_of
from tinkex.actors._transport._connection import Connection
from tinkex.actors._transport._loopback import is_loopback
from tinkex.protocol import ApiKey

if TYPE_CHECKING:
    import ssl

MOST_IDLE: Final = 64
_HEADS_KEPT: Final = 256
_ATTEMPT_DELAY: Final = 0.25
"""Seconds after which a name's next address is tried beside the first (RFC 8305)."""

_PLAIN: Final = re.compile(r"[!-~]+")
_VALUE: Final = re.compile(r"[\t -~\x80-\xff]*")
_PROXIED: Final = frozenset({"http", "https", "all"})
_PORTS: Final = {"http": 80, "https": 443}


def goes_direct(base_url: str, *, local: bool) -> bool:
    """Whether nothing stands between a client and its server that only httpx knows to use.

    Args:
        base_url: a URL that names a user, or is not ASCII, is left to httpx.
        local: whether the server is on this machine; for others the proxies of the environment are asked.
    """
    return "@" not in urlsplit(base_url).netloc and base_url.isascii() and (local or not _proxies())


def _proxies() -> dict[str, str]:
    from urllib.request import getproxies  # noqa: PLC0415 - slow to import, and not asked on one machine

    return {scheme: proxy for scheme, proxy in getproxies().items() if scheme in _PROXIED}


class Dialler(Protocol):
    """How connections are made."""

    async def __call__(self, url: SplitResult, tls: "ssl.SSLContext | None") -> Connection:
        """Return a new connection to the host of ``url``.

        Raises:
            OSError: there is none to be had.
        """
        ...


async def dial(url: SplitResult, tls: "ssl.SSLContext | None") -> Connection:
    """Connect over the network, by the first of the host's addresses that answers."""
    host = url.hostname or ""
    delay = None if is_loopback(host) else _ATTEMPT_DELAY
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, host, url.port or _PORTS[url.scheme], ssl=tls, happy_eyeballs_delay=delay
    )
    return connection


class FastLane:
    """A connection pool to one origin with one key. All methods run on the io loop.

    Redirects are never followed, so the key reaches the origin of ``base_url`` only. Proxies are not asked.

    Args:
        base_url: the server, without a trailing slash.
        api_key: goes with each request.
        headers: go with each request that has none of the same name; names in lower case.
        connect_seconds: for which a connection may be tried.
        keepalive_seconds: for which an idle connection is used again.
        tls: for servers behind TLS; None for others.
        dialler: makes connections.
    """

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey,
        *,
        headers: Mapping[str, str],
        connect_seconds: float,
        keepalive_seconds: float,
        tls: "ssl.SSLContext | None",
        dialler: Dialler = dial,
    ) -> None:
        """Keep what is needed; the first connection opens with the first request."""
        self._url: Final = urlsplit(base_url)
        self._api_key: Final = api_key
        self._headers: Final = headers
        self._connect_seconds: Final = connect_seconds
        self._keepalive_seconds: Final = keepalive_seconds
        self._tls: Final = tls
        self._dial: Final = dialler
        self._idle: deque[Connection] = deque()
        self._heads: dict[tuple[str, ...], bytes] = {}

    async def post(self, path: str, body: bytes, *, read_seconds: float, headers: Mapping[str, str]) -> Attempt:
        """Send one request and read its whole answer; never repeats, never raises for what the network did."""
        try:
            head = b"%b%d\r\n\r\n" % (self._head(path, headers), len(body))
        except ValueError as error:  # an id that the server gave, or a key, that is no part of a request
            return NotSent(str(error))
        try:
            connection = self._from_pool() or await self._connect()
        except (OSError, UnicodeError) as error:
            return NotSent(cause_of(error))
        answered = False
        try:
            reply = await connection.exchange(head, body, read_seconds)
            answered = True
        except TimeoutError as error:
            return Lost(cause_of(error), timed_out=True)
        except (OSError, MalformedAnswer) as error:
            return Lost(cause_of(error), timed_out=False)
        finally:
            if answered and connection.usable:
                self._give_back(connection)
            else:
                connection.abort()
        return reply

    async def close(self) -> None:
        """Close the connections. No exchange may be under way."""
        idle, self._idle = self._idle, deque()
        for connection in idle:
            connection.abort()
        for connection in idle:
            await connection.gone

    # Connections

    def _from_pool(self) -> Connection | None:
        """Take the one used last, so that what is not needed grows old."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and not self._is_old(connection) and connection.silent:
                return connection
            connection.abort()
        return None

    def _give_back(self, connection: Connection) -> None:
        self._idle.append(connection)
        while self._idle and (len(self._idle) > MOST_IDLE or self._is_old(self._idle[0])):
            self._idle.popleft().abort()

    def _is_old(self, connection: Connection) -> bool:
        return asyncio.get_running_loop().time() - connection.idle_since > self._keepalive_seconds

    async def _connect(self) -> Connection:
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await self._dial(self._url, self._tls)
        except TimeoutError:
            raise TimeoutError(f"no connection in {self._connect_seconds:g} s") from None

    # Requests

    def _head(self, path: str, headers: Mapping[str, str]) -> bytes:
        """Return all of a request's head but its length.

        Raises:
            ValueError: it would be none.
        """
        key = (path, *headers, *headers.values())
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _HEADS_KEPT:
                self._heads.clear()
            head = self._heads[key] = self._write_head(path, headers)
        return head

    def _write_head(self, path: str, headers: Mapping[str, str]) -> bytes:
        target = self._url.path + path
        if _PLAIN.fullmatch(target) is None:
            raise ValueError("not a path of a URL")
        fields = {
            "host": self._url.netloc,
            **self._headers,
            "accept-encoding": "gzip, deflate",
            "x-api-key": self._api_key.reveal(),
            **headers,
        }
        for name, value in fields.items():
            if _VALUE.fullmatch(value) is None:
                raise ValueError(f"the header {name} has characters that no header may have")
        lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "content-length: "]
        return "\r\n".join(lines).encode("latin-1")
