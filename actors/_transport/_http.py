"""One HTTP exchange, by httpx or on the fast lane beneath."""

from collections.abc import Coroutine, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tinkex.actors._transport._attempt import Attempt, NotSent, cause_of
from tinkex.actors._transport._fast_lane import FastLane, goes_direct
from tinkex.actors._transport._loopback import is_loopback
from tinkex.protocol import ApiKey

if TYPE_CHECKING:
    import httpx

    from tinkex.actors._transport._httpx_lane import HttpxLane

CONNECT_SECONDS: Final = 5.0
KEEPALIVE_SECONDS: Final = 30.0
_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"accept": "application/json", "content-type": "application/json", "user-agent": "tinkex-python"}
)
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Http:
    """The connections to one origin with one key. All methods run on the io loop.

    Redirects are never followed, so the key reaches the origin of ``base_url`` only. Cookies are neither kept nor sent.

    Args:
        base_url: the server, without a trailing slash.
        api_key: goes to that origin only.
        transport: where bytes go in place of the network; then everything goes through httpx.
    """

    def __init__(self, base_url: str, api_key: ApiKey, transport: "httpx.AsyncBaseTransport | None" = None) -> None:
        """Keep what is needed; connections open with the first exchange."""
        self._base_url = base_url
        self._api_key = api_key
        self._transport = transport
        self.local = is_loopback(urlsplit(base_url).hostname or "")
        """Whether the server is on this machine."""

        self._direct = transport is None and goes_direct(base_url, local=self.local)
        self._httpx_lane: HttpxLane | None = None
        self._lane: FastLane | None = None
        self._open_exchanges = 0
        self._closed = False
        self.date: str | None = None
        """The latest ``Date`` that the server sent, as it was written."""

    async def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        read_seconds: float,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Attempt:
        """Send one request and read its whole answer; never repeats, never raises for what the network did."""
        try:
            lane = self._open_httpx()
        except OSError as error:
            return NotSent(cause_of(error))
        return await self._counted(lane.exchange(method, path, body, read_seconds=read_seconds, headers=headers))

    async def post(
        self, path: str, body: bytes, *, read_seconds: float, headers: Mapping[str, str] = _NO_HEADERS
    ) -> Attempt:
        """Like ``exchange`` with ``POST``, on the fast lane where neither a transport nor a proxy is in its way."""
        if not self._direct:
            return await self.exchange("POST", path, body, read_seconds=read_seconds, headers=headers)
        try:
            lane = self._open_lane()
        except OSError as error:
            return NotSent(cause_of(error))
        return await self._counted(lane.post(path, body, read_seconds=read_seconds, headers=headers))

    async def close(self) -> None:
        """Close the pools when the last exchange under way has ended; a later one opens and closes one of its own.

        A pool that is closed in the middle of a connect would leave that connection open.
        """
        self._closed = True
        await self._close_if_done()

    async def _counted(self, exchange: Coroutine[Any, Any, Attempt]) -> Attempt:
        self._open_exchanges += 1
        try:
            return await exchange
        finally:
            self._open_exchanges -= 1
            if self._closed:
                await self._close_if_done()

    async def _close_if_done(self) -> None:
        if self._open_exchanges:
            return
        httpx_lane, self._httpx_lane = self._httpx_lane, None
        lane, self._lane = self._lane, None
        try:
            if lane is not None:
                await lane.close()
        finally:  # where the wait for the one is cancelled, the other is closed all the same
            if httpx_lane is not None:
                await httpx_lane.close()

    def _open_httpx(self) -> "HttpxLane":
        """Return the lane, made where there is none; raise ``OSError`` where the environment keeps it from that."""
        if self._httpx_lane is None:
            # httpx comes with the first exchange, not with the import of tinkex.
            from tinkex.actors._transport._httpx_lane import HttpxLane  # noqa: PLC0415

            self._httpx_lane = HttpxLane(
                self._base_url,
                self._api_key,
                headers=_HEADERS,
                connect_seconds=CONNECT_SECONDS,
                keepalive_seconds=KEEPALIVE_SECONDS,
                local=self.local,
                transport=self._transport,
            )
        return self._httpx_lane

    def _open_lane(self) -> FastLane:
        """Like ``_open_httpx``."""
        if self._lane is None:
            tls = None
            if not self._base_url.startswith("http:"):
                from tinkex.actors._transport._httpx_lane import context_of_tls  # noqa: PLC0415 - as above

                tls = context_of_tls(trust_env=not self.local)
            self._lane = FastLane(
                self._base_url,
                self._api_key,
                headers=_HEADERS,
                connect_seconds=CONNECT_SECONDS,
                keepalive_seconds=KEEPALIVE_SECONDS,
                tls=tls,
            )
        return self._lane
