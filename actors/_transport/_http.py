"""One HTTP exchange: the only place that knows httpx."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from tinkex.actors._transport._loopback import is_loopback
from tinkex.protocol import ApiKey

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS: Final = 5.0
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class HttpReply(NamedTuple):
    """A complete answer of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NotSent(NamedTuple):
    """The attempt failed before a byte was written: the server cannot have seen it."""

    cause: str


class Lost(NamedTuple):
    """The attempt was written, in part or whole, and no answer came: it may have run."""

    cause: str
    timed_out: bool


Attempt = HttpReply | NotSent | Lost


class Http:
    """A connection pool to one origin with one key. All methods run on the io loop.

    Redirects are never followed, so the key reaches the origin of ``base_url`` only.
    """

    def __init__(self, base_url: str, api_key: ApiKey, transport: "httpx.AsyncBaseTransport | None" = None) -> None:
        """Keep what is needed; the pool opens with the first exchange."""
        self._base_url = base_url
        self._api_key = api_key
        self._transport = transport
        self._client: httpx.AsyncClient | None = None
        self._open_exchanges = 0
        self._closed = False
        self.server_time: float | None = None
        """The latest ``Date`` that the server sent, in epoch seconds."""

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
        self._open_exchanges += 1
        try:
            return await self._exchange(self._open(), method, path, body, read_seconds, headers)
        finally:
            self._open_exchanges -= 1
            await self._close_if_done()

    async def close(self) -> None:
        """Close the pool when the last exchange under way has ended; a later one opens and closes one of its own.

        A pool that is closed in the middle of a connect would leave that connection open.
        """
        self._closed = True
        await self._close_if_done()

    async def _close_if_done(self) -> None:
        client = self._client
        if self._closed and not self._open_exchanges and client is not None:
            self._client = None
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
            return NotSent(_cause(error))
        except httpx.TimeoutException as error:
            return Lost(_cause(error), timed_out=True)
        except httpx.InvalidURL as error:  # of an id that the server gave
            return NotSent(_cause(error))
        except httpx.HTTPError as error:
            return Lost(_cause(error), timed_out=False)
        return HttpReply(reply.status_code, reply.headers, reply.content)

    def _open(self) -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415 - as above

        if self._client is None:
            local = is_loopback(urlsplit(self._base_url).hostname or "")
            self._client = httpx.AsyncClient(
                transport=self._transport,
                verify=not self._base_url.startswith("http:"),
                trust_env=not local,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30.0),
                headers={
                    "accept": "application/json",
                    "content-type": "application/json",
                    "user-agent": "tinkex-python",
                },
            )
        return self._client


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
