"""One exchange means the same by httpx and on the fast lane: whatever a peer does, the same attempt comes of it."""

import asyncio
import gzip
import os
import random
import socket
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from support_peers import KEY, answer, asked, at, listening, says
from support_tls import server_context
from tinkex.actors._transport import _connection
from tinkex.actors._transport._attempt import Attempt, HttpReply, Lost, NotSent
from tinkex.actors._transport._http import Http

pytestmark = pytest.mark.one_lane
SHORT = 0.2


@pytest.fixture(params=["httpx", "fast"])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name = cast("str", request.param)
    other = "_open_httpx" if name == "fast" else "_open_lane"
    monkeypatch.setattr(Http, other, partial(_not_here, other))
    return name


def _not_here(name: str, *_args: Any, **_options: Any) -> None:
    raise AssertionError(f"{name} is the other lane")


async def post(http: Http, lane: str, body: bytes = b"{}", path: str = "/x", **options: Any) -> Attempt:
    options = {"read_seconds": 5.0, **options}
    if lane == "fast":
        return await http.post(path, body, **options)
    return await http.exchange("POST", path, body, **options)


async def test_an_answer_comes_with_its_headers_by_any_case(lane: str) -> None:
    raw = answer("429 Slow Down", b'{"detail": "later"}', "Retry-After: 3", "Content-Type: application/json")
    async with listening(says(raw)) as url, at(url) as http:
        reply = await post(http, lane)
    assert isinstance(reply, HttpReply)
    assert (reply.status, reply.body) == (429, b'{"detail": "later"}')
    assert (reply.headers.get("retry-after"), reply.headers.get("content-type")) == ("3", "application/json")
    assert reply.headers.get("date") is None


async def test_what_is_sent_is_the_same(lane: str) -> None:
    seen: list[Any] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await asked(reader))
        writer.write(answer("200 OK", b"{}"))

    async with listening(peer) as url, at(url + "/prefix") as http:
        await post(
            http, lane, b"\x00\xff", "/api/v1/forward_backward", headers={"content-type": "application/x-protobuf"}
        )
    ((line, headers, body),) = seen
    assert (line, body) == ("POST /prefix/api/v1/forward_backward HTTP/1.1", b"\x00\xff")
    wanted = {
        "x-api-key": "tml-secret",
        "content-type": "application/x-protobuf",
        "accept": "application/json",
        "user-agent": "tinkex-python",
        "content-length": "2",
    }
    assert headers.items() >= wanted.items()
    assert "transfer-encoding" not in headers


async def test_a_connection_serves_one_exchange_after_the_other(lane: str) -> None:
    connections = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await asked(reader)
            writer.write(answer("200 OK", b"{}"))

    async with listening(peer) as url, at(url) as http:
        for _ in range(5):
            assert isinstance(await post(http, lane), HttpReply)
    assert connections == 1


async def test_nobody_listens(lane: str) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with at(f"http://127.0.0.1:{held.getsockname()[1]}") as http:
            assert isinstance(await post(http, lane), NotSent)


async def test_tls_is_refused_by_a_peer_that_has_none(lane: str) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(16)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(peer) as url, at(url.replace("http:", "https:")) as http:
        assert isinstance(await post(http, lane), NotSent)


async def test_a_certificate_that_nobody_trusts_is_refused(lane: str, tmp_path: Path) -> None:
    tls, _ = server_context(tmp_path)
    async with listening(says(answer("200 OK", b"{}")), tls) as url, at(url) as http:
        attempt = await post(http, lane)
    assert isinstance(attempt, NotSent)
    assert "certificate" in attempt.cause.lower()


