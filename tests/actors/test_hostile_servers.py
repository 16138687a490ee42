"""Servers whose answers make no sense: a call may fail, but the client lives, and so does what releases leases."""

from typing import Any

import httpx
import numpy as np
import pytest

from support_clients import Faults, data
from support_plain_server import PlainServer
from tinkex.actors import ServiceClient
from tinkex.actors._leases._reaper import Reaper
from tinkex.actors._leases._session import Session
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import AdamParams, Datum, Err, ModelInput, messages

URL = "http://127.0.0.1:1"
STEP = messages.OptimStep(AdamParams())
FAR = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"
LONG_PAUSE = b'{"type":"try_again","retry_after_ms":1' + b"0" * 400 + b"}"
RESTORE = messages.CreateTrainingClientFromState("tinker://run/weights/x")


def network(answers: dict[str, Any], server: PlainServer | None = None) -> Faults:
    server = server if server is not None else PlainServer()
    return Faults(lambda request, _count: answers.get(request.url.path.removeprefix("/api/v1")), server)


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/optim_step", httpx.Response(200, content=b'{"metrics":{},"type":"optim_step"}', headers={"date": FAR})),
        ("/optim_step", httpx.Response(400, content=b'{"detail":"no"}', headers={"retry-after": FAR})),
        (
            "/retrieve_future",
            httpx.Response(200, content=b'{"type":"try_again","retry_after_ms":1' + b"0" * 400 + b"}"),
        ),
    ],
)
def test_times_beyond_all_calendars_crash_nobody(path: str, answer: httpx.Response) -> None:
    answers: dict[str, Any] = {}
    with SeededScheduler(1, http_transport=network(answers)) as world:
        service = ServiceClient.start(base_url=URL)
        client = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        answers[path] = answer
        reply = client.ask(STEP, block=False)
        world.run_for(20.0)
        assert client.is_alive()
        answers.clear()
        world.run_for(400.0)
        assert reply.done(), "a hint is cut to five minutes"
        service.stop()


def test_a_session_of_an_odd_name_is_finished_and_spins_no_reaper(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Reaper] = []
    init = Reaper.__init__

    def counting(self: Reaper, *args: Any) -> None:
        made.append(self)
        init(self, *args)

    monkeypatch.setattr(Reaper, "__init__", counting)
    answers = {"/create_session": httpx.Response(200, json={"session_id": "a\nb"})}
    with SeededScheduler(1, http_transport=network(answers)) as world:
        service = ServiceClient.start(base_url=URL, send_timeout=5.0)
        client = service.ask(RESTORE).unwrap()
        client.stop(block=False)
        world.run_for(60.0)
        assert len(made) == 1
        assert service.ask(messages.Leaks()).unwrap().leases == []
        service.stop()


def test_text_that_has_no_bytes_is_refused_before_it_is_sent() -> None:
    with SeededScheduler(1, http_transport=network({})):
        service = ServiceClient.start(base_url=URL)
        client = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        odd = Datum(ModelInput.from_ints([1, 2]), {"\ud800": np.ones(2, np.float32)})
        for message in (
            messages.ForwardBackward(data(), loss_fn_config={"\ud800": 1.0}),
            messages.ForwardBackward([odd], loss_fn="mine"),
        ):
            refused = client.ask(message)
            assert isinstance(refused, Err)
            assert refused.error.kind == "validation"
        assert client.is_alive()
        service.stop()


def test_clients_that_have_ended_are_forgotten_by_the_session_that_they_shared() -> None:
    import gc

    with SeededScheduler(1, http_transport=network({})) as world:
        service = ServiceClient.start(base_url=URL)
        for _ in range(5):
            service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap().stop()
        world.run_for(5.0)
        listening = [len(thing.loss._listeners) for thing in gc.get_objects() if type(thing) is Session]
        assert sum(listening) == 0
        service.stop()


def test_an_unload_behind_a_load_ends_the_client_for_the_loads_behind_it() -> None:
    server = PlainServer()
    answers: dict[str, Any] = {}
    with SeededScheduler(1, http_transport=network(answers, server)) as world:
        service = ServiceClient.start(base_url=URL)
        client = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        client.ask(STEP).unwrap()
        answers["/forward_backward"] = httpx.Response(429, json={"detail": "slow"})
        asked = [
            client.ask(message, block=False)
            for message in (
                messages.LoadState("tinker://r/weights/a"),
                messages.ForwardBackward(data()),
                messages.UnloadModel(),
                messages.LoadState("tinker://r/weights/b"),
            )
        ]
        world.run_for(60.0)
        answers.clear()
        world.run_for(60.0)
        first, passed, unloaded, second = [reply.get() for reply in asked]
        assert first.is_ok
        assert passed.is_ok
        assert unloaded.is_ok
        assert isinstance(second, Err)
        assert client.ask(messages.Status()).unwrap().state == "unloaded"
        assert server.models == set()
        service.stop()
