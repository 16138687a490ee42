"""A request by httpx: what arrives is byte for byte what its client would send, and where it would send it."""

import asyncio
import base64
import os
from typing import Any

import httpx
import pytest

from support_peers import KEY, NOWHERE, Own, answer, asked, at, exchange, keeps, listening, network, says
from tinkex.actors._transport._attempt import HttpReply, NotSent
from tinkex.actors._transport._fast_lane import MOST_IDLE
from tinkex.actors._transport._http import Http
from tinkex.protocol import ApiKey

pytestmark = pytest.mark.one_lane

HEADERS = {"accept": "application/json", "content-type": "application/json", "user-agent": "tinkex-python"}
REQUESTS: list[tuple[str, str, bytes | None, dict[str, str]]] = [
    ("GET", "/api/v1/models", None, {}),
    ("DELETE", "/api/v1/models/m", None, {}),
    ("POST", "/api/v1/beat", None, {}),
    ("POST", "/api/v1/beat", b"", {}),
    ("POST", "/api/v1/step", b"{}", {}),
    ("POST", "/api/v1/step", b'{"longer": "than before"}', {}),
    ("POST", "/api/v1/step", b"\x00\xff", {"content-type": "application/x-protobuf", "content-encoding": "zstd"}),
    ("POST", "/api/v1/session", b"{}", {"x-idempotency-key": "tinkex-1", "Accept": "application/x-protobuf"}),
    ("GET", "/api/v1/caf\u00e9 au lait/%2F?limit=20&q=a b#part", None, {}),
]


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


# What is sent


async def by_a_client(url: str) -> None:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=HEADERS, verify=False, trust_env=False, limits=limits) as client:
        for method, path, body, headers in REQUESTS:
            own = {"x-api-key": KEY.reveal(), **headers}
            await client.request(method, url + path, content=body, headers=own, timeout=httpx.Timeout(5.0))


async def by_us(http: Http) -> None:
    for method, path, body, headers in REQUESTS:
        reply = await http.exchange(method, path, body, read_seconds=5.0, headers=headers)
        assert isinstance(reply, HttpReply)


@pytest.mark.parametrize("prefix", ["", "/services/tinker"])
@pytest.mark.parametrize("own", [False, True], ids=["over the network", "by a transport of the user's"])
async def test_what_arrives_is_byte_for_byte_what_a_client_sends(own: bool, prefix: str) -> None:
    wires: list[bytes] = []
    async with listening(keeps(wires, answer("200 OK", b"{}"))) as url:
        await by_a_client(url + prefix)
        wanted, wires[:] = list(wires), []
        async with at(url + prefix, network(own)) as http:
            for _ in range(2):  # the second time, heads are known
                await by_us(http)
                assert wires == wanted
                wires.clear()
    assert len(wanted) == len(REQUESTS)


async def test_a_transport_is_told_the_times_and_finds_the_body_at_hand() -> None:
    own = Own()
    http = Http(NOWHERE, KEY, own)
    await http.exchange("POST", "/x", b"{}", read_seconds=45.0)
    await http.exchange("GET", "/x", None, read_seconds=60.0)
    posted, got = own.asked
    assert posted.extensions == {"timeout": {"connect": 5.0, "read": 45.0, "write": 45.0, "pool": 45.0}}
    assert got.extensions == {"timeout": {"connect": 5.0, "read": 60.0, "write": 60.0, "pool": 60.0}}
    assert isinstance(posted.stream, httpx.AsyncByteStream)
    assert [part async for part in posted.stream] == [b"{}"]
    assert (posted.method, posted.content) == ("POST", b"{}")
    assert (got.method, got.content, await got.aread()) == ("GET", b"", b"")
    assert posted.url == httpx.URL(f"{NOWHERE}/x")


async def test_what_a_transport_does_to_a_request_stays_with_that_request() -> None:
    class Signing(Own):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append((dict(request.headers), dict(request.extensions["timeout"])))
            request.headers["x-signature"] = "s"
            del request.headers["x-api-key"]
            request.extensions["timeout"].clear()
            return httpx.Response(200, json={})

    seen: list[Any] = []
    http = Http(NOWHERE, KEY, Signing())
    for _ in range(2):
        await exchange(http)
    assert seen[0] == seen[1]
    assert seen[0][0]["x-api-key"] == "tml-secret"


