"""Passes in protobuf: the same work as in JSON, under the same numbers, compressed or not."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from support_engine import DATA, Body, Client, Model, serving
from tinkex.engine._base._errors import Refusal
from tinkex.engine._http._bodies import PROTOBUF, inflate, media_type, takes_protobuf
from tinkex.protocol import wire
from tinkex.protocol.wire import protobuf
from tinkex.protocol.wire._proto import tinkex_wire_pb2 as pb

FORWARD_BACKWARD = "/api/v1/forward_backward"


def as_protobuf(body: Body, *, forward_only: bool = False) -> bytes:
    """Return a JSON pass as protobuf."""
    request = wire.decode(wire.encode(body), wire.ForwardBackwardRequest)
    if forward_only:
        return protobuf.encode_pass(
            wire.ForwardRequest(request.forward_backward_input, request.model_id, request.seq_id)
        )
    return protobuf.encode_pass(request)


async def send(client: Client, body: bytes, **headers: str) -> httpx.Response:
    given_headers = {"content-type": PROTOBUF, "accept": "application/json", **headers}
    return await client.http.post(FORWARD_BACKWARD, content=body, headers=given_headers)


async def accepted(client: Client, body: bytes, **headers: str) -> Body:
    response = await send(client, body, **headers)
    assert response.status_code == 200, response.text
    answer: Body = response.json()
    return answer


async def poll(client: Client, future: Body, accept: str = PROTOBUF) -> httpx.Response:
    """Poll until there is an answer that is no try_again."""
    while True:
        body = {"request_id": future["request_id"]}
        response = await client.http.post("/api/v1/retrieve_future", json=body, headers={"accept": accept})
        assert response.status_code == 200, response.text
        if b'"try_again"' not in response.content:
            return response


def results(response: httpx.Response) -> wire.ForwardBackwardResult:
    assert media_type(response.headers["content-type"]) == PROTOBUF
    return protobuf.decode_result(response.content)


async def test_both_forms_do_the_same_work(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        plain, packed = await client.model(), await client.model()
        expected = await plain.forward_backward(DATA)
        result = results(await poll(client, await accepted(client, as_protobuf(packed.pass_body(DATA)))))
        assert wire.decode(wire.encode(expected), wire.ForwardBackwardResult) == result
        await plain.step()
        await packed.step()
        ahead = await accepted(client, as_protobuf(packed.pass_body(DATA), forward_only=True))
        looked = results(await poll(client, ahead))
        assert looked == wire.decode(wire.encode(await plain.forward(DATA)), wire.ForwardBackwardResult)
        assert (await plain.step())["metrics"] == (await packed.step())["metrics"]


async def test_who_does_not_take_protobuf_gets_json(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        model = await client.model()
        future = await accepted(client, as_protobuf(model.pass_body(DATA)))
        first = await poll(client, future, "application/json")
        assert media_type(first.headers["content-type"]) == "application/json"
        both = results(await poll(client, future, f"{PROTOBUF}, application/json"))
        assert wire.decode(first.content, wire.ForwardBackwardResult) == both


async def test_what_is_no_result_of_a_pass_stays_json(tmp_path: Path) -> None:
    """Other results and failures."""
    async with serving(tmp_path) as client:
        model = await client.model()
        stepped = await poll(client, await client.post("optim_step", model.body(adam_params={})))
        assert stepped.json()["type"] == "optim_step"
        await model.save("taken")
        failed = await poll(client, await client.post("save_weights", model.body(path="taken")))
        assert failed.json()["status"] == "failed"


async def test_a_repeat_is_recognised_compressed_or_not(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        model = await client.model()
        body = as_protobuf(model.pass_body(DATA))
        first = await accepted(client, body)
        assert await accepted(client, body) == first
        assert await accepted(client, zstandard.compress(body), **{"content-encoding": "zstd"}) == first
        changed = await send(client, as_protobuf({**model.pass_body(DATA[:1]), "seq_id": 1}))
        assert changed.status_code == 400
        assert "was used for another request" in changed.json()["detail"]


async def test_json_may_be_compressed_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        model = await client.model()
        raw = zstandard.compress(wire.encode(model.pass_body(DATA)))
        headers = {"content-type": "application/json", "content-encoding": "zstd"}
        response = await client.http.post(FORWARD_BACKWARD, content=raw, headers=headers)
        assert response.status_code == 200, response.text


async def refused(client: Client, body: bytes, status: int = 400, **headers: str) -> str:
    response = await send(client, body, **headers)
    assert response.status_code == status, response.text
    detail: str = response.json()["detail"]
    return detail


async def test_a_pass_that_is_refused_holds_up_nobody(tmp_path: Path) -> None:
    """Bytes that are no message, a message that cannot be served, data that do not fit."""
    async with serving(tmp_path) as client:
        model = await client.model()
        assert "cannot be read" in await refused(client, b"\xff\xff")
        image = pb.ForwardBackwardRequest(model_id=model.model_id, seq_id=1, loss_fn="cross_entropy")
        image.data.add().model_input.add().image.format = "png"
        assert "data[0]: a chunk of type 'image'" in await refused(client, image.SerializeToString())
        empty = pb.ForwardBackwardRequest(model_id=model.model_id, seq_id=2, loss_fn="cross_entropy")
        assert "data" in await refused(client, empty.SerializeToString())
        unnumbered = pb.ForwardBackwardRequest(model_id=model.model_id)
        assert "seq_id must be" in await refused(client, unnumbered.SerializeToString())
        third = Model(client, model.model_id, seq_id=2)
        await third.forward_backward(DATA)


@pytest.mark.parametrize("path", ["optim_step", "create_session", "retrieve_future"])
async def test_only_passes_come_in_protobuf(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as client:
        response = await client.http.post(f"/api/v1/{path}", content=b"", headers={"content-type": PROTOBUF})
        assert response.status_code == 415


BOMB = zstandard.compress(b"\0" * 1_000_000)
NAMELESS = zstandard.ZstdCompressor(write_content_size=False)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (BOMB, 413),
        (NAMELESS.compress(b"\0" * 1_000_000), 413),
        (BOMB[:-4], 413),
        (b"", 400),
        (b"no frame at all", 400),
        (zstandard.compress(b"small")[:-3], 400),
        (zstandard.compress(b"small") + b"more", 400),
    ],
)
async def test_frames_that_lie_are_refused(tmp_path: Path, body: bytes, status: int) -> None:
    async with serving(tmp_path, max_body_bytes=100_000) as client:
        sentence = await refused(client, body, status, **{"content-encoding": "zstd"})
        assert "send fewer data at once" in sentence if status == 413 else "zstd" in sentence
        assert (await client.get("healthz"))["status"] == "ok"


@given(st.binary(max_size=2000), st.booleans())
def test_what_was_compressed_is_inflated(body: bytes, sized: bool) -> None:
    frame = zstandard.compress(body) if sized else NAMELESS.compress(body)
    assert inflate(frame, "zstd", 2000) == body
    assert inflate(frame, " ZSTD", 2000) == body
    assert inflate(body, "identity", 1) == body


@given(st.binary(max_size=200))
def test_any_bytes_are_inflated_or_refused(body: bytes) -> None:
    try:
        assert len(inflate(body, "zstd", 1000)) <= 1000
    except Refusal as refusal:
        assert refusal.status in {400, 413}  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("accept", "takes"),
    [
        (PROTOBUF, True),
        (f"application/json, {PROTOBUF};q=0.9", True),
        ("APPLICATION/X-PROTOBUF", True),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
def test_accept_is_read(accept: str, takes: Any) -> None:
    assert takes_protobuf(accept) is takes
