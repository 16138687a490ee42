"""The pool of the fast lane: who gets which connection, and what never goes on the wire."""

import asyncio
import contextlib
import errno
import gc
import os
import random
import socket
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from tinkex.actors._transport import _connection
from tinkex.actors._transport._attempt import HttpReply, Lost, NotSent
from tinkex.actors._transport._connection import PIECE_BYTES, Connection
from tinkex.actors._transport._fast_lane import MOST_IDLE, FastLane, goes_direct
from tinkex.protocol import ApiKey

pytestmark = pytest.mark.one_lane

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
NONE: Mapping[str, str] = {}


class Wire(asyncio.Transport):
    """A socket in memory: keeps what is written, and answers when told."""

    def __init__(self, connection: Connection, answers: bytes | None) -> None:
        super().__init__()
        self.connection = connection
        self.answers = answers
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)
        if self.answers is not None:
            asyncio.get_running_loop().call_soon(self.say, self.answers)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """It never holds anything back by itself."""

    def say(self, data: bytes) -> None:
        if not self.closed:
            self.connection.data_received(data)

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)

    def is_closing(self) -> bool:
        return self.closed


class Network:
    """Makes such connections, and remembers them."""

    def __init__(self, answers: bytes | None = OK) -> None:
        self.answers = answers
        self.wires: list[Wire] = []

    async def __call__(self, _url: Any, _tls: Any) -> Connection:
        connection = Connection()
        self.wires.append(Wire(connection, self.answers))
        connection.connection_made(self.wires[-1])
        return connection

    @property
    def open(self) -> int:
        return sum(not wire.closed for wire in self.wires)


def lane(network: Any, url: str = "http://127.0.0.1:1", keepalive: float = 30.0) -> FastLane:
    return FastLane(
        url,
        ApiKey("tml-k"),
        headers={"accept": "application/json"},
        connect_seconds=0.2,
        keepalive_seconds=keepalive,
        tls=None,
        dialler=network,
    )


async def post(of: FastLane, path: str = "/x", headers: Mapping[str, str] = NONE) -> Any:
    return await of.post(path, b"{}", read_seconds=5.0, headers=headers)


async def test_the_connection_used_last_is_used_next_so_that_others_grow_old() -> None:
    network = Network()
    of = lane(network)
    await asyncio.gather(*(post(of) for _ in range(3)))
    assert len(network.wires) == 3
    before = [wire.written for wire in network.wires]
    await post(of)
    assert [wire.written != old for wire, old in zip(network.wires, before, strict=True)] == [False, False, True]
    await of.close()
    assert network.open == 0


async def test_no_more_idle_connections_are_kept_than_anybody_needs() -> None:
    network = Network()
    of = lane(network)
    await asyncio.gather(*(post(of) for _ in range(MOST_IDLE + 40)))
    assert len(network.wires) == MOST_IDLE + 40
    assert network.open == MOST_IDLE
    await of.close()
    assert network.open == 0


async def test_an_old_connection_is_closed_and_not_used() -> None:
    network = Network()
    of = lane(network, keepalive=-1.0)
    for _ in range(3):
        assert isinstance(await post(of), HttpReply)
    assert len(network.wires) == 3
    assert network.open == 0


@pytest.mark.parametrize(
    "says",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}", OK + b"more", OK + OK],
    ids=["the server closes it", "noise behind the answer", "an answer too many"],
)
async def test_a_connection_that_says_more_or_less_than_it_should_serves_no_second_request(says: bytes) -> None:
    network = Network(says)
    of = lane(network)
    for _ in range(2):
        attempt = await post(of)
        assert isinstance(attempt, HttpReply | Lost)
    assert len(network.wires) == 2
    assert network.open == 0


async def test_what_comes_to_an_idle_connection_ends_it() -> None:
    network = Network()
    of = lane(network)
    await post(of)
    network.wires[0].say(b"HTTP/1.1 408 Too Late\r\n\r\n")
    assert isinstance(await post(of), HttpReply)
    assert len(network.wires) == 2
    await of.close()


