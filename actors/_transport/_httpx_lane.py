"""The way of every exchange that is not on the fast lane: the only place that knows httpx."""

import contextlib
import ssl
from collections.abc import Generator, Mapping
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final
from urllib.parse import urlsplit

import httpx

from tinkex.actors._transport._attempt import Attempt, HttpReply, Lost, NotSent, cause_of
from tinkex.actors._transport._fast_lane import MOST_IDLE, goes_direct
from tinkex.actors._transport._lent_transport import Exchanges, exchanges_over
from tinkex.protocol import ApiKey

_HEADS_KEPT: Final = 64
_URLS_KEPT: Final = 512


def context_of_tls(*, trust_env: bool) -> ssl.SSLContext:
    """Return what httpx checks certificates with.

    Args:
        trust_env: whether ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured.

    Raises:
        OSError: they name no certificates that can be read.
    """
    with _read_environment():
        return httpx.create_ssl_context(trust_env=trust_env)


@contextlib.contextmanager
def _read_environment() -> Generator[None]:
    """Raise ``OSError`` for what the environment names and httpx cannot use, without URLs, which may hold secrets."""
    try:
        yield
    except httpx.InvalidURL:
        raise OSError("a proxy that the environment names is no URL; look at the variables *_proxy") from None
    except ValueError:
        raise OSError(
            "a proxy that the environment names has a scheme that httpx does not know; look at the variables *_proxy"
        ) from None
    except ImportError as error:
        raise OSError(f"a proxy that the environment names cannot be used: {error}") from error
    except OSError as error:
        raise OSError(
            f"SSL_CERT_FILE or SSL_CERT_DIR names no certificates that can be read: {cause_of(error)}"
        ) from error


class HttpxLane:
    """An httpx transport to one origin with one key. All methods run on the io loop.

    The transport is called directly, since a client above it costs half as much again and leaves a cycle of references
    behind each answer. The client that there is writes the first head of each kind, so that servers see a client's, and
    makes the exchanges that only it knows to make: by the proxies of the environment, or as the user that a URL names.

    Redirects are never followed, so the key reaches the origin of ``base_url`` only. No cookie is kept or sent; the
    fast lane keeps none either.

    Args:
        base_url: the server, without a trailing slash.
        api_key: goes with each request.
        headers: go with each request that has none of the same name; names in lower case.
        connect_seconds: for which a connection may be tried.
        keepalive_seconds: for which an idle connection is used again.
        local: whether the server is on this machine; then nothing of the environment is asked.
        transport: where bytes go in place of the network, closed with the lane; several lanes may have the same.
    """

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey,
        *,
        headers: Mapping[str, str],
        connect_seconds: float,
        keepalive_seconds: float,
        local: bool,
        transport: httpx.AsyncBaseTransport | None,
    ) -> None:
        """Make the pool; the first connection opens with the first request.

        Raises:
            OSError: proxies or certificates that the environment names cannot be used.
        """
        verify, trust_env = not base_url.startswith("http:"), not local
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=MOST_IDLE, keepalive_expiry=keepalive_seconds
        )
        names_no_user = "@" not in urlsplit(base_url).netloc
        with _read_environment():
            if transport is None and goes_direct(base_url, local=local):
                transport = httpx.AsyncHTTPTransport(verify=verify, trust_env=trust_env, limits=limits)
            client = httpx.AsyncClient(
                transport=transport,
                verify=verify,
                trust_env=trust_env,
                limits=limits,
                headers=dict(headers),
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            )
        self._base_url: Final = base_url
        self._api_key: Final = api_key
        self._connect_seconds: Final = connect_seconds
        self._transport: Final = transport if names_no_user else None
        self._client: Final = client
        self._exchanges: Final = Exchanges() if transport is None else exchanges_over(transport)
        self._heads: Final[dict[tuple[object, ...], httpx.Headers]] = {}

    async def exchange(
        self, method: str, path: str, body: bytes | None, *, read_seconds: float, headers: Mapping[str, str]
    ) -> Attempt:
        """Send one request and read its whole answer; never repeats, never raises for what the network did."""
        self._exchanges.begin()
        try:
            return await self._exchange(method, path, body, read_seconds, headers)
        finally:
            close = self._exchanges.end()
            if close is not None:
                await close()

    async def close(self) -> None:
        """Close the transport, when no lane over it is in the midst of an exchange. None may follow on this one."""
        close = self._exchanges.close(self._client.aclose)
        if close is not None:
            await close()

    async def _exchange(
        self, method: str, path: str, body: bytes | None, read_seconds: float, headers: Mapping[str, str]
    ) -> Attempt:
        try:
            if self._transport is None:
                return await self._by_client(method, path, body, read_seconds, headers)
            response = await self._transport.handle_async_request(
                self._request(method, path, body, read_seconds, headers)
            )
            try:
                content = await response.aread()
            finally:
                await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return NotSent(cause_of(error))
        except httpx.TimeoutException as error:
            return Lost(cause_of(error), timed_out=True)
        except httpx.InvalidURL as error:  # of an id that the server gave
            return NotSent(cause_of(error))
        except httpx.HTTPError as error:
            return Lost(cause_of(error), timed_out=False)
        return HttpReply(response.status_code, response.headers, content)

    async def _by_client(
        self, method: str, path: str, body: bytes | None, read_seconds: float, headers: Mapping[str, str]
    ) -> HttpReply:
        response = await self._client.request(
            method,
            self._base_url + path,
            content=body,
            headers=self._own(headers),
            timeout=httpx.Timeout(read_seconds, connect=self._connect_seconds),
        )
        return HttpReply(response.status_code, response.headers, response.content)

    def _request(
        self, method: str, path: str, body: bytes | None, read_seconds: float, headers: Mapping[str, str]
    ) -> httpx.Request:
        """Return what a client would send.

        Raises:
            httpx.InvalidURL: the path is none.
        """
        seconds = {"connect": self._connect_seconds, "read": read_seconds, "write": read_seconds, "pool": read_seconds}
        request = httpx.Request(
            method,
            _url(self._base_url + path),
            headers=self._head(method, body, headers),
            stream=httpx.ByteStream(body or b""),
            extensions={"timeout": seconds},
        )
        request.read()  # so that a user's transport finds its ``content``
        if body:
            request.headers["Content-Length"] = str(len(body))
        return request

    def _head(self, method: str, body: bytes | None, headers: Mapping[str, str]) -> httpx.Headers:
        """Return a request's headers; where there is a body, its length is still to be written."""
        key = (method, bool(body), *headers.items())
        head = self._heads.get(key)
        if head is None:
            if len(self._heads) >= _HEADS_KEPT:
                self._heads.clear()
            written = self._client.build_request(method, self._base_url, content=body, headers=self._own(headers))
            head = self._heads[key] = written.headers
        return head

    def _own(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {"x-api-key": self._api_key.reveal(), **headers}


@lru_cache(maxsize=_URLS_KEPT)
def _url(url: str) -> httpx.URL:
    return httpx.URL(url)
