"""What a user's callback does, it does to itself: recovery, its service and the program's other parts go on."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pykka
import pytest

from support_clients import data, eventually
from support_genserver import unconfigured_logs
from support_runs import Runs
from tinkex.actors import ServiceClient, TrainingClientRef
from tinkex.actors.testing import runtime
from tinkex.protocol import RecoveryPolicy, messages


def raise_(error: BaseException) -> Callable[[Any], None]:
    def callback(_event: Any) -> None:
        raise error

    return callback


def recovered_to(client: TrainingClientRef, server: Runs, loads: int, state: str) -> None:
    eventually(lambda: len(server.loads) == loads)
    eventually(lambda: client.ask(messages.Status()).unwrap().state == state)


def run(callback: Callable[[Any], None], *, lossy: bool = False) -> float:
    """Lose a run twice under ``callback``; return how long the stop took afterwards."""
    server = Runs(lambda path, _body, _count: "user" if lossy and path == "/load_weights" else None)
    with runtime(http_transport=server):
        service = ServiceClient.start(
            base_url="http://127.0.0.1:1",
            heartbeat_seconds=0.02,
            recovery=RecoveryPolicy(enabled=True, poll_seconds=0.05),
            on_recovery=callback,
            on_failure=callback,
        )
        client: TrainingClientRef = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        client.ask(messages.SaveState("a")).unwrap()
        for loads in (1,) if lossy else (1, 2):
            server.lose_sessions()
            recovered_to(client, server, loads, "session_lost" if lossy else "ready")
        if not lossy:
            assert client.ask(messages.ForwardBackward(data())).is_ok
        began = time.monotonic()
        service.stop()
        took = time.monotonic() - began
    assert pykka.ActorRegistry.get_all() == []
    return took


@pytest.mark.parametrize("lossy", [False, True])
@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(3), KeyboardInterrupt()])
def test_a_callback_that_raises_is_logged_and_harms_nobody(
    error: BaseException, lossy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with unconfigured_logs(), caplog.at_level(logging.ERROR, logger="tinkex"):
        run(raise_(error), lossy=lossy)
        eventually(lambda: type(error).__name__ in caplog.text)
        assert "callback failed" in caplog.text


def test_a_callback_that_hangs_delays_neither_the_next_recovery_nor_the_stop() -> None:
    never, entered = threading.Event(), threading.Semaphore(0)

    def hang(_event: Any) -> None:
        entered.release()
        never.wait()

    try:
        assert run(hang) < 5.0
        assert entered.acquire(timeout=10.0)
        assert entered.acquire(timeout=10.0), "the second one was told, too"
        hanging = [thread for thread in threading.enumerate() if "Callback" in thread.name]
        assert all(thread.daemon for thread in hanging)
    finally:
        never.set()


def test_a_callback_may_ask_the_actors_and_wait() -> None:
    asked: list[str] = []

    def ask(event: Any) -> None:
        client: Any = pykka.ActorRegistry.get_by_urn(event.actor_urn)
        asked.append(client.ask(messages.Status()).unwrap().actor)

    run(ask)
    eventually(lambda: asked)
