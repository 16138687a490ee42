"""The stub of the hot path's benchmark answers what is asked, sees each disorder, however its bytes arrive."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fast_path.scenarios import scenario
from fast_path.stub import Connection, Server
from fast_path.stub_service import JSON, PROTOBUF, Order, Service
from fast_path.stub_wire import (
    json_digest,
    json_result,
    protobuf_digest,
    protobuf_result,
    read_json,
    read_protobuf,
)
from fast_path.values import expected_digest, logprobs_of, loss_of, norm_of, tokens_of
from tinkex.protocol import Datum, ModelInput, wire
from tinkex.protocol.wire.protobuf import decode_result, encode_pass

TINY = scenario("C", tiny=True)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def service() -> tuple[Service, Clock]:
    clock = Clock()
    return Service(clock), clock


def post(to: Service, route: str, accept: bytes = JSON, **body: object) -> Any:
    answer = to.answer(f"/api/v1/{route}".encode(), JSON, accept, json.dumps(body).encode())
    assert not answer.parked
    return json.loads(answer.body)


def model(to: Service) -> str:
    session = post(to, "create_session")["session_id"]
    made = post(to, "create_model", session_id=session, model_seq_id=0)
    created = post(to, "retrieve_future", request_id=made["request_id"])
    assert created["model_id"] == made["model_id"]
    return str(created["model_id"])


def a_pass(seq_id: int = 1, model_id: str = "m") -> wire.ForwardBackwardRequest:
    data = list[Datum]()
    for place in range(TINY.datums):
        ids = tokens_of(place, TINY).tolist()
        data.append(Datum(ModelInput.from_ints(ids[:-1]), {"target_tokens": ids[1:], "weights": [1.0] * TINY.tokens}))
    return wire.ForwardBackwardRequest(wire.ForwardBackwardInput(data, "cross_entropy"), model_id, seq_id)


def test_a_pass_is_read_the_same_from_both_forms() -> None:
    request = a_pass(300, "session-1:train:0")
    protobuf, text = encode_pass(request), wire.encode(request)
    wanted = ("session-1:train:0", 300, (TINY.tokens,) * TINY.datums)
    assert read_protobuf(protobuf) == read_json(text) == wanted
    assert protobuf_digest(protobuf) == json_digest(text) == expected_digest(TINY)


def test_lengths_are_read_from_json_without_shapes() -> None:
    body = json.loads(wire.encode(a_pass()))
    for datum in body["forward_backward_input"]["data"]:
        for tensor in datum["loss_fn_inputs"].values():
            tensor.pop("shape", None)
    text = json.dumps(body).encode()
    assert read_json(text).lengths == (TINY.tokens,) * TINY.datums
    assert json_digest(text) == expected_digest(TINY)


def test_another_token_target_or_weight_has_another_digest() -> None:
    text = wire.encode(a_pass()).decode()
    token, target = tokens_of(0, TINY)[3], tokens_of(1, TINY)[5]
    for changed in (
        text.replace(f"{token},", f"{token + 1},", 1),
        text.replace(f",{target}", ",0"),
        text.replace("1.0", "0.5", 1),
    ):
        assert changed != text
        assert json_digest(changed.encode()) != expected_digest(TINY)


@pytest.mark.parametrize("lengths", [(5,), (3, 0, 4), (7,) * 200])
def test_results_of_both_forms_say_what_drivers_expect(lengths: tuple[int, ...]) -> None:
    texts = wire.decode(json_result(41, lengths), wire.ForwardBackwardResult)
    for result in (decode_result(protobuf_result(41, lengths)), texts):
        assert result.metrics == {"loss:sum": loss_of(41)}
        found = [output["logprobs"].to_numpy() for output in result.loss_fn_outputs]
        assert [len(one) for one in found] == list(lengths)
        for place, one in enumerate(found):
            assert np.array_equal(one, logprobs_of(place, lengths[place]))


def test_a_result_comes_in_the_form_that_is_accepted_and_once() -> None:
    stub, _ = service()
    request = a_pass(1, model(stub))
    receipt = json.loads(stub.answer(b"/api/v1/forward_backward", PROTOBUF, JSON, encode_pass(request)).body)
    asked = json.dumps(receipt).encode()
    answer = stub.answer(b"/api/v1/retrieve_future", JSON, PROTOBUF, asked)
    assert (answer.kind, decode_result(answer.body).metrics["loss:sum"]) == (PROTOBUF, loss_of(1))
    assert stub.answer(b"/api/v1/retrieve_future", JSON, JSON, asked).status.startswith(b"404")
    assert "has no result" in stub.report()["disorder"][0]


def test_a_poll_is_held_until_its_result_is_there_and_no_longer_than_promised() -> None:
    stub, clock = service()
    name = model(stub)
    stub.private(b"/stub/begin", b'{"delay":0.2}')
    first = post(stub, "optim_step", model_id=name, seq_id=1)["request_id"]
    parked = stub.poll(first, JSON)
    assert (parked.parked, parked.body) == (first, b"")
    assert parked.at == pytest.approx(clock.now + 0.2)
    assert stub.report()["unread"] == 1
    clock.now = parked.at
    assert json.loads(stub.poll(first, JSON, held=True).body)["metrics"] == {"grad_norm:mean": norm_of(1)}
    stub.private(b"/stub/begin", b'{"delay":100.0}')
    second = post(stub, "optim_step", model_id=name, seq_id=2)["request_id"]
    assert stub.poll(second, JSON).at == clock.now + 30.0
    assert json.loads(stub.poll(second, JSON, held=True).body)["type"] == "try_again"
    assert stub.report()["try_again"] == 1


@given(st.permutations(range(1, 9)))
def test_numbers_may_come_early_as_long_as_the_gap_closes(numbers: list[int]) -> None:
    order = Order()
    assert [order.take(number) for number in numbers] == [None] * 8
    assert (order.next, order.ahead) == (9, set())


def test_a_number_twice_a_gap_at_the_end_an_unknown_model_and_an_unknown_path_are_disorder() -> None:
    stub, _ = service()
    name = model(stub)
    for number in (1, 2, 2, 4):
        post(stub, "optim_step", model_id=name, seq_id=number)
    post(stub, "optim_step", model_id="nobody", seq_id=1)
    stub.answer(b"/api/v1/who_knows", JSON, JSON, b"")
    told = stub.report()
    assert told["disorder"] == [
        f"{name}: 2 came twice",
        "nobody with number 1: there is no such model",
        "/api/v1/who_knows is not known here",
        f"{name} waits for 3",
    ]
    assert (told["numbered"], told["early"]) == (5, 1)
    stub.private(b"/stub/begin", b"{}")
    assert stub.report()["disorder"] == [f"{name} waits for 3"]
    assert stub.report()["requests"] == 0


def test_a_load_makes_a_model_or_is_the_first_request_of_one() -> None:
    stub, _ = service()
    session = post(stub, "create_session")["session_id"]
    receipt = post(
        stub, "load_weights", session_id=session, model_seq_id=4, path="tinker://a/weights/b", optimizer=True
    )
    made = post(stub, "retrieve_future", request_id=receipt["request_id"])
    assert made["model_id"] == f"{session}:train:4"
    post(stub, "optim_step", model_id=made["model_id"], seq_id=1)
    name = model(stub)
    post(stub, "load_weights", model_id=name, seq_id=1, path="tinker://a/weights/b", optimizer=True)
    assert (stub.report()["disorder"], stub.report()["numbered"]) == ([], 2)


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False
        self.wrote = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)
        self.wrote.set()

    def close(self) -> None:
        self.closed = True


def feed(connection: Connection, data: bytes) -> None:
    while data:
        room = connection.get_buffer(-1)
        part, data = data[: len(room)], data[len(room) :]
        room[: len(part)] = part
        connection.buffer_updated(len(part))


def connected(server: Server) -> tuple[Connection, Wire]:
    connection, transport = Connection(server), Wire()
    connection.connection_made(transport)
    return connection, transport


def http(path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def bodies(written: bytes) -> list[Any]:
    found = list[Any]()
    while written:
        head, _, rest = written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\ndate: ")
        size = int(head.rpartition(b"content-length: ")[2])
        found.append(json.loads(rest[:size]))
        written = rest[size:]
    return found


@given(st.lists(st.integers(1, 3000), max_size=12), st.integers(0, 20_000))
def test_requests_are_answered_alike_however_their_bytes_arrive(cuts: list[int], padding: int) -> None:
    async def play() -> None:
        server = Server()
        connection, transport = connected(server)
        body = b'{"type":"' + b"x" * padding + b'"}'
        sent = http("/api/v1/create_session", body) + http("/api/v1/session_heartbeat", b"{}", "accept: a/b") * 2
        rest = sent
        for cut in cuts:
            feed(connection, rest[:cut])
            rest = rest[cut:]
        feed(connection, rest)
        assert [one["type"] for one in bodies(transport.written)] == ["create_session"] + ["session_heartbeat"] * 2
        told = server.service.report()
        assert (told["requests"], told["bytes_in"], told["bytes_out"]) == (3, len(sent), len(transport.written))

    asyncio.run(play())


async def test_a_held_poll_holds_what_comes_behind_it_on_its_connection() -> None:
    server = Server()
    connection, transport = connected(server)
    feed(connection, http("/stub/begin", b'{"delay":0.03}') + http("/api/v1/create_session", b"{}"))
    feed(connection, http("/api/v1/create_model", b'{"session_id":"session-1","model_seq_id":0}'))
    receipt = bodies(transport.written)[-1]
    transport.written = b""
    transport.wrote.clear()
    poll = json.dumps({"request_id": receipt["request_id"]}).encode()
    feed(connection, http("/api/v1/retrieve_future", poll) + http("/api/v1/session_heartbeat", b"{}"))
    assert transport.written == b""
    await transport.wrote.wait()
    assert [one["type"] for one in bodies(transport.written)] == ["create_model", "session_heartbeat"]


async def test_a_poll_whose_connection_is_lost_loses_no_result() -> None:
    server = Server()
    connection, _ = connected(server)
    feed(connection, http("/stub/begin", b'{"delay":5.0}') + http("/api/v1/create_session", b"{}"))
    feed(connection, http("/api/v1/create_model", b'{"session_id":"session-1","model_seq_id":0}'))
    feed(connection, http("/api/v1/retrieve_future", b'{"request_id":"req-1"}'))
    assert server.service.report()["open_connections"] == 1
    connection.connection_lost(None)
    told = server.service.report()
    assert (told["unread"], told["open_connections"], told["connections"]) == (1, 0, 1)


async def test_a_request_without_a_length_is_refused_and_its_connection_closed() -> None:
    connection, transport = connected(Server())
    feed(connection, b"POST /api/v1/optim_step HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert transport.written.startswith(b"HTTP/1.1 411 ")
    assert transport.closed
