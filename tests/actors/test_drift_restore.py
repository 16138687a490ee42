"""Restores in the form that the server takes: three steps first, one request where those are refused."""

import json
import threading
from typing import Any

import httpx
import pykka
import pytest

from support_clients import create, eventually
from support_servers import Hosted, Scripted, SkyRL, client, reply
from tinkex.actors import ServiceClientRef, TrainingClient
from tinkex.actors._training._restore import Source
from tinkex.protocol import AdamParams, Err, messages


class Noted(Scripted):
    """Keeps the bodies of what makes and ends models."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[tuple[str, Any]] = []

    def handle(self, request: httpx.Request, path: str, media: str, raw: bytes) -> httpx.Response:
        if path in ("/create_model", "/load_weights", "/unload_model"):
            self.bodies.append((path, json.loads(raw)))
        return super().handle(request, path, media, raw)

    def sent(self, path: str) -> list[Any]:
        return [body for name, body in self.bodies if name == path]


class OneRequest(Noted):
    """Loads in one request only, and can unload and finish."""

    three_step = False


def saved(ref: ServiceClientRef) -> str:
    return create(ref).ask(messages.SaveState("kept")).unwrap().path


def test_a_model_made_in_vain_is_unloaded_before_the_one_request_that_makes_another() -> None:
    server = OneRequest()
    with client(server) as ref:
        made = ref.ask(messages.CreateTrainingClientFromState(saved(ref), optimizer=True)).unwrap()
        assert [path for path, _ in server.bodies[1:]] == [
            "/create_model",
            "/load_weights",
            "/unload_model",
            "/load_weights",
        ]
        spent, asked = server.sent("/create_model")[-1], server.sent("/load_weights")[-1]
        assert asked["session_id"] == spent["session_id"], "the session is the client's own"
        assert (spent["model_seq_id"], asked["model_seq_id"]) == (0, 1)
        assert asked["optimizer"] is True
        assert "seq_id" not in asked
        assert made.proxy().model_id.get() == f"{asked['session_id']}:train:1"
        assert len(server.models) == 2
        assert made.ask(messages.OptimStep(AdamParams())).is_ok, "under number 1"
        made.stop()
        eventually(lambda: len(server.models) == 1)
        assert ref.ask(messages.Leaks()).unwrap().leases == []


def test_a_server_that_is_known_to_load_in_one_request_is_asked_for_that_at_once() -> None:
    server = OneRequest()
    with client(server) as ref:
        path = saved(ref)
        ref.ask(messages.CreateTrainingClientFromState(path)).unwrap()
        server.bodies.clear()
        message = messages.CreateTrainingClientFromState(path, base_model="other", user_metadata={"a": "b"})
        ref.ask(message).unwrap()
        ((_, asked),) = server.bodies
        assert asked["model_seq_id"] == 0
        assert (asked["base_model"], asked["user_metadata"]) == ("other", {"a": "b"})


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_server_without_create_model_is_asked_in_one_request(status: int) -> None:
    class NoCreate(OneRequest):
        def create_model(self, body: Any) -> httpx.Response:
            return (
                super().create_model(body)
                if self.asked("/create_model") == 1
                else reply(status, {"detail": "Not Found"})
            )

    server = NoCreate()
    with client(server) as ref:
        path = saved(ref)
        for _ in range(2):
            made = ref.ask(messages.CreateTrainingClientFromState(path)).unwrap()
            assert made.ask(messages.OptimStep(AdamParams())).is_ok
        assert server.asked("/create_model") == 2, "its own, and the one in vain"


def test_where_both_forms_are_refused_the_first_reason_is_told_and_nothing_is_left() -> None:
    class Neither(Noted):
        def load_weights(self, body: Any) -> httpx.Response:
            return reply(400, {"detail": "no permitted form" if "model_id" in body else "model_id is missing"})

    server = Neither()
    with client(server) as ref:
        path = saved(ref)
        refused = ref.ask(messages.CreateTrainingClientFromState(path, optimizer=True))
        assert isinstance(refused, Err)
        assert "no permitted form" in refused.error.message
        assert "model_id is missing" not in json.dumps(refused.error.to_dict())
        assert (refused.error.data["step"], refused.error.data["path"]) == ("load_weights", path)
        assert len(server.sent("/load_weights")) == 2
        eventually(lambda: len(server.models) == 1 and len(server.sessions) == 1)
        assert len(pykka.ActorRegistry.get_by_class(TrainingClient)) == 1
        assert ref.ask(messages.Leaks()).unwrap().leases == []


@pytest.mark.parametrize(
    "answer",
    [(404, {"detail": "no such checkpoint"}), (403, {"detail": "not yours"}), (400, {"detail": "no optimizer in it"})],
)
def test_a_checkpoint_that_is_missing_is_no_matter_of_form(answer: Any) -> None:
    class Missing(Noted):
        def load_weights(self, body: Any) -> httpx.Response:
            return reply(*answer)

    server = Missing()
    with client(server) as ref:
        refused = ref.ask(messages.CreateTrainingClientFromState(saved(ref)))
        assert isinstance(refused, Err)
        assert refused.error.status == answer[0]
        assert len(server.sent("/load_weights")) == 1


def test_a_load_that_was_taken_and_failed_is_no_matter_of_form_then_or_later() -> None:
    class Damaged(SkyRL):
        def load_weights(self, body: Any) -> httpx.Response:
            if self.asked("/load_weights") > 1:
                return reply(400, {"detail": "refused"})
            return self.numbered(body, json.dumps(body).encode(), self.failure("a tensor is missing"))

    server = Damaged()
    with client(server) as ref:
        path = saved(ref)
        for reason in ("a tensor is missing", "refused"):
            failed = ref.ask(messages.CreateTrainingClientFromState(path))
            assert isinstance(failed, Err)
            assert reason in failed.error.message
        assert server.asked("/load_weights") == 2
        eventually(lambda: len(server.models) == 1)


def test_a_load_whose_fate_is_unknown_is_not_asked_for_in_another_form() -> None:
    class Doubtful(Noted):
        def load_weights(self, body: Any) -> httpx.Response:
            return reply(503 if self.asked("/load_weights") % 2 else 400, {"detail": "?"})

    server = Doubtful()
    with client(server) as ref:
        refused = ref.ask(messages.CreateTrainingClientFromState(saved(ref)))
        assert isinstance(refused, Err)
        assert refused.error.data["outcome"] == "unknown"
        assert all("model_id" in body for body in server.sent("/load_weights"))


def test_a_client_that_is_killed_in_its_one_request_gives_back_the_model_that_may_be_there() -> None:
    class Slow(OneRequest):
        def __init__(self) -> None:
            super().__init__()
            self.held = threading.Event()

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            import asyncio

            response = await super().handle_async_request(request)
            if request.url.path.endswith("/load_weights") and response.status_code == 200:
                self.held.set()
                await asyncio.Event().wait()
            return response

    server = Slow()
    with client(server) as ref:
        creating = ref.ask(messages.CreateTrainingClientFromState(saved(ref)), block=False)
        assert server.held.wait(20)
        assert len(server.models) == 2
        creating.cancel()
        eventually(lambda: len(server.models) == 1 and len(server.sessions) == 1)
        assert server.sent("/unload_model")[-1]["model_id"].endswith(":train:1")
        eventually(lambda: ref.ask(messages.Leaks()).unwrap().leases == [])


def test_a_model_that_the_server_names_otherwise_is_used_by_that_name() -> None:
    class Names(Hosted):
        def load_weights(self, body: Any) -> httpx.Response:
            answer = super().load_weights(body)
            if answer.status_code == 200:
                self.models["mine"] = self.models.pop(self.model_id(body["session_id"], body["model_seq_id"]))
                return reply(200, {"model_id": "mine", "path": body["path"], "type": "load_weights"})
            return answer

    with client(Names()) as ref:
        made = ref.ask(messages.CreateTrainingClientFromState(saved(ref))).unwrap()
        assert made.proxy().model_id.get() == "mine"
        assert made.ask(messages.OptimStep(AdamParams())).is_ok


def test_the_token_of_a_foreign_checkpoint_is_not_printed() -> None:
    assert "s3cret" not in repr(Source("tinker://r/weights/x", weights_access_token="s3cret"))