async def test_a_connection_that_is_never_made_is_not_sent() -> None:
    async def never(_url: Any, _tls: Any) -> Connection:
        await asyncio.Event().wait()
        raise AssertionError

    attempt = await post(lane(never))
    assert attempt == NotSent("TimeoutError: no connection in 0.2 s")


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx-evil: 1", "/\u00e4", "/\x00"])
async def test_a_path_that_is_none_never_goes_out(path: str) -> None:
    network = Network()
    assert isinstance(await post(lane(network), path), NotSent)
    assert network.wires == []


async def test_a_header_cannot_smuggle_another() -> None:
    network = Network()
    attempt = await post(lane(network), headers={"accept": "a\r\nx-evil: 1"})
    assert attempt == NotSent("the header accept has characters that no header may have")
    assert network.wires == []


async def test_a_header_of_a_request_takes_the_place_of_the_usual_one() -> None:
    network = Network()
    of = lane(network, "http://127.0.0.1:1/prefix")
    await post(of, headers={"accept": "application/x-protobuf"})
    (wire,) = network.wires
    head = wire.written.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert head[0] == "POST /prefix/x HTTP/1.1"
    assert sorted(head[1:]) == [
        "accept-encoding: gzip, deflate",
        "accept: application/x-protobuf",
        "content-length: 2",
        "host: 127.0.0.1:1",
        "x-api-key: tml-k",
    ]
    await of.close()


async def test_an_exchange_given_up_just_as_its_connection_breaks_leaves_no_complaint() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    connection = await Network(None)(None, None)
    connection.pause_writing()
    exchange = asyncio.ensure_future(connection.exchange(b"POST", bytes(PIECE_BYTES + 1), 5.0))
    await asyncio.sleep(0)
    connection.connection_lost(ConnectionResetError("by the peer"))
    exchange.cancel()
    await asyncio.wait([exchange])
    assert exchange.cancelled()
    del exchange, connection
    await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_a_connection_with_a_part_of_an_answered_request_still_to_be_written_is_not_used_again() -> None:
    network = Network(None)
    of = lane(network)
    for number in (1, 2):
        request = asyncio.ensure_future(post(of))
        await asyncio.sleep(0)
        assert len(network.wires) == number
        network.wires[-1].connection.pause_writing()
        network.wires[-1].say(OK)
        assert isinstance(await request, HttpReply)
        assert network.open == 0


async def test_a_connection_whose_peer_has_ended_it_is_not_used_again_before_it_is_closed_here() -> None:
    network = Network()
    of = lane(network)
    await post(of)
    network.wires[0].connection.eof_received()
    assert isinstance(await post(of), HttpReply)
    assert len(network.wires) == 2
    await of.close()


