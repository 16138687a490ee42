"""One HTTP exchange, by httpx or on the fast lane beneath: the only place that knows httpx."""

from collections.abc import Coroutine, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tinkex.actors._transport._attempt import Attempt, HttpReply, Lost, NotSent, cause_of
from tinkex.actors._transport._fast_lane import FastLane, goes_direct
from tinkex.actors._transport._loopback import is_loopback
from tinkex.protocol import ApiKey

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS: Final = 5.0
KEEPALIVE_SECONDS: Final = 30.0
_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"accept": "application/json", "content-type": "application/json", "user-agent": "tinkex-python"}
)
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Http:
    """The connections to one origin with one key. All methods run on the io loop.

    Redirects are never followed, so the key reaches the origin of ``base_url`` only.

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
        self._client: httpx.AsyncClient | None = None
        self._lane: FastLane | None = None
        self._open_exchanges = 0
        self._closed = False
        self.date: str | None = None
        """The latest ``Date`` that the server sent, as it was written."""

        self.server_time: float | None = None
        """The same, in epoch seconds."""

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
        return await self._counted(self._exchange(self._open(), method, path, body, read_seconds, headers))

    async def post(
        self, path: str, body: bytes, *, read_seconds: float, headers: Mapping[str, str] = _NO_HEADERS
    ) -> Attempt:
        """Like ``exchange`` with ``POST``, on the fast lane where neither a transport nor a proxy is in its way."""
        if not self._direct:
            return await self.exchange("POST", path, body, read_seconds=read_seconds, headers=headers)
        return await self._counted(self._open_lane().post(path, body, read_seconds=read_seconds, headers=headers))

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
        client, self._client = self._client, None
        lane, self._lane = self._lane, None
        if lane is not None:
            await lane.close()
        if client is not None:
            await client.aclose()

    async def _exchange(
        self,
        client: "httpx.AsyncClient",
        method: str,
        path: str,
        body: bytes | None,
        read_seconds: float,
        headers: Mapping[str, str],
    ) -> Attempt:
        import httpx  # noqa: PLC0415 - with the first exchange, not with the import of tinkex

        try:
            reply = await client.request(
                method,
                self._base_url + path,
                content=body,
                headers={"x-api-key": self._api_key.reveal(), **headers},
                timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return NotSent(cause_of(error))
        except httpx.TimeoutException as error:
            return Lost(cause_of(error), timed_out=True)
        except httpx.InvalidURL as error:  # of an id that the server gave
            return NotSent(cause_of(error))
        except httpx.HTTPError as error:
            return Lost(cause_of(error), timed_out=False)
        return HttpReply(reply.status_code, reply.headers, reply.content)

    def _open(self) -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415 - as above

        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport,
                verify=not self._base_url.startswith("http:"),
                trust_env=not self.local,
                limits=httpx.Limits(
                    max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEEPALIVE_SECONDS
                ),
                headers=dict(_HEADERS),
            )
        return self._client

    def _open_lane(self) -> FastLane:
        if self._lane is None:
            tls = None
            if not self._base_url.startswith("http:"):
                import httpx  # noqa: PLC0415 - as above

                tls = httpx.create_ssl_context(trust_env=not self.local)
            self._lane = FastLane(
                self._base_url,
                self._api_key,
                headers=_HEADERS,
                connect_seconds=CONNECT_SECONDS,
                keepalive_seconds=KEEPALIVE_SECONDS,
                tls=tls,
            )
        return self._lane