@pytest.mark.parametrize("far", [True, False])
async def test_certificates_of_the_environment_are_trusted_for_other_machines_only(
    lane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: bool
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    tls, certificate = server_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with listening(says(answer("200 OK", b"{}")), tls) as url, at(url) as http:
        http.local = not far  # as if the server were on another machine
        attempt = await post(http, lane)
    assert isinstance(attempt, HttpReply if far else NotSent)


async def test_a_path_that_is_none(lane: str) -> None:
    async with listening(says(answer("404 Not Found", b"{}"))) as url, at(url) as http:
        attempt = await post(http, lane, path="/api/v1/sessions/\x00/finish")
    assert isinstance(attempt, NotSent | HttpReply)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"this is no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ],
    ids=["nothing", "half a head", "half a body", "half a piece", "no HTTP", "a length below 0", "no gzip"],
)
async def test_an_answer_that_is_none_is_a_lost_one(lane: str, raw: bytes) -> None:
    async with listening(says(raw)) as url, at(url) as http:
        attempt = await post(http, lane)
    assert isinstance(attempt, Lost)
    assert not attempt.timed_out


async def test_a_peer_that_never_answers_is_lost_in_time(lane: str) -> None:
    async def peer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(peer) as url, at(url) as http:
        attempt = await post(http, lane, read_seconds=SHORT)
        assert attempt == Lost(attempt.cause, timed_out=True)  # type: ignore[union-attr]


async def test_a_peer_that_stops_in_mid_answer_is_lost_in_time(lane: str) -> None:
    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        await reader.read()

    async with listening(peer) as url, at(url) as http:
        attempt = await post(http, lane, read_seconds=SHORT)
        assert attempt == Lost(attempt.cause, timed_out=True)  # type: ignore[union-attr]


async def test_a_peer_that_reads_no_more_is_lost_in_time(lane: str) -> None:
    done = asyncio.Event()

    async def peer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast("Any", writer.transport).pause_reading()
        await done.wait()
        writer.transport.abort()

    async with listening(peer) as url, at(url) as http:
        attempt = await post(http, lane, bytes(64_000_000), read_seconds=SHORT)
        assert attempt == Lost(attempt.cause, timed_out=True)  # type: ignore[union-attr]
        done.set()


async def test_a_large_body_arrives_whole_and_with_its_length(lane: str) -> None:
    body = random.Random(1).randbytes(64 * _connection.PIECE_BYTES + 8)  # more than sockets take at once
    arrived = bytearray(len(body))
    heads: list[bytes] = []

    def peer(listener: socket.socket) -> None:
        """In a thread of its own: it reads while the client writes."""
        wire, _ = listener.accept()
        with wire, wire.makefile("rb") as reader:
            heads.extend(iter(reader.readline, b"\r\n"))
            assert reader.readinto(memoryview(arrived)) == len(body)
            wire.sendall(answer("200 OK", b"{}"))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        reading = asyncio.create_task(asyncio.to_thread(peer, listener))
        async with at(f"http://127.0.0.1:{listener.getsockname()[1]}") as http:
            assert isinstance(await post(http, lane, body), HttpReply)
        await reading
    names = {head.lower().partition(b":")[0]: head.partition(b":")[2].strip() for head in heads}
    assert names[b"content-length"] == str(len(body)).encode()
    assert b"transfer-encoding" not in names
    assert arrived == body