@pytest.mark.parametrize(
    "says", [b"", b"HTTP/1.1 408 Too Late\r\nContent-Length: 0\r\n\r\n", OK], ids=["end", "408", "200"]
)
async def test_what_came_before_a_request_and_was_not_read_yet_is_not_its_answer(says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as wires:
        listener.settimeout(10)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        of = FastLane(url, ApiKey("tml-k"), headers={}, connect_seconds=5.0, keepalive_seconds=30.0, tls=None)

        async def served(reply: bytes) -> tuple[Any, socket.socket]:
            """Post, which comes before the loop looks at its sockets again, and answer on a new connection."""
            request = asyncio.ensure_future(post(of))
            wire = wires.enter_context((await asyncio.to_thread(listener.accept))[0])
            wire.sendall(reply)
            return await request, wire

        _, wire = await served(OK)
        if says:
            wire.sendall(says)
        else:
            wire.shutdown(socket.SHUT_WR)
        reply, _ = await served(OK.replace(b"200 OK", b"201 Created"))
        assert isinstance(reply, HttpReply)
        assert reply.status == 201
        await of.close()


async def test_what_the_kernel_gave_up_is_no_read_that_took_too_long() -> None:
    network = Network(None)
    sent = asyncio.ensure_future(post(lane(network)))
    await asyncio.sleep(0)
    network.wires[0].connection.connection_lost(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
    attempt = await sent
    assert isinstance(attempt, Lost)
    assert not attempt.timed_out
    assert "Connection timed out" in attempt.cause


async def test_a_peer_that_breaks_off_in_mid_body_is_lost() -> None:
    here, there = socket.socketpair()

    class Broken(Wire):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return {"socket": here, "sslcontext": True}.get(name, default)

    with here, there:
        connection = Connection()
        connection.connection_made(Broken(connection, None))
        connection.pause_writing()
        exchange = asyncio.ensure_future(connection.exchange(b"HEAD", bytes(PIECE_BYTES + 1), 5.0))
        await asyncio.sleep(0)
        connection.connection_lost(None)
        here.close()  # as a transport does next
        with pytest.raises(ConnectionResetError, match="before the answer"):
            await exchange


async def test_a_piece_waits_until_the_socket_has_taken_what_the_transport_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrived = bytearray()
    puts = 0
    here, there = socket.socketpair()

    class Full(Wire):
        """Holds what it is given while the socket is full, until the loop's next round."""

        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return here if name == "socket" else default

        def write(self, data: Any) -> None:
            if puts == 0:  # the head
                arrived.extend(data)
                return
            self.connection.pause_writing()
            asyncio.get_running_loop().call_soon(self.go_on, bytes(data))

        def go_on(self, held: bytes) -> None:
            arrived.extend(held)
            self.connection.resume_writing()

    def put(file: int, data: memoryview) -> int:
        nonlocal puts
        assert file == here.fileno()
        puts += 1
        if puts == 2:
            raise BlockingIOError
        arrived.extend(data)
        return len(data)

    with here, there:
        monkeypatch.setattr(_connection, "os", SimpleNamespace(name="posix", write=put))
        connection = Connection()
        connection.connection_made(Full(connection, None))
        body = random.Random(1).randbytes(3 * PIECE_BYTES)
        exchange = asyncio.ensure_future(connection.exchange(b"HEAD", body, 5.0))
        for _ in range(20):
            await asyncio.sleep(0)
        assert bytes(arrived) == b"HEAD" + body
        connection.data_received(OK)
        assert (await exchange).status == 200
        connection.connection_lost(None)


@pytest.mark.parametrize("error", [BrokenPipeError, ConnectionResetError])
async def test_an_answer_before_the_end_of_a_body_is_heard_though_the_peer_has_closed(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    class Closed(Wire):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return SimpleNamespace(fileno=lambda: 77) if name == "socket" else default

    def put(_file: int, _data: memoryview) -> int:
        raise error

    monkeypatch.setattr(_connection, "os", SimpleNamespace(name="posix", write=put))
    for said in (b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n", b""):
        connection = Connection()
        wire = Closed(connection, None)
        connection.connection_made(wire)
        exchange = asyncio.ensure_future(connection.exchange(b"HEAD", bytes(PIECE_BYTES + 1), 5.0))
        await asyncio.sleep(0)
        if said:
            wire.say(said)
            assert (await exchange).status == 413
            assert not connection.usable
        connection.connection_lost(None)
        if not said:
            with pytest.raises(ConnectionResetError, match="before the answer"):
                await exchange


@pytest.mark.parametrize("tls", [None, object()], ids=["plain", "tls"])
async def test_an_answer_that_has_come_is_read_before_more_of_a_body_is_written(tls: Any) -> None:
    here, there = socket.socketpair()

    class Told(Wire):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return {"socket": here, "sslcontext": tls}.get(name, default)

    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        connection = Connection()
        wire = Told(connection, None)
        connection.connection_made(wire)
        loop = asyncio.get_running_loop()
        loop.add_reader(here, lambda: wire.say(here.recv(65_536)))
        there.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        reply = await connection.exchange(b"HEAD", bytes(PIECE_BYTES + 1), 5.0)
        loop.remove_reader(here)
        assert reply.status == 413
        assert wire.written == b"HEAD"
        with pytest.raises(BlockingIOError):
            there.recv(1)
        assert not connection.usable
        connection.connection_lost(None)


def test_what_only_httpx_can_do_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "somewhere.example")
    assert goes_direct("https://tinker.example/services", local=False)
    assert not goes_direct("https://user:word@tinker.example", local=False)
    assert not goes_direct("https://t\u00efnker.example", local=False)
    assert not goes_direct("https://tinker.example/s\u00efrvices", local=True)
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    assert not goes_direct("https://tinker.example", local=False)
    assert goes_direct("http://127.0.0.1:8080", local=True)
