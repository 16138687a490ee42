"""Answers that are not the API's, from a proxy or a portal on the way: nothing is taken for what it is not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import create, data, eventually, service
from support_engine_url import engine_url
from tinkex.protocol import AdamParams, Err, messages


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("engine")
    with engine_url(folder) as address:
        yield address


def instead(path: str, response: Callable[[], httpx.Response]) -> Callable[[httpx.Request, int], httpx.Response | None]:
    return lambda request, _count: response() if request.url.path == f"/api/v1{path}" else None


def portal() -> httpx.Response:
    return httpx.Response(200, json={"welcome": "please sign in"})


CALLS: list[tuple[str, Any]] = [
    ("/forward", messages.Forward(data())),
    ("/forward_backward", messages.ForwardBackward(data())),
    ("/optim_step", messages.OptimStep(AdamParams())),
    ("/save_weights", messages.SaveState("x")),
    ("/save_weights_for_sampler", messages.SaveWeightsForSampler("x")),
    ("/load_weights", messages.LoadState("tinker://run/weights/x")),
]


@pytest.mark.parametrize(("path", "message"), CALLS, ids=[path for path, _ in CALLS])
def test_a_portals_welcome_is_no_result_and_leaves_no_gap_behind_it(url: str, path: str, message: Any) -> None:
    with service(url) as (ref, faults):
        client = create(ref)
        faults.rule = instead(path, portal)
        answer = client.ask(message)
        assert isinstance(answer, Err)
        assert (answer.error.kind, answer.error.data["outcome"]) == ("protocol", "unknown")
        faults.rule = None
        refused = client.ask(messages.OptimStep(AdamParams()))
        assert isinstance(refused, Err)
        assert refused.error.kind == "client_suspect"
        assert faults.seq_ids() == [1]


@pytest.mark.parametrize(("path", "message"), CALLS[2:5:2], ids=["optim_step", "save_weights_for_sampler"])
def test_a_portals_welcome_in_place_of_a_result_is_a_lost_result(url: str, path: str, message: Any) -> None:
    with service(url) as (ref, faults):
        client = create(ref)
        faults.rule = instead("/retrieve_future", portal)
        answer = client.ask(message)
        assert isinstance(answer, Err), path
        assert (answer.error.kind, answer.error.data["outcome"]) == ("protocol", "unknown")
        assert client.ask(messages.Status()).unwrap().state == "suspect"


@pytest.mark.parametrize("status", [404, 410])
def test_a_proxys_page_in_answer_to_a_heartbeat_ends_no_session(url: str, status: int) -> None:
    with service(url, heartbeat_seconds=0.02) as (ref, faults):
        client = create(ref)
        faults.rule = instead("/session_heartbeat", lambda: httpx.Response(status, html="<h1>Gateway</h1>"))
        before = len(faults.sent("/session_heartbeat"))
        eventually(lambda: len(faults.sent("/session_heartbeat")) > before + 3)
        faults.rule = None
        assert client.ask(messages.ForwardBackward(data())).is_ok
        assert client.ask(messages.Status()).unwrap().state == "ready"


def test_a_portals_welcome_in_place_of_a_load_makes_no_client(url: str) -> None:
    with service(url) as (ref, faults):
        path = create(ref).ask(messages.SaveState("to-load")).unwrap().path
        faults.rule = instead("/load_weights", portal)
        made = ref.ask(messages.CreateTrainingClientFromState(path))
        assert isinstance(made, Err)
        assert (made.error.kind, made.error.data["step"]) == ("protocol", "load_weights")
