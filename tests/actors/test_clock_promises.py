"""Three clocks, never mixed: what a caller asked for takes the time that was asked, and nothing beyond it.

The worlds here are seeded: time moves only when every thread waits, so that what the clock says is exactly what the
clients took, whatever this machine is at.
"""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import pykka
import pytest

from support_clients import Faults, Rule
from support_plain_server import PlainServer
from tinkex.actors import GenRef, Reply, ServiceClient, ServiceClientRef
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import AdamParams, Err, Request, TinkexError, messages

LONG = 250.0
"""Seconds for which a busy server asks to be left alone."""

PATH = "tinker://run/weights/x"
STEP = messages.OptimStep(AdamParams())
RESTORE = messages.CreateTrainingClientFromState(PATH)


def rule_of(states: dict[str, str]) -> Rule:
    """``hold`` never answers, ``busy`` is 503 for LONG, ``pending`` is a result that is never there.

    ``hold-load`` gives a restore its model and holds the result of the load.
    """

    def rule(request: httpx.Request, count: int) -> "str | httpx.Response | None":
        action = states.get(request.url.path.removeprefix("/api/v1"))
        if action == "hold-load":
            action = "hold" if count > 1 else None
        if action == "busy":
            return httpx.Response(503, json={"detail": "busy"}, headers={"retry-after": f"{LONG:g}"})
        if action == "pending":
            return httpx.Response(200, json={"type": "try_again", "request_id": "r", "queue_state": "active"})
        return action

    return rule


class World(NamedTuple):
    seeded: SeededScheduler
    service: ServiceClientRef
    states: dict[str, str]
    faults: Faults

    def begin(self, ref: GenRef[Any], message: Request[Any]) -> Reply[Any]:
        """Ask, and let everything go on until it waits for the server or for time; no time passes."""
        reply = ref.ask(message, block=False)
        before = self.now()
        self.seeded.run_until_idle()
        assert self.now() == before
        assert not reply.done()
        return reply

    def now(self) -> float:
        return self.seeded.clock.monotonic()

    def taken(self, work: Callable[[], Any]) -> tuple[float, Any]:
        begun = self.now()
        value = work()
        return self.now() - begun, value


@contextmanager
def world(seed: int) -> Generator[World]:
    states: dict[str, str] = {}
    faults = Faults(rule_of(states), PlainServer())
    with SeededScheduler(seed, http_transport=faults) as seeded:
        service = ServiceClient.start(base_url="http://127.0.0.1:1", send_timeout=1_000.0)
        yield World(seeded, service, states, faults)
        states.clear()
        service.stop()
        seeded.run_for(120.0)  # what was left to its own deadline
        assert pykka.ActorRegistry.get_all() == []


def failed(result: Any) -> TinkexError:
    assert isinstance(result, Err), result
    return result.error


# An operation of a training client

OPERATIONS: dict[str, dict[str, str]] = {
    "queued": {"/save_weights": "hold"},
    "sending": {"/optim_step": "hold"},
    "backing-off": {"/optim_step": "busy"},
    "running": {"/retrieve_future": "hold"},
    "polling": {"/retrieve_future": "pending"},
}

STATES = {
    "queued": "queued",
    "sending": "sending",
    "backing-off": "backing_off",
    "running": "running",
    "polling": "running",
}
"""What ``Status`` calls them."""

OUTCOMES = {
    "queued": "not_sent",
    "sending": "unknown",
    "backing-off": "unknown",
    "running": "running",
    "polling": "running",
}
"""What a caller who stops waiting is told."""

operations = pytest.mark.parametrize("state", OPERATIONS)
seeds = pytest.mark.parametrize("seed", range(3))


def under_way(one: World, state: str, message: Request[Any]) -> tuple[Any, Reply[Any]]:
    """Bring ``message`` into ``state``, with a save before it for which it is queued."""
    training = one.service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
    one.states.update(OPERATIONS[state])
    if state == "queued":
        one.begin(training, messages.SaveState("before")).add_done_callback(lambda _result: None)
    reply = one.begin(training, message)
    assert training.ask(messages.Status()).unwrap().operations[-1].state == STATES[state]
    return training, reply


@seeds
@operations
def test_an_await_timeout_answers_exactly_when_it_was_asked_to(state: str, seed: int) -> None:
    with world(seed) as one:
        training, reply = under_way(one, state, messages.OptimStep(AdamParams(), await_timeout=5.0))
        taken, result = one.taken(reply.get)
        error = failed(result)
        assert (taken, error.kind) == (5.0, "await_timeout")
        assert error.data["outcome"] == OUTCOMES[state]
        assert one.taken(lambda: training.ask(messages.Status()))[0] == 0.0


@seeds
@operations
def test_a_cancel_takes_no_time(state: str, seed: int) -> None:
    with world(seed) as one:
        _, reply = under_way(one, state, STEP)
        assert one.taken(reply.cancel) == (0.0, True)
        taken, result = one.taken(reply.get)
        error = failed(result)
        assert (taken, error.kind, error.data["outcome"]) == (0.0, "cancelled", OUTCOMES[state])


