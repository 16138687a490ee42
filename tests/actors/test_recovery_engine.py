"""Recovery over the real engine: the run after a loss is bit for bit the run without one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from support_clients import create, data, eventually, nothing_left, service
from support_engine_url import engine_url
from tinkex.actors import TrainingClientRef
from tinkex.cli._demo._damage import remove_a_tensor
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import AdamParams, RecoveryPolicy, messages

POLICY: dict[str, Any] = {"enabled": True, "backoff_seconds": 0.1, "max_backoff_seconds": 0.1, "poll_seconds": 0.2}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with engine_process(root) as address:
        yield address


def step(client: TrainingClientRef) -> list[float]:
    """Take one step and return the logprobs before it."""
    output = client.ask(messages.ForwardBackward(data())).unwrap()
    client.ask(messages.OptimStep(AdamParams(learning_rate=1e-2))).unwrap()
    return list(output.loss_fn_outputs[0]["logprobs"].tolist())


def end_session(url: str, client: TrainingClientRef) -> None:
    """End the client's session behind its back, as a server does that heard no heartbeat."""
    session_id = client.ask(messages.Status()).unwrap().session_id
    reason = {"reason": {"type": "success"}, "detail": None}
    address, headers = f"{url}/api/v1/sessions/{session_id}/finish", {"x-api-key": "tml-local"}
    httpx.post(address, json=reason, headers=headers, trust_env=False).raise_for_status()


def wait_ready(client: TrainingClientRef, lost: str | None) -> None:
    """Wait until the client has another model than the lost one."""

    def ready() -> bool:
        status = client.ask(messages.Status()).unwrap()
        return status.state == "ready" and status.model_id != lost

    eventually(ready)


def lost_model(client: TrainingClientRef) -> str | None:
    return client.ask(messages.Status()).unwrap().model_id


def test_a_run_whose_session_ended_goes_on_bit_for_bit_from_its_checkpoint(url: str) -> None:
    told: list[Any] = []
    with service(url, recovery=RecoveryPolicy(**POLICY), on_recovery=told.append, heartbeat_seconds=0.1) as (ref, _):
        client = create(ref)
        step(client)
        path = client.ask(messages.SaveState("before-the-loss")).unwrap().path
        expected = [step(client) for _ in range(3)]
        for _ in range(2):
            lost = lost_model(client)
            end_session(url, client)
            wait_ready(client, lost)
            assert [step(client) for _ in range(3)] == expected
        eventually(lambda: len(told) == 2)
        assert {event.path for event in told} == {path}
        assert all(event.attempts == 1 and event.optimizer for event in told)
    nothing_left(url)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(url: str, root: Path) -> None:
    with service(url, recovery=RecoveryPolicy(**POLICY), heartbeat_seconds=0.1) as (ref, faults):
        client = create(ref)
        good = client.ask(messages.SaveState("older")).unwrap().path
        expected = step(client)
        damaged = client.ask(messages.SaveState("newer")).unwrap().path
        remove_a_tensor(root, damaged)
        lost = lost_model(client)
        end_session(url, client)
        wait_ready(client, lost)
        assert [body["path"] for body in faults.sent("/load_weights")] == [damaged, damaged, good]
        assert step(client) == expected
    nothing_left(url)


def test_a_run_that_the_server_calls_corrupted_after_its_restart_is_rebuilt(tmp_path: Path) -> None:
    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        beat = request.url.path == "/api/v1/session_heartbeat"
        return httpx.Response(200, json={}) if beat else None  # the loss shows in the run alone

    told: list[Any] = []
    with engine_url(tmp_path) as url:
        port = urlsplit(url).port
    with contextlib.ExitStack() as engine:
        engine.enter_context(engine_url(tmp_path, port=port))
        with service(url, rule, recovery=RecoveryPolicy(**POLICY), on_recovery=told.append) as (ref, _):
            client = create(ref)
            step(client)
            client.ask(messages.SaveState("before-the-restart")).unwrap()
            expected = step(client)
            lost = lost_model(client)
            engine.close()
            engine.enter_context(engine_url(tmp_path, port=port))
            wait_ready(client, lost)
            assert step(client) == expected
            eventually(lambda: told)
            assert told[0].signal == "corrupted"
        nothing_left(url)
