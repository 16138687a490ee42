"""What ends with a service client: what it held, under every supervisor and after every loss."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pykka
import pytest

from support_clients import Faults, census, create, data, eventually, hold, nothing_left, service
from support_engine_url import health
from tinkex.actors import GenServer, ServiceClient, Supervisor
from tinkex.actors.testing import runtime
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import Err, TinkerPath, messages


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


def test_stopping_the_service_in_mid_load_answers_the_caller_and_leaves_nothing(url: str, good: str) -> None:
    with service(url, hold("/load_weights")) as (ref, faults):
        creating = ref.ask(messages.CreateTrainingClientFromState(good), block=False)
        assert faults.held.wait(20)
        ref.stop()
        result = creating.get(timeout=20)
        assert isinstance(result, Err)
        assert result.error.kind == "actor_dead"
    nothing_left(url)


class Owner(GenServer[Any]):
    """Owns a client, and nothing else."""


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_the_end_of_the_owner_ends_what_it_owned(url: str, good: str, ending: str) -> None:
    with service(url) as (ref, _):
        owner = Owner.start()
        message = messages.CreateTrainingClientFromState(good, owner=owner.actor_urn)
        made = ref.ask(message).unwrap()
        getattr(owner, ending)()
        eventually(lambda: not made.is_alive())
        nothing_left(url)
        gone = ref.ask(messages.CreateTrainingClientFromState(good, owner=owner.actor_urn))
        assert isinstance(gone, Err)
        assert gone.error.kind == "validation"


def test_a_lost_reply_to_create_session_makes_no_second_session(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> str | None:
        return "lose" if request.url.path in ("/api/v1/create_session", "/api/v1/create_model") and count == 1 else None

    with service(url, rule) as (ref, _):
        create(ref)
        assert census(url)[2:] == (1, 1)


def test_a_create_session_of_unknown_outcome_is_found_and_finished(url: str, good: str) -> None:
    lost = threading.Event()

    def rule(request: httpx.Request, count: int) -> str | None:
        if request.url.path == "/api/v1/create_session" and not lost.is_set():
            return "lose"
        return None

    with service(url, rule, send_timeout=0.3) as (ref, _):
        failed = ref.ask(messages.CreateTrainingClientFromState(good))
        assert isinstance(failed, Err)
        assert failed.error.data["step"] == "create_session"
        lost.set()
    nothing_left(url)


def test_a_server_that_is_down_is_said_after_the_send_timeout_and_the_client_stays_usable(url: str) -> None:
    down = threading.Event()
    down.set()

    def rule(request: httpx.Request, count: int) -> str | None:
        return "refuse" if down.is_set() else None

    with service(url, rule, send_timeout=0.2) as (ref, _):
        failed = ref.ask(messages.GetServerCapabilities())
        assert isinstance(failed, Err)
        assert failed.error.kind == "api_connection"
        down.clear()
        assert create(ref).ask(messages.SaveState("came-back")).is_ok


def test_clients_may_live_under_a_supervisor_of_the_users_own(url: str) -> None:
    with runtime(http_transport=Faults()):
        supervisor = Supervisor.start()
        ref = ServiceClient.start(base_url=url, supervisor=supervisor)
        create(ref)
        kinds = sorted(child.actor_class for child in supervisor.ask(messages.WhichChildren()).unwrap().children)
        assert kinds == ["Reaper", "TrainingClient"]
        ref.stop()
        assert supervisor.ask(messages.WhichChildren()).unwrap().children == []
        nothing_left(url)
        assert supervisor.stop()


def test_the_end_of_the_supervisor_ends_the_service_and_what_it_held(url: str) -> None:
    with runtime(http_transport=Faults()):
        supervisor = Supervisor.start()
        ref = ServiceClient.start(base_url=url, supervisor=supervisor)
        create(ref)
        supervisor.kill()
        eventually(lambda: not ref.is_alive())
        nothing_left(url)


def test_a_service_that_is_killed_takes_its_clients_and_their_models_with_it(url: str) -> None:
    with runtime(http_transport=Faults()):
        ref = ServiceClient.start(base_url=url)
        create(ref)
        ref.kill()
        eventually(lambda: pykka.ActorRegistry.get_all() == [])
        nothing_left(url)


def test_a_reaper_that_is_killed_is_replaced_and_the_stop_still_waits_for_the_clients(url: str) -> None:
    with service(url) as (ref, faults):
        create(ref).stop()
        working = create(ref)
        (reaper,) = pykka.ActorRegistry.get_by_class_name("Reaper")
        reaper.kill()  # type: ignore[attr-defined]
        eventually(lambda: pykka.ActorRegistry.get_by_class_name("Reaper"))
        create(ref).kill()
        eventually(lambda: health(url)["models"] == 1)
        faults.seen.clear()
        saving = working.ask(messages.SaveState("last", overwrite=True), block=False)
        ref.stop()
        assert saving.get(timeout=20).is_ok
        paths = [path for path, _ in faults.seen]
        assert paths.index("/save_weights") < paths.index("/unload_model")
    nothing_left(url)


def test_checkpoints_are_listed_described_and_deleted(url: str) -> None:
    with service(url) as (ref, _):
        training = create(ref)
        path = training.ask(messages.SaveState("managed", user_metadata={"a": "b"})).unwrap().path
        run_id = TinkerPath.parse(path).run_id
        (listed,) = ref.ask(messages.ListCheckpoints(run_id)).unwrap().checkpoints
        assert listed.tinker_path == path
        assert (listed.user_metadata or {})["a"] == "b"
        assert path in [item.tinker_path for item in ref.ask(messages.ListCheckpoints()).unwrap().checkpoints]
        info = ref.ask(messages.GetCheckpointInfo(path)).unwrap()
        assert (info.lora_rank, info.is_lora, info.train_mlp) == (4, True, True)
        assert ref.ask(messages.SetCheckpointTtl(path, 86_400)).is_ok
        assert ref.ask(messages.ListCheckpoints(run_id)).unwrap().checkpoints[0].expires_at is not None
        assert ref.ask(messages.DeleteCheckpoint(path)).is_ok
        assert ref.ask(messages.ListCheckpoints(run_id)).unwrap().checkpoints == []
        sampler = training.ask(messages.SaveWeightsForSampler("s")).unwrap()
        assert sampler.path is not None
        assert TinkerPath.parse(sampler.path).kind == "sampler_weights"


async def test_a_service_by_scope_under_asyncio(url: str) -> None:
    async with ServiceClient.open(base_url=url) as ref:
        model = (await ref.proxy().get_server_capabilities()).unwrap().supported_models[0].model_name
        made = (await ref.proxy().create_lora_training_client(model, rank=4)).unwrap()
        assert (await made.proxy().forward_backward(data())).is_ok
    assert not ref.is_alive()
    assert isinstance(await ref.ask(messages.Status(), block=False), Err)
