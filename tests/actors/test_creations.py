"""Creating clients, and what is left when it fails: nothing."""

import asyncio
import contextlib
import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pykka
import pytest

from support_clients import Faults, base_model, census, create, eventually, hold, nothing_left, service
from support_engine_url import health
from tinkex.actors import ServiceClient, Supervisor, TrainingClient
from tinkex.actors._genserver._client import Continue
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.cli._demo._damage import remove_a_tensor
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import Err, messages


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with engine_process(root) as address:
        yield address


@pytest.fixture(scope="module")
def good(url: str) -> str:
    with service(url) as (ref, _):
        return create(ref).ask(messages.SaveState("good")).unwrap().path


@pytest.fixture(scope="module")
def damaged(url: str, root: Path) -> str:
    """A checkpoint of which a tensor is missing."""
    with service(url) as (ref, _):
        path = create(ref).ask(messages.SaveState("damaged")).unwrap().path
    remove_a_tensor(root, path)
    return path


def test_two_hundred_failing_creates_at_once_leave_nothing_and_hold_nobody_up(url: str, damaged: str) -> None:
    with service(url) as (ref, _):
        other = create(ref)
        before = eventually(lambda: (now := census(url))[1] == 0 and now)
        threads = threading.active_count()
        order: list[str] = []
        asked = [
            ref.ask(messages.CreateTrainingClientFromState(damaged, optimizer=True), block=False) for _ in range(200)
        ]
        for reply in asked:
            reply.add_done_callback(lambda _: order.append("create"))
        saved = other.ask(messages.SaveState("meanwhile"), block=False)
        saved.add_done_callback(lambda _: order.append("save"))
        results = [reply.get(timeout=100) for reply in asked]
        assert saved.get(timeout=60).is_ok
        assert order.index("save") < 200, "answered before the last create"
        for result in results:
            assert isinstance(result, Err)
            assert result.error.data["path"] == damaged
            assert result.error.data["step"] == "load_weights"
            assert "tensor" in result.error.data["cause"]
        eventually(lambda: census(url) == before)
        eventually(lambda: threading.active_count() <= threads)
        eventually(lambda: ref.ask(messages.Leaks()).unwrap().leases == [])


def test_a_checkpoint_is_resumed_with_its_own_configuration(url: str, good: str) -> None:
    with service(url) as (ref, faults):
        for optimizer in (False, True):
            made = ref.ask(messages.CreateTrainingClientFromState(good, optimizer=optimizer)).unwrap()
            info = made.ask(messages.GetInfo()).unwrap()
            assert info.lora_rank == 4
            assert faults.sent("/load_weights")[-1]["optimizer"] is optimizer
        sessions = [body["session_id"] for body in faults.sent("/create_model")]
        assert len(set(sessions)) == 2, "each has a session of its own"


def test_model_seq_ids_are_never_used_twice_even_after_a_failure(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if request.url.path == "/api/v1/create_model" and count == 2:
            return httpx.Response(400, json={"detail": "no"})
        return None

    with service(url, rule) as (ref, faults):
        create(ref)
        failed = ref.ask(messages.CreateLoraTrainingClient(base_model(ref), rank=4))
        assert isinstance(failed, Err)
        assert failed.error.data["step"] == "create_model"
        create(ref)
        assert [body["model_seq_id"] for body in faults.sent("/create_model")] == [0, 1, 2]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("tinker://no-such-run/weights/x", "404"),
        ("", "path"),
        (None, "path"),
        ("file://a/b", "tinker://"),
        ("tinker://run/sampler_weights/x", "tinker://run/weights/x"),
        ("tinker://run/x", "three"),
        ("tinker://run/weights/x/y", "three"),
    ],
)
def test_a_path_that_cannot_be_loaded_is_refused_without_a_client(url: str, path: Any, says: str) -> None:
    with service(url) as (ref, faults):
        refused = ref.ask(messages.CreateTrainingClientFromState(path))
        assert isinstance(refused, Err)
        assert refused.error.category == "user"
        del says
        assert faults.sent("/create_session", "/create_model") == []


@pytest.mark.parametrize(
    "options", [{"rank": 0}, {"rank": True}, {"train_mlp": False, "train_attn": False, "train_unembed": False}]
)
def test_a_bad_configuration_is_refused_before_any_request(url: str, options: Any) -> None:
    with service(url) as (ref, faults):
        refused = ref.ask(messages.CreateLoraTrainingClient("any", **options))
        assert isinstance(refused, Err)
        assert (refused.error.kind, refused.error.category) == ("validation", "user")
        assert faults.seen == []


