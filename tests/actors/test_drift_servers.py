"""One program, and servers that differ: what each can do is found out at run time, once, and remembered."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import base_model, create, data, eventually
from support_servers import PROTOBUF, URL, Hosted, Scripted, SkyRL, TinkexEra, client, reply
from tinkex.actors import ServiceClient, ServiceClientRef
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import AdamParams, Err, messages

SERVERS = [Scripted, Hosted, SkyRL, TinkexEra]


def program(ref: ServiceClientRef) -> list[float]:
    """What a user does with any server; returns the losses seen."""
    training = create(ref)
    losses: list[float] = []
    for _ in range(2):
        losses.append(training.ask(messages.ForwardBackward(data(rows=2))).unwrap().metrics["loss:sum"])
        assert training.ask(messages.OptimStep(AdamParams())).is_ok
    path = training.ask(messages.SaveState("kept")).unwrap().path
    ahead = training.ask(messages.Forward(data(rows=2))).unwrap()
    assert len(ahead.loss_fn_outputs) == 2
    restored = ref.ask(messages.CreateTrainingClientFromState(path, optimizer=True)).unwrap()
    again = restored.ask(messages.Forward(data(rows=2))).unwrap()
    assert again.metrics["loss:sum"] == ahead.metrics["loss:sum"], "the weights are those that were saved"
    for each in (training, restored):
        losses.append(each.ask(messages.ForwardBackward(data(rows=2))).unwrap().metrics["loss:sum"])
        assert each.ask(messages.OptimStep(AdamParams())).is_ok
        losses.append(each.ask(messages.Forward(data(rows=2))).unwrap().metrics["loss:sum"])
    assert losses[-1] == losses[-3], "and so is the optimizer"
    assert restored.proxy().model_id.get() != training.proxy().model_id.get()
    for each in (training, restored):
        each.stop()
    eventually(lambda: all(leak.state == "expiring" for leak in ref.ask(messages.Leaks()).unwrap().leases))
    return losses


@pytest.mark.parametrize("kind", SERVERS)
def test_the_same_program_runs_against_every_server_and_leaves_what_only_time_can_end(kind: type[Scripted]) -> None:
    server = kind()
    with client(server) as ref:
        losses = program(ref)
        assert losses[:2] == [100.0, 100.0 - 17 / 16]
        left = 1 if kind is Hosted else 0  # of a session that is beaten for, without an unload
        # A release that is on its way for the first time is no leak yet.
        eventually(lambda: len(ref.ask(messages.Leaks()).unwrap().leases) == left)
    assert server.models == {}
    assert server.sessions == set() or "/finish" in server.missing


def test_the_same_program_runs_against_our_engine_and_leaves_nothing(tmp_path: Path) -> None:
    with engine_process(tmp_path) as url, client(None, url) as ref:
        program(ref)
        eventually(lambda: ref.ask(messages.Leaks()).unwrap().leases == [])


@pytest.mark.parametrize(("kind", "form"), [(Scripted, "application/json"), (Hosted, PROTOBUF)])
def test_the_form_of_passes_is_found_out_by_the_first_and_kept(kind: type[Scripted], form: str) -> None:
    server = kind()
    with client(server) as ref:
        program(ref)
    forms = [media for path, media in server.seen if path in ("/forward", "/forward_backward")]
    assert forms.count(form) == len(forms) - (form == PROTOBUF)


def test_what_one_client_found_out_every_client_of_the_same_server_knows() -> None:
    server = Hosted()
    with client(server) as ref:
        program(ref)
        other = ServiceClient.start(base_url=URL)
        before = len(server.seen)
        program(other)
        other.stop()
    later = server.seen[before:]
    assert {media for path, media in later if path == "/forward_backward"} == {PROTOBUF}
    assert sum(path == "/load_weights" for path, _ in later) == 1
    assert server.asked("/unload_model") == 1, "and it was never asked again"


def test_another_runtime_finds_out_for_itself() -> None:
    server = Hosted()
    for rounds in (1, 2):
        with client(server) as ref:
            program(ref)
        assert server.asked("/unload_model") == rounds


def test_a_missing_finish_is_asked_for_once() -> None:
    server = SkyRL()
    with client(server) as ref:
        path = create(ref).ask(messages.SaveState("kept")).unwrap().path
        for _ in range(3):
            ref.ask(messages.CreateTrainingClientFromState(path)).unwrap().stop()
            eventually(lambda: len(server.models) == 1)
        eventually(lambda: ref.ask(messages.Leaks()).unwrap().leases == [])
    assert server.asked("/finish") == 1


def test_an_unknown_model_does_not_hide_the_route() -> None:
    server = Scripted()
    with client(server) as ref:
        first, second = create(ref), create(ref)
        server.models.pop(str(first.proxy().model_id.get()))
        assert isinstance(first.ask(messages.UnloadModel()), Err)
        assert second.ask(messages.UnloadModel()).is_ok


@pytest.mark.parametrize(
    "refusal",
    [
        (415, {"detail": "unsupported"}),
        (422, {"detail": "the request could not be understood"}),
        (400, {"error": "Error parsing message"}),
        (400, {"message": "expected content-type application/x-protobuf"}),
    ],
)
def test_a_refusal_that_may_mean_the_format_is_answered_in_protobuf_under_the_same_number(refusal: Any) -> None:
    class Other(Hosted):
        def wrong_format(self, media: str) -> httpx.Response:
            return reply(*refusal)

    server = Other()
    with client(server) as ref:
        training = create(ref)
        assert training.ask(messages.ForwardBackward(data())).is_ok
        assert training.ask(messages.OptimStep(AdamParams())).is_ok
        (model,) = server.models.values()
        assert model.ran == [1, 2]


@pytest.mark.parametrize(
    ("refusal", "attempts"),
    [
        ((400, {"detail": "targets are longer than the tokens"}), 1),
        ((422, {"detail": [{"loc": ["body", "forward_backward_input", "loss_fn"], "msg": "no such loss"}]}), 1),
        ((403, {"detail": "not yours"}), 1),
        ((415, {"detail": "no"}), 2),
    ],
)
def test_a_pass_that_is_refused_is_told_with_its_first_reason_and_spends_no_number(refusal: Any, attempts: int) -> None:
    class Refuses(Scripted):
        def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
            return reply(*refusal) if media != PROTOBUF else reply(400, {"detail": "a second reason"})

    server = Refuses()
    with client(server) as ref:
        training = create(ref)
        refused = training.ask(messages.ForwardBackward(data()))
        assert isinstance(refused, Err)
        assert (refused.error.status, refused.error.data["outcome"]) == (refusal[0], "not_sent")
        assert server.asked("/forward_backward") == attempts
        assert training.ask(messages.OptimStep(AdamParams())).is_ok
        (model,) = server.models.values()
        assert model.ran == [1]


def test_a_server_that_took_json_once_is_never_sent_a_pass_in_protobuf() -> None:
    class Later(Scripted):
        def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
            return super().run_pass(path, media, raw) if self.asked(path) == 1 else self.wrong_format(media)

    server = Later()
    with client(server) as ref:
        training = create(ref)
        assert training.ask(messages.ForwardBackward(data())).is_ok
        assert isinstance(training.ask(messages.ForwardBackward(data())), Err)
        assert server.asked("/forward_backward") == 2


def test_a_pass_that_may_have_run_is_never_sent_in_another_form() -> None:
    class Doubtful(Hosted):
        def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
            return reply(503, {"detail": "?"}) if self.asked(path) == 1 else super().run_pass(path, media, raw)

    server = Doubtful()
    with client(server) as ref:
        training = create(ref)
        unknown = training.ask(messages.ForwardBackward(data()))
        assert isinstance(unknown, Err)
        assert unknown.error.data["outcome"] == "unknown"
        assert training.ask(messages.Status()).unwrap().state == "suspect"
    assert PROTOBUF not in {media for _, media in server.seen}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_failed_result_is_told_in_the_servers_words_and_the_client_lives(kind: type[Scripted]) -> None:
    with client(kind()) as ref:
        training = create(ref)
        failed = training.ask(messages.SaveState("failing"))
        assert isinstance(failed, Err)
        assert (failed.error.kind, failed.error.category) == ("request_failed", "user")
        assert "the disk is full" in failed.error.message
        assert training.ask(messages.OptimStep(AdamParams())).is_ok


def test_a_save_that_the_server_does_not_tell_apart_is_ours_by_its_time() -> None:
    server = SkyRL()
    with client(server) as ref:
        training = create(ref)
        server.lose = {"/save_weights"}
        assert training.ask(messages.SaveState("once")).unwrap().path.endswith("/weights/once")
        assert server.asked("/save_weights") == 2
        assert training.ask(messages.OptimStep(AdamParams())).is_ok


def test_a_capability_that_nobody_needs_is_not_asked_for() -> None:
    server = Scripted()
    with client(server) as ref:
        assert base_model(ref) == "m"
    assert [path for path, _ in server.seen] == ["/get_server_capabilities"]


def test_a_failure_that_comes_with_the_answer_is_no_success() -> None:
    class Inline(Scripted):
        def optim_step(self, body: Any) -> httpx.Response:
            super().optim_step(body)
            return self.failure("boom")

    with client(Inline()) as ref:
        training = create(ref)
        failed = training.ask(messages.OptimStep(AdamParams()))
        assert isinstance(failed, Err)
        assert "boom" in failed.error.message
        assert training.ask(messages.SaveState("after")).is_ok


def test_a_failed_pass_that_comes_with_the_answer_makes_the_client_suspect() -> None:
    class Inline(Scripted):
        def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
            super().run_pass(path, media, raw)
            return self.failure("boom")

    with client(Inline()) as ref:
        training = create(ref)
        behind = [training.ask(messages.ForwardBackward(data()), block=False)]
        behind.append(training.ask(messages.OptimStep(AdamParams()), block=False))  # type: ignore[arg-type]
        kinds = [reply.get(timeout=20).error.kind for reply in behind]  # type: ignore[union-attr]
        assert kinds == ["request_failed", "client_suspect"]


def test_a_result_in_protobuf_that_is_none_of_a_pass_is_a_protocol_error() -> None:
    class Odd(Scripted):
        def optim_step(self, body: Any) -> httpx.Response:
            odd = httpx.Response(200, content=b"\x0a\x00", headers={"content-type": PROTOBUF})
            return self.numbered(body, json.dumps(body).encode(), odd)

        def in_json(self, stored: httpx.Response) -> httpx.Response:
            return stored

    with client(Odd()) as ref:
        odd = create(ref).ask(messages.OptimStep(AdamParams()))
        assert isinstance(odd, Err)
        assert odd.error.kind == "protocol"


class ProtobufOnly(httpx.AsyncBaseTransport):
    """The way to an engine, which refuses passes in JSON as the hosted service does."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self._inner = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if "/forward" in request.url.path and request.headers["content-type"] != PROTOBUF:
            return reply(415, {"detail": "protobuf only"})
        response = await self._inner.handle_async_request(request)
        if request.url.path.endswith("/retrieve_future"):
            self.results.append(response.headers["content-type"])
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def test_our_engine_computes_the_same_to_the_bit_in_either_form(tmp_path: Path) -> None:
    def trained(ref: ServiceClientRef) -> list[Any]:
        training = create(ref)
        seen: list[Any] = []
        for _ in range(3):
            output = training.ask(messages.ForwardBackward(data(rows=2))).unwrap()
            seen.append((output.metrics["loss:sum"], [item["logprobs"].tolist() for item in output.loss_fn_outputs]))
            assert training.ask(messages.OptimStep(AdamParams(learning_rate=1e-2))).is_ok
        ahead = training.ask(messages.Forward(data(), loss_fn="cross_entropy")).unwrap()
        return [*seen, ahead.metrics["loss:sum"]]

    with engine_process(tmp_path) as url:
        with client(None, url) as ref:
            in_json = trained(ref)
        way = ProtobufOnly()
        with client(way, url) as ref:
            assert trained(ref) == in_json
        assert any(PROTOBUF in media for media in way.results)