async def test_a_large_body_arrives_whole_behind_tls(
    lane: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    tls, certificate = server_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    bodies = [random.Random(size).randbytes(size) for size in (20 * _connection.PIECE_BYTES + 8, 3)]
    arrived: list[bytes] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            arrived.append((await asked(reader))[2])
            writer.write(answer("200 OK", b"{}"))

    async with listening(peer, tls) as url, at(url) as http:
        http.local = False  # so that the certificate is trusted
        for body in bodies:
            assert isinstance(await post(http, lane, body), HttpReply)
    assert arrived == bodies


async def test_a_redirect_is_an_answer_like_any(lane: str) -> None:
    elsewhere: list[str] = []

    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        elsewhere.append((await asked(reader))[0])
        writer.write(answer("200 OK", b"{}"))

    async with listening(other) as away:
        raw = answer("307 Temporary Redirect", b"", f"Location: {away}/x")
        async with listening(says(raw)) as url, at(url) as http:
            reply = await post(http, lane)
    assert isinstance(reply, HttpReply)
    assert reply.status == 307
    assert elsewhere == []


async def test_a_packed_answer_is_unpacked(lane: str) -> None:
    raw = answer("200 OK", gzip.compress(b'{"a": 1}'), "Content-Encoding: gzip")
    async with listening(says(raw)) as url, at(url) as http:
        reply = await post(http, lane)
    assert isinstance(reply, HttpReply)
    assert reply.body == b'{"a": 1}'


async def test_long_headers_and_cookies_do_not_disturb(lane: str) -> None:
    raw = answer("200 OK", b"{}", f"X-Long: {'a' * 30_000}", "Set-Cookie: a=b")
    cookies: list[str | None] = []

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            cookies.append((await asked(reader))[1].get("cookie"))
            writer.write(raw)

    async with listening(peer) as url, at(url) as http:
        assert isinstance(await post(http, lane), HttpReply)
        await post(http, lane)
    assert len(cookies) == 2


async def test_a_cancelled_exchange_leaves_no_connection(lane: str) -> None:
    entered, gone = asyncio.Event(), asyncio.Event()

    async def peer(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        entered.set()
        await reader.read()
        gone.set()

    async with listening(peer) as url, at(url) as http:
        exchange = asyncio.ensure_future(post(http, lane))
        await entered.wait()
        exchange.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exchange
        await asyncio.wait_for(gone.wait(), 10)


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(lane: str) -> None:
    closed = asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(answer("200 OK", b"{}"))(reader, writer)
        writer.close()
        await writer.wait_closed()
        closed.set()

    async with listening(peer) as url, at(url) as http:
        for _ in range(3):
            closed.clear()
            assert isinstance(await post(http, lane), HttpReply)
            await closed.wait()
            await asyncio.sleep(0)


async def test_a_lane_is_closed_behind_the_last_exchange(lane: str) -> None:
    gate, entered, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        entered.set()
        await gate.wait()
        writer.write(answer("200 OK", b"{}"))
        await reader.read()
        ended.set()

    async with listening(peer) as url:
        http = Http(url, KEY)
        exchange = asyncio.ensure_future(post(http, lane))
        await entered.wait()
        await http.close()
        assert not ended.is_set()
        gate.set()
        assert isinstance(await exchange, HttpReply)
        await asyncio.wait_for(ended.wait(), 10)


# Which of the two


class Own(httpx.AsyncBaseTransport):
    def __init__(self) -> None:
        self.seen: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.url.path)
        return httpx.Response(200, json={})


async def test_a_transport_of_the_users_own_is_given_everything() -> None:
    own = Own()
    http = Http("http://127.0.0.1:1", KEY, own)
    assert isinstance(await http.post("/a", b"{}", read_seconds=1.0), HttpReply)
    assert isinstance(await http.exchange("GET", "/b", None, read_seconds=1.0), HttpReply)
    await http.close()
    assert own.seen == ["/a", "/b"]


async def test_proxies_of_the_environment_are_asked_for_other_machines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await asked(reader))[0])
        writer.write(answer("200 OK", b"{}"))

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer("201 Created", b"{}"))

    async with listening(proxy) as by, listening(server) as url:
        for name in ("http_proxy", "all_proxy"):
            monkeypatch.setenv(name, by)
        async with at("http://tinker.example") as far, at(url) as near:
            assert isinstance(reply := await far.post("/a", b"{}", read_seconds=5.0), HttpReply)
            assert reply.status == 200
            assert isinstance(reply := await near.post("/b", b"{}", read_seconds=5.0), HttpReply)
            assert reply.status == 201
    assert lines == ["POST http://tinker.example/a HTTP/1.1"]