def test_an_unknown_base_model_is_refused_by_the_server_and_leaves_nothing(url: str) -> None:
    with service(url) as (ref, _):
        refused = ref.ask(messages.CreateLoraTrainingClient("no/such-model"))
        assert isinstance(refused, Err)
        assert refused.error.status == 400
        assert "no/such-model" in refused.error.message
        eventually(lambda: pykka.ActorRegistry.get_by_class(TrainingClient) == [])


def crash() -> None:
    raise RuntimeError("a bug")


def test_a_client_that_crashes_in_mid_load_fails_its_caller_only(url: str, good: str) -> None:
    with service(url, hold("/load_weights")) as (ref, faults):
        sibling = create(ref)
        creating = ref.ask(messages.CreateTrainingClientFromState(good), block=False)
        assert faults.held.wait(20)
        (victim,) = [
            found for found in pykka.ActorRegistry.get_by_class(TrainingClient) if found.actor_urn != sibling.actor_urn
        ]
        victim.tell(Continue("a bug", crash))
        result = creating.get(timeout=20)
        assert isinstance(result, Err)
        assert result.error.kind == "actor_crashed"
        assert result.error.data["path"] == good
        assert sibling.ask(messages.SaveState("sibling-lives")).is_ok
        assert ref.ask(messages.Status()).is_ok
        eventually(lambda: health(url)["models"] == 1)


@pytest.mark.parametrize("path", ["/weights_info", "/create_session", "/create_model", "/load_weights"])
def test_an_ask_that_runs_out_leaves_no_client_behind(url: str, good: str, path: str) -> None:
    with service(url, hold(path)) as (ref, faults):
        with pytest.raises(pykka.Timeout):
            ref.ask(messages.CreateTrainingClientFromState(good), timeout=0.1)
        faults.rule = None
        nothing_left(url)
        assert ref.ask(messages.Status()).unwrap().operations == []


def test_a_get_that_runs_out_is_the_callers_affair_and_the_create_goes_on(url: str, good: str) -> None:
    with service(url) as (ref, _):
        reply = ref.ask(messages.CreateTrainingClientFromState(good), block=False)
        with pytest.raises(pykka.Timeout):
            reply.get(timeout=0)
        assert reply.get(timeout=20).unwrap().ask(messages.GetInfo()).is_ok


def test_a_create_given_up_just_as_it_finishes_is_killed_all_the_same(url: str, good: str) -> None:
    with service(url) as (ref, _):
        taken = [measured(lambda: ref.ask(messages.CreateTrainingClientFromState(good))) for _ in range(3)]
        middle = sorted(taken)[1]
        for index in range(40):
            with contextlib.suppress(pykka.Timeout):
                made = ref.ask(messages.CreateTrainingClientFromState(good), timeout=middle * (0.8 + index / 80))
                made.unwrap().kill()
        eventually(lambda: ref.ask(messages.Status()).unwrap().operations == [])
        eventually(lambda: len(pykka.ActorRegistry.get_by_class(TrainingClient)) == 0)
        nothing_left(url)


def measured(work: Callable[[], Any]) -> float:
    begun = time.monotonic()
    work().unwrap().stop()
    return time.monotonic() - begun


def test_clients_that_wait_for_ever_do_not_keep_the_session_from_its_end(url: str) -> None:
    with service(url) as (ref, faults):
        clients = [create(ref) for _ in range(3)]
        faults.rule = hold("/retrieve_future")
        waiting = [client.ask(messages.SaveState(f"w{number}"), block=False) for number, client in enumerate(clients)]
        assert faults.held.wait(20)
        ref.stop()
        assert {reply.get(timeout=20).error.kind for reply in waiting} == {"actor_dead"}  # type: ignore[union-attr]
    nothing_left(url)


def test_services_may_share_a_supervisor(url: str) -> None:
    with runtime(http_transport=Faults()):
        supervisor = Supervisor.start()
        services = [ServiceClient.start(base_url=url, supervisor=supervisor) for _ in range(2)]
        for ref in services:
            assert create(ref).ask(messages.GetInfo()).is_ok
        services[0].stop()
        assert len(supervisor.ask(messages.WhichChildren()).unwrap().children) == 2
        services[1].stop()
        nothing_left(url)
        supervisor.stop()