async def test_hundreds_of_paths_and_headers_are_each_sent_as_they_are() -> None:
    own = Own()
    http = Http(NOWHERE, KEY, own)
    for place in range(1200):
        headers = {"x-idempotency-key": f"tinkex-{place % 600}"}
        await http.exchange("POST", f"/sessions/{place % 600}", b"x" * place, read_seconds=5.0, headers=headers)
    for place, request in enumerate(own.asked):
        assert request.url.path == f"/sessions/{place % 600}"
        assert request.headers["x-idempotency-key"] == f"tinkex-{place % 600}"
        assert request.headers.get("content-length") == str(place)


async def test_the_key_is_that_of_the_client_and_of_no_other() -> None:
    own = Own()
    for key in ("tml-one", "tml-two"):
        await exchange(Http(NOWHERE, ApiKey(key), own))
    assert [request.headers.get_list("x-api-key") for request in own.asked] == [["tml-one"], ["tml-two"]]


@pytest.mark.parametrize("own", [False, True])
async def test_a_path_that_is_none_never_goes_out(own: bool) -> None:
    wires: list[bytes] = []
    async with listening(keeps(wires, answer("200 OK", b"{}"))) as url, at(url, network(own)) as http:
        for _ in range(2):
            assert isinstance(await exchange(http, path="/sessions/\x00/finish"), NotSent)
    assert wires == []


# Where it goes


async def test_an_answer_to_be_looked_for_elsewhere_is_an_answer_like_any() -> None:
    for place in ("http://elsewhere.example/x", "http://[", "//elsewhere.example"):
        own = Own(httpx.Response(307, headers={"location": place}))
        reply = await exchange(Http(NOWHERE, KEY, own))
        assert isinstance(reply, HttpReply)
        assert (reply.status, reply.headers.get("location"), len(own.asked)) == (307, place, 1)


@pytest.mark.parametrize("way", ["network", "transport", "proxy"])
async def test_no_cookie_is_kept_or_sent(way: str, no_proxies: None, monkeypatch: pytest.MonkeyPatch) -> None:
    wires: list[bytes] = []
    raw = answer("200 OK", b"{}", "Set-Cookie: a=b; Path=/")
    async with listening(keeps(wires, raw)) as url:
        if way == "proxy":
            monkeypatch.setenv("http_proxy", url)
        async with at("http://tinker.example" if way == "proxy" else url, network(way == "transport")) as http:
            for _ in range(2):
                assert isinstance(await exchange(http), HttpReply)
    assert wires[0] == wires[1]
    assert b"cookie" not in wires[1].lower()


async def test_questions_go_by_the_proxy_of_the_environment_unless_it_is_not_for_them(
    no_proxies: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await asked(reader))[0])
        writer.write(answer("200 OK", b"{}"))

    async with listening(proxy) as by, listening(says(answer("201 Created", b"{}"))) as url:
        monkeypatch.setenv("http_proxy", by)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with at("http://tinker.example") as far, at(url) as excepted:
            excepted.local = False  # as if it were on another machine
            assert isinstance(reply := await exchange(far), HttpReply)
            assert reply.status == 200
            assert isinstance(reply := await exchange(excepted), HttpReply)
            assert reply.status == 201
    assert lines == ["POST http://tinker.example/x HTTP/1.1"]


@pytest.mark.parametrize("own", [False, True])
async def test_the_user_that_a_url_names_is_told_to_the_server(own: bool) -> None:
    wires: list[bytes] = []
    raw = answer("200 OK", b"{}")
    async with listening(keeps(wires, raw)) as url, at(url.replace("//", "//user:word@"), network(own)) as http:
        await exchange(http)
    (wire,) = wires
    assert b"\r\nAuthorization: Basic " + base64.b64encode(b"user:word") + b"\r\n" in wire
    assert b"user:word@" not in wire


async def test_no_exchange_waits_for_another_and_no_more_idle_connections_are_kept_than_anybody_needs() -> None:
    opened = 0
    crowd = MOST_IDLE + 56
    all_here, closed = asyncio.Barrier(crowd), asyncio.Semaphore(0)

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        try:
            await asked(reader)
            await all_here.wait()
            writer.write(answer("200 OK", b"{}"))
            await keeps([], answer("200 OK", b"{}"))(reader, writer)
        finally:
            closed.release()

    async with listening(peer) as url, at(url) as http:
        first = await asyncio.gather(*(exchange(http) for _ in range(crowd)))
        assert all(isinstance(reply, HttpReply) for reply in first)
        for _ in range(crowd - MOST_IDLE):
            await asyncio.wait_for(closed.acquire(), 10)
        again = await asyncio.gather(*(exchange(http) for _ in range(MOST_IDLE)))
        assert all(isinstance(reply, HttpReply) for reply in again)
        assert opened == crowd
