"""Waiting that explains itself: what ``Status()`` says of every open operation, and who is told of pauses."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from support_clients import Faults, data
from support_engine import logged
from support_plain_server import PlainServer
from tinkex.actors import ServiceClient, ServiceClientRef, TrainingClientRef
from tinkex.actors.testing import SeededScheduler, runtime
from tinkex.protocol import AdamParams, Err, QueueStateChange, TinkexError, messages
from tinkex.protocol.replies import OperationStatus

URL = "http://127.0.0.1:1"
RESTORE = messages.CreateTrainingClientFromState("tinker://run/weights/x")
STEP = messages.OptimStep(AdamParams())


def pending(state: str, reason: str | None = None) -> httpx.Response:
    body = {"type": "try_again", "request_id": "r", "queue_state": state, "queue_state_reason": reason}
    return httpx.Response(200, json=body)


@dataclass
class World:
    """A seeded world with one training client, and a network whose answers to paths may be replaced."""

    world: SeededScheduler
    service: ServiceClientRef
    client: TrainingClientRef
    answers: dict[str, Any]

    def status(self, actor: Any = None) -> list[OperationStatus]:
        operations: list[OperationStatus] = (actor or self.client).ask(messages.Status()).unwrap().operations
        return operations

    def now(self) -> float:
        return self.world.clock.time()


@contextmanager
def a_world(**options: Any) -> Generator[World]:
    answers: dict[str, Any] = {}
    faults = Faults(lambda request, _count: answers.get(request.url.path.removeprefix("/api/v1")), PlainServer())
    with SeededScheduler(1, http_transport=faults) as world:
        service = ServiceClient.start(base_url=URL, **options)
        client = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        yield World(world, service, client, answers)
        answers.clear()
        service.stop()


@pytest.mark.parametrize(
    ("path", "answer", "state", "reason"),
    [
        ("/optim_step", "hold", "sending", None),
        ("/optim_step", httpx.Response(503, json={"detail": "busy"}), "backing_off", "busy"),
        ("/optim_step", httpx.Response(429, json={"detail": "slow down"}), "paused_rate_limit", "slow down"),
        ("/optim_step", httpx.Response(402, json={"detail": "pay"}), "paused_billing", "pay"),
        ("/retrieve_future", "hold", "running", None),
        ("/retrieve_future", pending("active"), "running", None),
        (
            "/retrieve_future",
            pending("paused_capacity", "all slots are taken"),
            "paused_capacity",
            "all slots are taken",
        ),
        ("/retrieve_future", pending("PAUSED_RATE_LIMIT", "slow"), "paused_rate_limit", "slow"),
        ("/retrieve_future", httpx.Response(402, json={"detail": "pay"}), "paused_billing", "pay"),
        ("/retrieve_future", httpx.Response(503, json={"detail": "busy"}), "backing_off", "busy"),
    ],
)
def test_status_says_what_an_operation_waits_for_since_when_and_why(
    path: str, answer: Any, state: str, reason: str | None
) -> None:
    with a_world() as one:
        one.world.run_for(5.0)
        one.answers[path] = answer
        asked = one.now()
        first, second = one.client.ask(STEP, block=False), one.client.ask(STEP, block=False)
        one.world.run_for(0.1)
        working, behind = one.status()
        assert (working.name, working.state, working.seq_id, working.asked) == ("optim_step", state, 1, asked)
        assert reason is None or working.reason == reason
        assert working.since is not None
        assert asked <= working.since <= one.now()
        assert working.allowed == 300.0
        if path == "/optim_step":
            assert (behind.state, behind.seq_id, behind.since) == ("queued", None, asked)
        first.cancel()
        second.cancel()


def test_a_dead_server_is_circuit_open_for_those_who_wait_for_it() -> None:
    with a_world() as one:
        one.answers["/optim_step"] = "refuse"
        clients = [one.client, *(one.service.ask(messages.CreateLoraTrainingClient("m")).unwrap() for _ in range(5))]
        replies = [client.ask(STEP, block=False) for client in clients]
        seen: set[str] = set()
        for _ in range(40):
            one.world.run_for(0.25)
            seen |= {operation.state for client in clients for operation in one.status(client)}
        assert {"backing_off", "circuit_open"} <= seen
        for reply in replies:
            reply.cancel()


def test_a_create_says_its_step_and_what_that_waits_for() -> None:
    with a_world() as one:
        for path, step in (
            ("/weights_info", "checkpoint_info"),
            ("/create_session", "create_session"),
            ("/create_model", "create_model"),
            ("/load_weights", "load_weights"),
        ):
            one.answers[path] = httpx.Response(429, json={"detail": "slow down"})
            made = one.service.ask(RESTORE, block=False)
            one.world.run_for(0.1)
            (operation,) = one.status(one.service)
            assert (operation.name, operation.step) == ("create_training_client_from_state", step)
            assert operation.state == "paused_rate_limit"
            made.cancel()
            one.answers.clear()
            one.world.run_for(5.0)


def test_a_question_and_a_load_in_place_say_it_too() -> None:
    with a_world() as one:
        one.client.ask(STEP).unwrap()
        one.answers["/get_info"] = httpx.Response(503, json={"detail": "busy"})
        one.answers["/load_weights"] = httpx.Response(425, json={"detail": "still being written"})
        info = one.client.ask(messages.GetInfo(), block=False)
        load = one.client.ask(messages.LoadState("tinker://run/weights/x"), block=False)
        one.world.run_for(0.3)
        states = {operation.name: (operation.state, operation.step) for operation in one.status()}
        assert states == {"get_info": ("backing_off", None), "load_state": ("paused_capacity", "load_weights")}
        info.cancel()
        load.cancel()


def test_what_a_suspect_client_still_waits_for_is_suspect_with_the_reason() -> None:
    with a_world() as one:
        one.answers["/retrieve_future"] = "hold"
        saving = one.client.ask(messages.SaveState("a"), block=False)
        one.world.run_for(0.1)
        one.answers["/optim_step"] = httpx.Response(400, text="<html>")
        assert isinstance(one.client.ask(STEP), Err)
        (operation,) = one.status()
        assert (operation.name, operation.state) == ("save_weights", "suspect")
        assert "outcome of optim_step is unknown" in (operation.reason or "")
        saving.cancel()


# Progress


def test_an_operation_that_works_too_long_is_overdue_which_is_told_once_and_ends_nothing() -> None:
    with logged() as log, a_world() as one:
        one.answers["/retrieve_future"] = pending("active")
        reply = one.client.ask(STEP, block=False)
        one.world.run_for(299.0)
        assert not one.status()[0].overdue
        one.world.run_for(900.0)
        (operation,) = one.status()
        assert operation.overdue
        assert operation.worked == pytest.approx(1_199.0, abs=1.0)
        told = [entry for entry in log if entry["event"] == "operation overdue"]
        assert [(entry["operation"], entry["allowed"]) for entry in told] == [("optim_step", 300.0)]
        one.answers.clear()
        assert reply.get().is_ok


def test_pauses_by_the_server_count_against_no_deadline_and_neither_does_waiting_behind_others() -> None:
    with logged() as log, a_world() as one:
        one.answers["/retrieve_future"] = pending("paused_capacity", "full")
        first, second = one.client.ask(STEP, block=False), one.client.ask(STEP, block=False)
        one.world.run_for(5_000.0)
        paused, behind = one.status()
        assert (paused.overdue, behind.overdue) == (False, False)
        assert behind.worked == 0.0
        assert not [entry for entry in log if entry["event"] == "operation overdue"]
        one.answers.clear()
        assert first.get().is_ok
        assert second.get().is_ok


def test_a_question_that_is_not_answered_is_overdue_too() -> None:
    with logged() as log, a_world() as one:
        one.answers["/get_info"] = "hold"
        reply = one.client.ask(messages.GetInfo(), block=False)
        one.world.run_for(130.0)
        assert [operation.overdue for operation in one.status()] == [True]
        assert [entry["operation"] for entry in log if entry["event"] == "operation overdue"] == ["get_info"]
        reply.cancel()


# Observers


def test_an_observer_is_told_of_every_pause_in_order_and_of_its_end() -> None:
    told: list[QueueStateChange] = []
    with a_world(on_queue_state_change=told.append) as one:
        reply = one.client.ask(STEP, block=False)
        for state, reason in (
            ("active", None),
            ("paused_capacity", "full"),
            ("paused_capacity", "full"),
            ("active", None),
        ):
            one.answers["/retrieve_future"] = pending(state, reason)
            one.world.run_for(10.0)
        one.answers["/retrieve_future"] = pending("paused_rate_limit", "slow")
        one.world.run_for(10.0)
        one.answers.clear()
        reply.get().unwrap()
        one.world.run_for(1.0)
        assert [(change.previous, change.state, change.reason) for change in told] == [
            ("active", "paused_capacity", "full"),
            ("paused_capacity", "active", None),
            ("active", "paused_rate_limit", "slow"),
            ("paused_rate_limit", "active", None),
        ]
        assert {(change.operation, change.seq_id, change.actor) for change in told} == {
            ("optim_step", 1, one.client.actor_urn)
        }


def test_warnings_come_at_most_once_a_minute_for_each_client() -> None:
    with logged() as log, a_world() as one:
        reply = one.client.ask(STEP, block=False)
        for minute in range(4):
            for second in range(6):
                one.answers["/retrieve_future"] = pending("paused_capacity", f"place {minute}.{second}")
                one.world.run_for(10.0)
        warned = [entry for entry in log if entry["event"] == "paused by the server"]
        assert 3 <= len(warned) <= 5
        assert all(entry["log_level"] == "warning" and entry["reason"] for entry in warned)
        one.answers.clear()
        reply.get()


@pytest.mark.parametrize("error", [ValueError("a bug"), SystemExit(3)])
def test_an_observer_that_raises_is_logged_and_polling_goes_on(error: BaseException) -> None:
    def observer(_change: QueueStateChange) -> None:
        raise error

    with logged() as log, a_world(on_queue_state_change=observer) as one:
        one.answers["/retrieve_future"] = pending("paused_capacity", "full")
        reply = one.client.ask(STEP, block=False)
        one.world.run_for(10.0)
        one.answers.clear()
        assert reply.get().is_ok
        assert {entry["callback"] for entry in log if entry["event"] == "callback failed"} == {"on_queue_state_change"}


def test_an_observer_that_hangs_holds_up_neither_the_operation_nor_the_stop() -> None:
    gate = threading.Event()
    entered = threading.Event()

    def observer(_change: QueueStateChange) -> None:
        entered.set()
        gate.wait()

    answers: dict[str, list[httpx.Response]] = {}

    def rule(request: httpx.Request, _count: int) -> Any:
        left = answers.get(request.url.path.removeprefix("/api/v1"))
        return left.pop() if left else None

    with runtime(http_transport=Faults(rule, PlainServer())):
        service = ServiceClient.start(base_url=URL, on_queue_state_change=observer)
        client = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        answers["/retrieve_future"] = [pending("paused_capacity", "full")]
        reply = client.ask(STEP, block=False)
        assert entered.wait(20)
        assert reply.get(timeout=20).is_ok
        service.stop()
        gate.set()


def test_one_pause_is_one_event_however_often_the_request_is_sent_again_meanwhile() -> None:
    told: list[QueueStateChange] = []
    with a_world(on_queue_state_change=told.append) as one:
        one.answers["/optim_step"] = httpx.Response(402, json={"detail": "pay"})
        began = one.now()
        reply = one.client.ask(STEP, block=False)
        one.world.run_for(600.0)
        assert [change.state for change in told] == ["paused_billing"]
        assert one.status()[0].since == pytest.approx(began, abs=1.0)
        reply.cancel()


def test_what_waited_behind_a_load_was_asked_when_it_was_asked() -> None:
    with a_world() as one:
        one.client.ask(STEP).unwrap()
        slow = httpx.Response(429, json={"detail": "slow"})
        one.answers.update({"/weights_info": slow, "/optim_step": slow})
        one.client.ask(messages.LoadState("tinker://r/weights/a"), block=False)
        asked = one.now()
        step = one.client.ask(STEP, block=False)
        one.world.run_for(100.0)
        del one.answers["/weights_info"]
        one.world.run_for(100.0)
        assert [(operation.name, operation.asked) for operation in one.status()] == [("optim_step", asked)]
        step.cancel()


def test_an_observer_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TinkexError, match="on_queue_state_change must be something that can be called"):
        ServiceClient.start(base_url=URL, on_queue_state_change=3)  # type: ignore[arg-type]


def test_a_pass_says_its_name() -> None:
    with a_world() as one:
        one.answers["/retrieve_future"] = "hold"
        reply = one.client.ask(messages.ForwardBackward(data()), block=False)
        one.world.run_for(0.1)
        assert [(operation.name, operation.allowed) for operation in one.status()] == [("forward_backward", 600.0)]
        reply.cancel()
