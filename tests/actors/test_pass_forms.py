"""The form of a pass: JSON where that is no loss, protobuf where a server speaks it, packed where it is worth it."""

from typing import Any, ClassVar

import httpx
import pytest
import zstandard

from support_clients import create, data
from support_servers import PROTOBUF, URL, Scripted, client, reply
from tinkex.protocol import Datum, ModelInput, messages

JSON = "application/json"
FAR = "https://tinker.example"
LARGE = [Datum(ModelInput.from_ints([7] * 2000), {"target_tokens": [7] * 2000, "weights": [1.0] * 2000})]


class Both(Scripted):
    """Takes either form, and writes protobuf where that is asked for."""

    packs: ClassVar[httpx.Response] = reply(404, {"detail": "Not Found"})

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[tuple[str, str | None, int]] = []
        self.wanted: list[str] = []
        self.numbers: list[int] = []

    def handle(self, request: httpx.Request, path: str, media: str, raw: bytes) -> httpx.Response:
        if path == "/client/config":
            return self.packs
        if path == "/retrieve_future":
            self.wanted.append(request.headers["accept"])
        if path in ("/forward", "/forward_backward"):
            coding = request.headers.get("content-encoding")
            self.passes.append((media, coding, len(raw)))
            if coding == "zstd":
                raw = zstandard.ZstdDecompressor().decompress(raw)
        return super().handle(request, path, media, raw)

    def numbered(self, body: Any, raw: bytes, result: httpx.Response) -> httpx.Response:
        self.numbers.append(body["seq_id"])
        return super().numbered(body, raw, result)

    @property
    def forms(self) -> list[str]:
        return [media for media, _, _ in self.passes]


def run(server: Scripted, *batches: Any, url: str = URL) -> None:
    with client(server, url, api_key="tml-x") as ref:
        training = create(ref)
        for batch in batches:
            output = training.ask(messages.ForwardBackward(batch)).unwrap()
            assert output.metrics["loss:sum"] == 100.0
            assert [each["logprobs"].tolist() for each in output.loss_fn_outputs] == [[-0.5, -0.25]]


def test_large_passes_go_in_protobuf_once_a_result_came_in_it() -> None:
    server = Both()
    run(server, LARGE, LARGE, LARGE)
    assert server.forms == [JSON, PROTOBUF, PROTOBUF]


def test_small_passes_stay_what_everybody_can_read() -> None:
    server = Both()
    run(server, data(), LARGE, data(), LARGE, data())
    assert server.forms == [JSON, JSON, JSON, PROTOBUF, JSON]
    either = f"{PROTOBUF}, {JSON}"
    assert server.wanted[1:-1] == [JSON, either, JSON, either, JSON], "behind the model's and before its end"


def test_a_server_without_protobuf_is_never_sent_any() -> None:
    class Plain(Both):
        def retrieve_future(self, body: Any, headers: httpx.Headers) -> httpx.Response:
            return super().retrieve_future(body, httpx.Headers({"accept": JSON}))

    server = Plain()
    run(server, LARGE, LARGE, data())
    assert server.forms == [JSON, JSON, JSON]


@pytest.mark.parametrize("status", [415, 422, 400])
def test_a_server_that_writes_protobuf_and_reads_none_is_asked_once_under_the_same_number(status: int) -> None:
    class Writes(Both):
        takes = frozenset({JSON})

        def wrong_format(self, media: str) -> httpx.Response:
            return reply(status, {"detail": f"cannot parse {media}"})

    server = Writes()
    run(server, LARGE, LARGE, LARGE, LARGE)
    assert server.forms == [JSON, PROTOBUF, JSON, JSON, JSON]
    assert server.numbers == [1, 2, 3, 4]


def test_a_refusal_of_what_is_in_a_pass_is_no_refusal_of_its_form() -> None:
    class Strict(Both):
        def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
            if media == PROTOBUF:
                return reply(400, {"detail": "a target is no token"})
            return super().run_pass(path, media, raw)

    server = Strict()
    with client(server) as ref:
        training = create(ref)
        assert training.ask(messages.ForwardBackward(LARGE)).is_ok
        refused = training.ask(messages.ForwardBackward(LARGE))
        assert not refused.is_ok
    assert server.forms == [JSON, PROTOBUF]


class Packs(Both):
    packs = reply(200, {"proto_compress_fwdbwd": True})


def test_a_large_pass_to_a_server_far_away_is_packed_where_it_says_that_it_takes_that() -> None:
    server = Packs()
    run(server, LARGE, LARGE, LARGE, data(), url=FAR)
    (_, first, plain), (_, second, packed), (_, third, _), (_, small, _) = server.passes
    assert (first, second, third, small) == (None, "zstd", "zstd", None)
    assert packed < plain / 2
    assert server.asked("/client/config") == 1


def test_within_one_machine_nothing_is_packed_or_asked() -> None:
    server = Packs()
    run(server, LARGE, LARGE)
    assert [coding for _, coding, _ in server.passes] == [None, None]
    assert server.asked("/client/config") == 0


@pytest.mark.parametrize(
    ("says", "asked"),
    [
        (reply(200, {}), 1),
        (reply(200, {"proto_compress_fwdbwd": False}), 1),
        (reply(404, {"detail": "Not Found"}), 1),
        (httpx.Response(200, content=b"<html>"), 1),
        (reply(503, {"detail": "busy"}), 2),
    ],
)
def test_a_server_that_does_not_say_so_is_sent_plain_ones(says: httpx.Response, asked: int) -> None:
    class Says(Both):
        packs = says

    server = Says()
    run(server, LARGE, LARGE, LARGE, url=FAR)
    assert [coding for _, coding, _ in server.passes] == [None, None, None]
    assert server.asked("/client/config") == asked
