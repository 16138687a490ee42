"""Servers that answer in other forms, or cannot do a step: the client copes, or says so."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support_clients import Faults, create, eventually, service
from support_engine_url import health
from tinkex.actors.testing import VirtualClock
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import AdamParams, Err, TinkexError, messages

API = "/api/v1"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_process(tmp_path_factory.mktemp("engine")) as address:
        yield address


def reply(status: int, body: Any) -> httpx.Response:
    return httpx.Response(status, json=body)


def on_path(path: str, status: int, body: Any, after: int = 0) -> Any:
    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        return reply(status, body) if request.url.path == API + path and count > after else None

    return rule


def test_a_result_that_comes_with_the_answer_is_taken_without_a_poll(url: str) -> None:
    saved = on_path("/save_weights", 200, {"path": "tinker://run/weights/inline"})
    with service(url, saved) as (ref, faults):
        training = create(ref)
        polls = len(faults.sent("/retrieve_future"))
        assert training.ask(messages.SaveState("inline")).unwrap().path == "tinker://run/weights/inline"
        assert len(faults.sent("/retrieve_future")) == polls


def test_a_model_id_is_read_from_the_polled_result_where_the_answer_has_none(url: str) -> None:
    class Strip(Faults):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            response = await super().handle_async_request(request)
            if request.url.path == f"{API}/create_model":
                await response.aread()
                return reply(200, {"request_id": json.loads(response.content)["request_id"]})
            return response

    with service(url, faults=Strip()) as (ref, _):
        assert create(ref).ask(messages.GetInfo()).is_ok
    assert health(url)["models"] == 0


@pytest.mark.parametrize(
    ("body", "kind"),
    [({"request_id": 7}, "protocol"), ([1], "protocol")],
)
def test_an_answer_that_cannot_be_read_leaves_the_outcome_unknown(url: str, body: Any, kind: str) -> None:
    with service(url, on_path("/optim_step", 200, body)) as (ref, _):
        training = create(ref)
        odd = training.ask(messages.OptimStep(AdamParams()))
        assert isinstance(odd, Err)
        assert (odd.error.kind, odd.error.data["outcome"]) == (kind, "unknown")
        assert training.ask(messages.Status()).unwrap().state == "suspect"


def test_a_result_that_cannot_be_read_is_a_protocol_error(url: str) -> None:
    with service(url, on_path("/save_weights", 200, {"type": "save_weights"})) as (ref, _):
        odd = create(ref).ask(messages.SaveState("odd"))
        assert isinstance(odd, Err)
        assert odd.error.kind == "protocol"


def test_a_result_that_the_server_has_lost_makes_the_client_suspect(url: str) -> None:
    lost = on_path("/retrieve_future", 404, {"detail": "unknown request_id"}, after=1)
    with service(url, lost) as (ref, _):
        training = create(ref)
        gone = training.ask(messages.OptimStep(AdamParams()))
        assert isinstance(gone, Err)
        assert (gone.error.status, gone.error.data["outcome"]) == (404, "unknown")
        refused = training.ask(messages.SaveState("never"))
        assert isinstance(refused, Err)
        assert refused.error.kind == "client_suspect"


def deaf(request: httpx.Request, count: int) -> httpx.Response | None:
    """A server that knows neither unload nor finish."""
    path = request.url.path
    return (
        reply(404, {"detail": "no such route"}) if path == f"{API}/unload_model" or path.endswith("/finish") else None
    )


def test_a_lease_that_no_step_can_release_is_listed_until_it_has_expired(url: str) -> None:
    clock = VirtualClock()
    with service(url, deaf, clock=clock) as (ref, _):
        shared = create(ref)
        path = shared.ask(messages.SaveState("for-leaks", overwrite=True)).unwrap().path
        own = ref.ask(messages.CreateTrainingClientFromState(path)).unwrap()
        unloaded = own.ask(messages.UnloadModel())
        assert isinstance(unloaded, Err)
        assert "cannot unload" in unloaded.error.message
        models = [client.proxy().model_id.get() for client in (shared, own)]
        shared.stop()
        own.stop()
        leaks = eventually(lambda: len(found := ref.ask(messages.Leaks()).unwrap().leases) == 2 and found)
        assert {leak.model_id for leak in leaks} == set(models)
        assert {leak.state for leak in leaks} == {"expiring"}
        clock.advance(301.0)
        (kept,) = ref.ask(messages.Leaks()).unwrap().leases
        assert kept.model_id == models[0], "its session is beaten for, so it does not expire"


@pytest.mark.parametrize("status", [400, 501])
def test_an_unload_that_fails_does_not_keep_the_session_from_its_end(url: str, status: int) -> None:
    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        return reply(status, {"detail": "no"}) if request.url.path == f"{API}/unload_model" else None

    with service(url, send_timeout=0.2) as (ref, faults):
        elsewhere = health(url)["sessions"]
        path = create(ref).ask(messages.SaveState("for-unload", overwrite=True)).unwrap().path
        made = ref.ask(messages.CreateTrainingClientFromState(path)).unwrap()
        faults.rule = rule
        made.kill()
        eventually(lambda: health(url)["sessions"] == elsewhere + 1)
        eventually(lambda: ref.ask(messages.Leaks()).unwrap().leases == [])


def test_a_model_whose_creation_failed_is_not_asked_for_again(url: str) -> None:
    failing = on_path("/retrieve_future", 200, {"error": "no room", "category": "server"})
    with service(url, failing) as (ref, faults):
        with pytest.raises(TinkexError, match="no room"):
            create(ref)
        eventually(lambda: ref.ask(messages.Status()).unwrap().operations == [])
        assert len(faults.sent("/create_model")) == 1
        assert ref.ask(messages.Leaks()).unwrap().leases == []


def test_a_result_lost_with_its_session_is_a_lost_session(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if request.url.path == f"{API}/session_heartbeat":
            return reply(404, {"detail": "unknown session"})
        return reply(404, {"detail": "unknown"}) if request.url.path == f"{API}/retrieve_future" and count > 1 else None

    with service(url, rule) as (ref, _):
        training = create(ref)
        lost = training.ask(messages.OptimStep(AdamParams()))
        assert isinstance(lost, Err)
        assert lost.error.kind == "session_lost"
        assert training.ask(messages.Status()).unwrap().state == "session_lost"


@pytest.mark.parametrize("body", [{"status": "failed", "message": "boom"}, {"type": "failed", "detail": "boom"}])
def test_a_failure_in_any_shape_is_no_success(url: str, body: Any) -> None:
    with service(url, on_path("/retrieve_future", 200, body, after=1)) as (ref, _):
        failed = create(ref).ask(messages.OptimStep(AdamParams()))
        assert isinstance(failed, Err)
        assert "boom" in failed.error.message


def test_an_overwriting_save_that_is_told_exists_is_a_conflict_and_the_client_lives(url: str) -> None:
    with service(url, on_path("/save_weights", 409, {"detail": "exists"})) as (ref, faults):
        training = create(ref)
        taken = training.ask(messages.SaveState("x", overwrite=True))
        assert isinstance(taken, Err)
        assert taken.error.kind == "conflict"
        faults.rule = None
        assert training.ask(messages.OptimStep(AdamParams())).is_ok


def test_a_save_that_fails_because_something_does_not_exist_is_no_conflict(url: str) -> None:
    missing = {"error": "the folder of this run does not exist", "category": "user"}
    with service(url, on_path("/retrieve_future", 200, missing, after=1)) as (ref, _):
        failed = create(ref).ask(messages.SaveState("x"))
        assert isinstance(failed, Err)
        assert failed.error.kind == "request_failed"


def test_an_absurdly_nested_answer_is_unreadable_and_not_a_crash(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if request.url.path == f"{API}/retrieve_future" and count > 1:
            return httpx.Response(200, content=b"[" * 20_000)
        return None

    with service(url, rule) as (ref, _):
        odd = create(ref).ask(messages.OptimStep(AdamParams()))
        assert isinstance(odd, Err)
        assert odd.error.kind == "protocol"


def test_a_release_that_fails_is_tried_again_until_it_succeeds(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if request.url.path == f"{API}/unload_model" and count == 1:
            return reply(403, {"detail": "not now"})
        return None

    clock = VirtualClock()
    with service(url, rule, clock=clock) as (ref, _):
        create(ref).kill()
        (leak,) = eventually(lambda: ref.ask(messages.Leaks()).unwrap().leases)
        assert "not now" in leak.reason
        clock.advance(30.0)
        eventually(lambda: ref.ask(messages.Leaks()).unwrap().leases == [])


@pytest.mark.parametrize(
    ("listed", "proven"),
    [
        ({"time": "2999-01-01T00:00:00Z"}, True),
        ({"time": "1999-01-01T00:00:00Z"}, False),
        ({"time": "2999-01-01T00:00:00Z", "user_metadata": {"tinkex.request": "another"}}, False),
        ({"time": "yesterday"}, False),
    ],
)
def test_without_our_nonce_a_checkpoint_is_ours_only_if_it_is_younger_than_our_first_attempt(
    url: str, listed: dict[str, Any], proven: bool
) -> None:
    checkpoint = {
        "checkpoint_id": "weights/doubtful",
        "checkpoint_type": "training",
        "tinker_path": "tinker://run/weights/doubtful",
        **listed,
    }

    def rule(request: httpx.Request, count: int) -> Any:
        if request.url.path == f"{API}/save_weights":
            return "lose" if count == 1 else reply(409, {"detail": "exists"})
        if request.url.path.endswith("/checkpoints"):
            return reply(200, {"checkpoints": [checkpoint]})
        return None

    with service(url, rule) as (ref, _):
        training = create(ref)
        result = training.ask(messages.SaveState("doubtful"))
        if proven:
            assert result.unwrap().path == "tinker://run/weights/doubtful"
            assert training.ask(messages.OptimStep(AdamParams())).is_ok
        else:
            assert isinstance(result, Err)
            assert result.error.kind == "conflict"
            assert training.ask(messages.Status()).unwrap().state == "suspect"


def test_a_failed_save_that_says_exists_after_a_lost_reply_is_proven_too(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        if request.url.path == f"{API}/save_weights" and count == 1:
            return "lose"
        if request.url.path == f"{API}/retrieve_future" and count == 2:
            return reply(200, {"error": "checkpoint exists", "category": "user"})
        return None

    with service(url, rule) as (ref, _):
        training = create(ref)
        assert training.ask(messages.SaveState("proven")).unwrap().path.endswith("/weights/proven")


def test_a_server_that_answers_pending_at_once_is_not_asked_in_a_hot_loop(url: str) -> None:
    pending = {"type": "try_again", "request_id": "r", "queue_state": "paused_capacity", "queue_state_reason": "full"}
    clock = VirtualClock()
    faults = Faults(on_path("/retrieve_future", 200, pending, after=1))
    with service(url, clock=clock, faults=faults) as (ref, _):
        training = create(ref)
        saving = training.ask(messages.SaveState("slow"), block=False)
        states = eventually(
            lambda: [
                o.state for o in training.ask(messages.Status()).unwrap().operations if o.state == "paused_capacity"
            ]
        )
        assert states == ["paused_capacity"]
        eventually(lambda: len(faults.sent("/retrieve_future")) == 2)
        assert len(faults.sent("/retrieve_future")) == 2, "time stands still, and so does the poll"
        faults.rule = None
        clock.advance(31.0)
        assert saving.get(timeout=20).is_ok


def test_a_checkpoint_that_is_no_lora_is_refused_before_a_client(url: str) -> None:
    info = on_path("/weights_info", 200, {"base_model": "m", "is_lora": False})
    with service(url, info) as (ref, faults):
        refused = ref.ask(messages.CreateTrainingClientFromState("tinker://run/weights/full"))
        assert isinstance(refused, Err)
        assert "not a LoRA checkpoint" in refused.error.message
        assert faults.sent("/create_session") == []