def test_what_is_kept_with_a_session_is_kept_with_every_session(url: str, good: str) -> None:
    with service(url, user_metadata={"who": "me"}, tags=["a"]) as (ref, faults):
        create(ref)
        ref.ask(messages.CreateTrainingClientFromState(good)).unwrap()
        bodies = faults.sent("/create_session")
        assert [(body["tags"], body["user_metadata"]) for body in bodies] == [(["a"], {"who": "me"})] * 2


def test_an_await_timeout_on_a_create_ends_it_exactly_then(url: str, good: str) -> None:
    clock = VirtualClock()
    faults = Faults(hold("/load_weights"))
    with service(url, clock=clock, faults=faults) as (ref, _):
        reply = ref.ask(messages.CreateTrainingClientFromState(good, await_timeout=5.0), block=False)
        assert faults.held.wait(20)
        clock.advance(4.9)
        assert not reply.done()
        clock.advance(0.1)
        late = reply.get(timeout=20)
        assert isinstance(late, Err)
        assert late.error.kind == "await_timeout"
        nothing_left(url)


def test_a_create_whose_reply_is_dropped_unread_is_killed(url: str, good: str) -> None:
    with service(url, hold("/load_weights")) as (ref, _):
        ref.ask(messages.CreateTrainingClientFromState(good), block=False)
        gc.collect()
        eventually(lambda: ref.ask(messages.Status()).unwrap().operations == [])
        nothing_left(url)
    with service(url) as (ref, _):
        reply = ref.ask(messages.CreateTrainingClientFromState(good), block=False)
        eventually(reply.done)
        del reply
        gc.collect()
        nothing_left(url)


def test_a_create_that_is_told_is_killed_too(url: str, good: str) -> None:
    with service(url) as (ref, _):
        ref.tell(messages.CreateTrainingClientFromState(good))
        eventually(lambda: ref.ask(messages.Status()).unwrap().operations == [])
        nothing_left(url)


def test_a_cancelled_await_of_a_create_kills_the_client(url: str, good: str) -> None:
    async def cancel(ref: Any, held: threading.Event) -> None:
        async def create_it() -> Any:
            return await ref.proxy().create_training_client_from_state(good)

        task = asyncio.ensure_future(create_it())
        assert await asyncio.to_thread(held.wait, 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with service(url, hold("/load_weights")) as (ref, faults):
        asyncio.run(cancel(ref, faults.held))
        nothing_left(url)


def test_a_model_that_was_asked_for_is_released_though_a_later_repeat_is_refused(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        if request.url.path == "/api/v1/create_model" and count in (2, 3):
            return httpx.Response(401, json={"detail": "not now"})
        return "hold" if request.url.path == "/api/v1/retrieve_future" and count == 1 else None

    clock = VirtualClock()
    faults = Faults(rule)
    with service(url, clock=clock, faults=faults) as (ref, _):
        model = base_model(ref)
        reply = ref.ask(messages.CreateLoraTrainingClient(model, rank=4, await_timeout=1.0), block=False)
        assert faults.held.wait(20)
        clock.advance(1.0)
        assert isinstance(reply.get(timeout=20), Err)
        eventually(lambda: len(faults.sent("/create_model")) == 2 and ref.ask(messages.Leaks()).unwrap().leases)
        clock.advance(30.0)
        eventually(lambda: len(faults.sent("/create_model")) == 3)
        eventually(lambda: clock.pending() >= 2)
        clock.advance(30.0)
        eventually(lambda: health(url)["models"] == 0 and not ref.ask(messages.Leaks()).unwrap().leases)


def test_a_session_whose_opening_is_unknown_is_released_and_a_later_create_asks_for_another(
    url: str,
) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        return "lose" if request.url.path == "/api/v1/create_session" else None

    before = health(url)["sessions"]
    with service(url, rule, send_timeout=0.1) as (ref, faults):
        failed = ref.ask(messages.CreateLoraTrainingClient(base_model(ref), rank=4))
        assert isinstance(failed, Err)
        faults.rule = None
        create(ref)
        eventually(lambda: health(url)["sessions"] == before + 1)  # the first one is released
        assert ref.ask(messages.Leaks()).unwrap().leases == []
    eventually(lambda: health(url)["sessions"] == before)
