"""The other way of each exchange: what goes through httpx takes the fast lane, and the other way round.

A test's own transport stands behind httpx; here the fast lane reaches it over connections that exist in memory only.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import h11
import httpx
import pytest

from tinkex.actors._transport import _http
from tinkex.actors._transport._attempt import Attempt, NotSent, cause_of
from tinkex.actors._transport._connection import Connection
from tinkex.actors._transport._fast_lane import FastLane
from tinkex.actors._transport._lent_transport import exchanges_over


def change_lanes(patch: pytest.MonkeyPatch) -> None:
    """Send what goes straight to the network through httpx, and what goes to a transport on the fast lane."""
    start, open_lane = _http.Http.__init__, _http.Http._open_lane

    def begin(self: _http.Http, base_url: str, api_key: Any, transport: Any = None) -> None:
        start(self, base_url, api_key, transport)
        self._direct = transport is not None

    def open_bridge(self: _http.Http) -> FastLane:
        lane = open_lane(self)
        transport = self._transport
        if transport is not None and not isinstance(lane, _Bridged):
            lane = self._lane = _Bridged(lane, transport)
        return lane

    patch.setattr(_http.Http, "__init__", begin)
    patch.setattr(_http.Http, "_open_lane", open_bridge)


class _NotConnectedError(Exception):
    """What a transport says of a connection that it could not make."""


class _Bridged(FastLane):
    def __init__(self, lane: FastLane, transport: httpx.AsyncBaseTransport) -> None:
        self.__dict__.update(lane.__dict__)
        self.__dict__["_dial"] = self._bridge
        self._behind = transport

    async def post(self, path: str, body: bytes, *, read_seconds: float, headers: Mapping[str, str]) -> Attempt:
        try:
            return await super().post(path, body, read_seconds=read_seconds, headers=headers)
        except _NotConnectedError as error:
            return NotSent(cause_of(error))

    async def _bridge(self, url: Any, _tls: Any) -> Connection:
        connection = Connection()
        origin = f"{url.scheme}://{url.netloc}"
        connection.connection_made(_Wire(asyncio.get_running_loop(), connection, self._behind, origin))
        return connection


class _Wire(asyncio.Transport):
    """One connection: h11 reads what the fast lane writes, and writes what the transport behind answers."""

    def __init__(self, loop: Any, protocol: Connection, behind: httpx.AsyncBaseTransport, origin: str) -> None:
        super().__init__()
        self._loop, self._protocol, self._behind, self._origin = loop, protocol, behind, origin
        self._http = h11.Connection(h11.SERVER)
        self._request: h11.Request | None = None
        self._body = b""
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def write(self, data: Any) -> None:
        if self._closing:
            return
        self._http.receive_data(bytes(data))
        while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Request):
                self._request, self._body = event, b""
            elif isinstance(event, h11.Data):
                self._body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._task = self._loop.create_task(self._answer())

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    async def _answer(self) -> None:
        assert self._request is not None
        asked = httpx.Request(
            self._request.method.decode(),
            self._origin + self._request.target.decode(),
            headers=list(self._request.headers),
            content=self._body,
        )
        shared = exchanges_over(self._behind)
        shared.begin()
        try:
            reply = await self._behind.handle_async_request(asked)
            body = await reply.aread()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            self._fail(_NotConnectedError(str(error)))
        except httpx.TimeoutException as error:
            self._fail(TimeoutError(str(error)))
        except httpx.HTTPError as error:
            self._lose(ConnectionResetError(str(error)))
        else:
            self._say(reply, body)
        finally:
            close = shared.end()
            if close is not None:
                await close()

    def _say(self, reply: httpx.Response, body: bytes) -> None:
        named = [(name, value) for name, value in reply.headers.raw if name.lower() not in _FRAMING]
        answer = h11.Response(
            status_code=reply.status_code, headers=[*named, (b"content-length", str(len(body)).encode())]
        )
        said = [self._http.send(event) for event in (answer, h11.Data(data=body), h11.EndOfMessage())]
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if not self._closing:
            self._protocol.data_received(b"".join(part or b"" for part in said))

    def _fail(self, error: Exception) -> None:
        if not self._closing:
            self._protocol._fail(error)

    def _lose(self, error: Exception) -> None:
        if not self._closing:
            self._closing = True
            self._protocol.connection_lost(error)

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if self._task is not None:
                self._task.cancel()
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


_FRAMING: Final = {b"content-length", b"transfer-encoding", b"connection"}
