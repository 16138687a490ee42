"""``FinishSession``: whoever takes a run over ends the session of the one before, and that one learns it."""

from collections.abc import Iterator

import httpx
import pytest

from support_clients import create, data, eventually, nothing_left, service
from support_engine_url import engine_url
from support_servers import Scripted, SkyRL, client
from tinkex.actors import ServiceClient, ServiceClientRef, TrainingClientRef
from tinkex.protocol import AdamParams, Err, Ok, messages, replies

ADAM = AdamParams(learning_rate=1e-2)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_url(tmp_path_factory.mktemp("engine")) as address:
        yield address


def session_of(training: TrainingClientRef) -> str:
    session_id = training.ask(messages.Status()).unwrap().session_id
    assert session_id is not None
    return session_id


def finish(service: ServiceClientRef, session_id: str) -> replies.FinishedSession:
    return service.ask(messages.FinishSession(session_id, "taken over")).unwrap()


def test_the_client_of_a_finished_session_trains_and_saves_no_more_and_is_told(url: str) -> None:
    with service(url, heartbeat_seconds=0.05) as (zombie, _), ServiceClient.open(base_url=url) as taker:
        training = create(zombie)
        training.ask(messages.OptimStep(ADAM)).unwrap()
        session_id = session_of(training)
        assert finish(taker, session_id) == replies.FinishedSession(session_id, True)
        assert finish(taker, session_id) == replies.FinishedSession(session_id, True), "a repeat is harmless"
        eventually(lambda: training.ask(messages.Status()).unwrap().state == "session_lost")
        for request in (messages.ForwardBackward(data()), messages.OptimStep(ADAM), messages.SaveState("zombie")):
            refused = training.ask(request)
            assert isinstance(refused, Err)
            assert refused.error.kind == "session_lost"
        assert taker.ask(messages.ListCheckpoints()).unwrap().checkpoints == []
        mine = create(taker)
        assert mine.ask(messages.OptimStep(ADAM)).is_ok, "the taker's own session is another one"
    nothing_left(url)


def test_a_zombie_is_refused_from_its_next_request_on_before_any_heartbeat(url: str) -> None:
    with service(url, heartbeat_seconds=3600.0) as (zombie, _), ServiceClient.open(base_url=url) as taker:
        training = create(zombie)
        finish(taker, session_of(training))
        for request in (messages.ForwardBackward(data()), messages.OptimStep(ADAM), messages.SaveState("zombie")):
            refused = training.ask(request)
            assert isinstance(refused, Err)
            assert (refused.error.kind, refused.error.status) in {("session_lost", 410), ("api_status", 410)}
        assert taker.ask(messages.ListCheckpoints()).unwrap().checkpoints == []


def test_a_session_that_the_server_does_not_know_was_not_finished(url: str) -> None:
    """And that says nothing of the route: the next one is finished."""
    with service(url) as (ref, faults):
        assert finish(ref, "sess-unknown") == replies.FinishedSession("sess-unknown", False)
        training = create(ref)
        assert finish(ref, session_of(training)).finished
        assert [body["detail"] for body in faults.sent("/sessions/sess-unknown/finish")] == ["taken over"]


@pytest.mark.parametrize("session_id", ["a/b", "../x", "a?b=c", "a#b", "ä b"])
def test_an_odd_id_names_a_session_and_never_another_address(session_id: str) -> None:
    asked: list[str] = []

    class Noting(Scripted):
        def handle(self, request: httpx.Request, path: str, media: str, raw: bytes) -> httpx.Response:
            asked.append(request.url.raw_path.decode())
            if path.endswith("/finish"):
                return httpx.Response(200, json={})
            return super().handle(request, path, media, raw)

    with client(Noting()) as ref:
        assert finish(ref, session_id).finished
    (sent,) = [path for path in asked if path.endswith("/finish")]
    assert sent.count("/") == "/api/v1/sessions/ID/finish".count("/")
    assert "?" not in sent
    assert httpx.URL(f"http://x{sent}").path == f"/api/v1/sessions/{session_id}/finish"


def test_a_server_without_the_route_says_so_and_is_asked_once() -> None:
    server = SkyRL()
    with client(server) as ref:
        session_id = session_of(create(ref))
        for _ in range(3):
            assert finish(ref, session_id) == replies.FinishedSession(session_id, False)
        assert server.asked("/finish") == 1


def test_a_server_that_cannot_be_asked_is_an_error_and_not_an_answer() -> None:
    class Failing(Scripted):
        def finish(self, session_id: str) -> httpx.Response:
            return (
                httpx.Response(400, json={"detail": "not today"}) if session_id == "s" else super().finish(session_id)
            )

    with client(Failing()) as ref:
        refused = ref.ask(messages.FinishSession("s"))
        assert isinstance(refused, Err)
        assert (refused.error.kind, refused.error.status) == ("api_status", 400)


@pytest.mark.parametrize("session_id", ["", " ", "a\nb"])
def test_what_is_no_id_is_refused_before_anything_is_sent(session_id: str) -> None:
    server = Scripted()
    with client(server) as ref:
        refused = ref.ask(messages.FinishSession(session_id))
        assert isinstance(refused, Err)
        assert refused.error.kind == "validation"
        assert server.asked("/finish") == 0


def test_the_proxy_has_it_too() -> None:
    with client(Scripted()) as ref:
        assert ref.proxy().finish_session("s", "why").get() == Ok(replies.FinishedSession("s", True))