@seeds
@operations
def test_a_cancelled_await_takes_no_time(state: str, seed: int) -> None:
    async def wait(reply: Reply[Any]) -> Any:
        return await reply

    async def give_up(reply: Reply[Any]) -> None:
        task = asyncio.create_task(wait(reply))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with world(seed) as one:
        _, reply = under_way(one, state, STEP)
        taken, _ = one.taken(lambda: one.seeded.run(give_up(reply)))
        assert taken == 0.0
        assert failed(reply.get()).kind == "cancelled"


@seeds
@operations
def test_a_kill_answers_at_once(state: str, seed: int) -> None:
    with world(seed) as one:
        training, reply = under_way(one, state, STEP)
        assert one.taken(training.kill) == (0.0, True)
        taken, result = one.taken(reply.get)
        assert (taken, failed(result).kind) == (0.0, "actor_dead")
        assert one.taken(training.join) == (0.0, True)


@seeds
@operations
@pytest.mark.parametrize("shutdown", [0.0, 3.0])
def test_a_stop_waits_for_its_deadline_and_no_longer(state: str, shutdown: float, seed: int) -> None:
    with world(seed) as one:
        training, reply = under_way(one, state, STEP)
        assert one.taken(lambda: training.stop(shutdown=shutdown)) == (shutdown, True)
        taken, result = one.taken(reply.get)
        assert (taken, failed(result).kind) == (0.0, "actor_dead")


@seeds
@operations
def test_a_stop_waits_no_longer_than_the_work_takes(state: str, seed: int) -> None:
    """A poll that nobody reads any more keeps a stop from nothing; a send does, as its number is not settled yet."""
    with world(seed) as one:
        training, reply = under_way(one, state, messages.OptimStep(AdamParams(), await_timeout=2.0))
        reply.add_done_callback(lambda _result: None)
        taken, _ = one.taken(lambda: training.stop(shutdown=30.0))
        assert taken == (2.0 if OUTCOMES[state] == "running" else 30.0)
        assert failed(reply.get()).kind == "await_timeout"


# A create, at each of its steps

CREATE = ("/weights_info", "/create_session", "/create_model", "/load_weights")
STEPS = [
    *((step, way) for step in CREATE for way in ("hold", "busy")),
    *(("/retrieve_future", way) for way in ("hold", "busy", "pending", "hold-load")),
]
steps = pytest.mark.parametrize(("step", "way"), STEPS)


@steps
def test_an_await_timeout_of_a_create_answers_exactly_when_it_was_asked_to(step: str, way: str) -> None:
    with world(1) as one:
        one.states[step] = way
        reply = one.begin(one.service, messages.CreateTrainingClientFromState(PATH, await_timeout=5.0))
        taken, result = one.taken(reply.get)
        error = failed(result)
        assert (taken, error.kind, error.data["path"]) == (5.0, "await_timeout", PATH)


@steps
def test_a_cancel_of_a_create_takes_no_time(step: str, way: str) -> None:
    with world(2) as one:
        one.states[step] = way
        reply = one.begin(one.service, RESTORE)
        assert one.taken(reply.cancel) == (0.0, True)
        taken, result = one.taken(reply.get)
        assert (taken, failed(result).kind) == (0.0, "cancelled")


@steps
def test_a_kill_of_the_service_answers_its_creates_at_once(step: str, way: str) -> None:
    with world(3) as one:
        one.states[step] = way
        reply = one.begin(one.service, RESTORE)
        assert one.taken(one.service.kill) == (0.0, True)
        taken, result = one.taken(reply.get)
        assert (taken, failed(result).kind) == (0.0, "actor_dead")


@steps
def test_a_stop_answers_creates_at_once_and_ends_by_its_deadline(step: str, way: str) -> None:
    with world(4) as one:
        one.states[step] = way
        reply = one.begin(one.service, RESTORE)
        stopped = one.service.stop(block=False, shutdown=4.0)
        taken, result = one.taken(reply.get)
        assert (taken, failed(result).kind) == (0.0, "actor_dead")
        taken, ended = one.taken(stopped.get)
        assert ended is True
        assert taken <= 4.0


@steps
def test_an_ask_of_a_create_that_runs_out_does_so_exactly_then(step: str, way: str) -> None:
    with world(5) as one:
        one.states[step] = way

        def ask() -> None:
            with pytest.raises(pykka.Timeout):
                one.service.ask(RESTORE, timeout=1.5)

        assert one.taken(ask)[0] == 1.5
        assert one.service.ask(messages.Status()).unwrap().operations == []


# Many restores

RESTORES = 200


@pytest.mark.parametrize("step", ["/weights_info", "/load_weights"])
def test_questions_are_answered_at_once_while_two_hundred_restores_are_under_way(step: str) -> None:
    with world(6) as one:
        one.states[step] = "hold"
        replies = [one.service.ask(RESTORE, block=False) for _ in range(RESTORES)]
        one.seeded.run_until_idle()
        assert one.faults.sent(step)
        taken, answer = one.taken(lambda: one.service.ask(messages.GetServerCapabilities()))
        assert taken == 0.0
        assert answer.unwrap().supported_models[0].model_name == "m"
        assert len(one.service.ask(messages.Status()).unwrap().operations) == RESTORES
        assert not any(reply.done() for reply in replies)
