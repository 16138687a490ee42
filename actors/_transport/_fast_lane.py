"""The way of sends and polls where nothing but the network is between: the only place that knows aiohttp.

An exchange costs a fifth of what it costs through an httpx client. What it means is the same: the tests of behaviour
run through both.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.request import getproxies

from tinkex.actors._transport._attempt import Attempt, HttpReply, Lost, NotSent, cause_of
from tinkex.protocol import ApiKey

if TYPE_CHECKING:
    import ssl

    import aiohttp
    from yarl import URL

PIECE_BYTES: Final = 256 * 1024
"""Larger bodies go out piece by piece, and each piece must go out in the time that a read may take."""

_HEADER_BYTES: Final = 64 * 1024
_PATHS_KEPT: Final = 256


def goes_direct(*, local: bool) -> bool:
    """Whether nothing is configured that stands between a client and its server: proxies of the environment do.

    Args:
        local: whether the server is on this machine, which no proxy is asked for.
    """
    return local or not getproxies()


class FastLane:
    """A connection pool to one origin with one key. All methods run on the io loop.

    Redirects are never followed, so the key reaches the origin of ``base_url`` only. Proxies are not asked.

    Args:
        base_url: the server, without a trailing slash.
        api_key: goes with each request.
        headers: go with each request that has none of the same name.
        connect_seconds: for which a connection may be tried.
        keepalive_seconds: for which an idle connection is kept.
        tls: for servers behind TLS; None for others.
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
    ) -> None:
        """Keep what is needed; the first connection opens with the first request."""
        self._base_url: Final = base_url
        self._api_key: Final = api_key
        self._headers: Final = headers
        self._connect_seconds: Final = connect_seconds
        self._keepalive_seconds: Final = keepalive_seconds
        self._tls: Final = tls
        self._urls: dict[str, URL] = {}
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}

    async def post(self, path: str, body: bytes, *, read_seconds: float, headers: Mapping[str, str]) -> Attempt:
        """Send one request and read its whole answer; never repeats, never raises for what the network did."""
        import aiohttp  # noqa: PLC0415 - with the first exchange, not with the import of tinkex

        sent = {"x-api-key": self._api_key.reveal(), **headers}
        try:
            if len(body) <= PIECE_BYTES:
                return await self._post(path, body, read_seconds, sent)
            async with asyncio.timeout(None) as watch:
                sent["content-length"] = str(len(body))
                return await self._post(path, _pieces(body, watch, read_seconds), read_seconds, sent)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            return NotSent(cause_of(error))
        except TimeoutError as error:
            return Lost(cause_of(error), timed_out=True)
        except ValueError as error:  # of an id that the server gave, which is no part of a path
            if isinstance(error, aiohttp.InvalidURL) or not isinstance(error, aiohttp.ClientError):
                return NotSent(cause_of(error))
            return Lost(cause_of(error), timed_out=False)
        except (aiohttp.ClientError, OSError) as error:
            return Lost(cause_of(error), timed_out=False)

    async def close(self) -> None:
        """Close the connections. No exchange may be under way."""
        await self._session.close()

    async def _post(
        self, path: str, body: bytes | AsyncIterator[memoryview], read_seconds: float, headers: Mapping[str, str]
    ) -> HttpReply:
        request = self._session.post(
            self._url(path), data=body, headers=headers, allow_redirects=False, timeout=self._timeout(read_seconds)
        )
        async with request as reply:
            return HttpReply(reply.status, reply.headers, await reply.read())

    @cached_property
    def _session(self) -> "aiohttp.ClientSession":
        import aiohttp  # noqa: PLC0415 - as above

        return aiohttp.ClientSession(
            connector=self._connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
        )

    def _connector(self) -> "aiohttp.BaseConnector":
        import aiohttp  # noqa: PLC0415 - as above

        return aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=self._keepalive_seconds,
            resolver=aiohttp.ThreadedResolver(),  # by the loop's own getaddrinfo
            ssl=self._tls if self._tls is not None else True,
        )

    def _url(self, path: str) -> "URL":
        url = self._urls.get(path)
        if url is None:
            from yarl import URL  # noqa: PLC0415 - comes with aiohttp

            if len(self._urls) >= _PATHS_KEPT:
                self._urls.clear()
            url = self._urls[path] = URL(self._base_url + path)
        return url

    def _timeout(self, read_seconds: float) -> "aiohttp.ClientTimeout":
        timeout = self._timeouts.get(read_seconds)
        if timeout is None:
            import aiohttp  # noqa: PLC0415 - as above

            timeout = self._timeouts[read_seconds] = aiohttp.ClientTimeout(
                total=None, sock_connect=self._connect_seconds, sock_read=read_seconds
            )
        return timeout


async def _pieces(body: bytes, watch: asyncio.Timeout, seconds: float) -> AsyncIterator[memoryview]:
    """Yield ``body`` in pieces; ``watch`` is sprung where one of them does not go out in ``seconds``.

    aiohttp waits for an answer only from the last byte on, and a peer that reads no more would hold it for ever.
    """
    loop, whole = asyncio.get_running_loop(), memoryview(body)
    for begin in range(0, len(body), PIECE_BYTES):
        watch.reschedule(loop.time() + seconds)
        yield whole[begin : begin + PIECE_BYTES]
    watch.reschedule(None)
