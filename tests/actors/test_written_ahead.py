"""Steps that are written ahead: they go out one behind the other, and none that its caller or a failure calls back."""

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest

from support_clients import create, data, eventually
from support_servers import PROTOBUF, URL, Hosted, Scripted, client, reply
from tinkex.actors import ServiceClient, TrainingClientRef
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import AdamParams, Err, Ok, Result, TinkexError, messages

MANY = 40


class Steps(Hosted):
    """Notes the rates of the steps that arrive; the first waits for its gate."""

    def __init__(self) -> None:
        super().__init__()
        self.rates: list[float] = []
        self._gate = asyncio.Event()
        self.arrived = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.reached = threading.Event()
        self.under_way = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/optim_step"):
            return await super().handle_async_request(request)
        self.under_way += 1
        assert self.under_way == 1, "a number goes out when the one before was taken"
        self._loop = asyncio.get_running_loop()
        self.reached.set()
        self.arrived.set()
        await self._gate.wait()
        await asyncio.sleep(0)
        self.under_way -= 1
        return await super().handle_async_request(request)

    def open(self) -> None:
        """Take the first, and all that follow."""
        assert self.reached.wait(20)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._gate.set)

    def optim_step(self, body: Any) -> httpx.Response:
        rate = body["adam_params"]["learning_rate"]
        self.rates.append(rate)
        return self.take(rate, body)

    def take(self, rate: float, body: Any) -> httpx.Response:
        del rate
        return super().optim_step(body)

    @property
    def ran(self) -> list[int]:
        (model,) = self.models.values()
        return model.ran


def ask(training: TrainingClientRef, count: int, first: int = 1) -> list[Any]:
    """Ask for steps with the rates ``first``, ``first + 1`` ..."""
    rates = range(first, first + count)
    return [training.ask(messages.OptimStep(AdamParams(learning_rate=float(rate))), block=False) for rate in rates]


def states(training: TrainingClientRef) -> list[tuple[str, int | None]]:
    return [(open_.state, open_.seq_id) for open_ in training.ask(messages.Status()).unwrap().operations]


def error_of(result: Result[Any]) -> TinkexError:
    assert isinstance(result, Err)
    return result.error


def test_they_go_out_in_order_one_when_the_one_before_was_taken() -> None:
    server = Steps()
    with client(server) as ref:
        training = create(ref)
        replies = ask(training, MANY)
        assert server.reached.wait(20)
        assert states(training) == [("sending", 1)] + [("queued", None)] * (MANY - 1)
        assert training.ask(messages.Status()).unwrap().next_seq_id == 2
        server.open()
        assert all(reply.get().is_ok for reply in replies)
        assert server.rates == [float(rate) for rate in range(1, MANY + 1)]
        assert training.ask(messages.Status()).unwrap().next_seq_id == MANY + 1


def test_a_refused_one_leaves_its_number_to_the_next() -> None:
    class Choosy(Steps):
        def take(self, rate: float, body: Any) -> httpx.Response:
            return reply(400, {"detail": "not this one"}) if rate % 3 == 0 else super().take(rate, body)

    server = Choosy()
    with client(server) as ref:
        replies = ask(create(ref), MANY)
        server.open()
        for rate, answer in enumerate((reply.get() for reply in replies), start=1):
            assert answer.is_ok == (rate % 3 != 0)
            if rate % 3 == 0:
                assert error_of(answer).data["outcome"] == "not_sent"
        assert server.rates == [float(rate) for rate in range(1, MANY + 1)]
        assert server.ran == list(range(1, MANY - MANY // 3 + 1))


def test_behind_one_whose_fate_is_unknown_nothing_goes_out() -> None:
    class Flaky(Steps):
        def take(self, rate: float, body: Any) -> httpx.Response:
            if rate != 4.0:
                return super().take(rate, body)
            if self.rates.count(4.0) == 1:
                raise httpx.ReadError("lost on request")
            return reply(400, {"detail": "no more"})

    server = Flaky()
    with client(server) as ref:
        replies = ask(create(ref), MANY)
        server.open()
        answers = [reply.get() for reply in replies]
        assert [answer.is_ok for answer in answers[:3]] == [True] * 3
        assert error_of(answers[3]).data["outcome"] == "unknown"
        for answer in answers[4:]:
            error = error_of(answer)
            assert (error.kind, error.data["outcome"]) == ("client_suspect", "not_sent")
        assert server.rates == [1.0, 2.0, 3.0, 4.0, 4.0]


@pytest.mark.parametrize("cancelled", [2, 5, 9, 10, MANY])
def test_one_that_its_caller_cancels_never_goes_out_and_leaves_no_gap(cancelled: int) -> None:
    server = Steps()
    with client(server) as ref:
        training = create(ref)
        replies = ask(training, MANY)
        assert server.reached.wait(20)
        assert len(states(training)) == MANY
        replies[cancelled - 1].cancel()
        assert error_of(replies[cancelled - 1].get()).data["outcome"] == "not_sent"
        eventually(lambda: len(states(training)) == MANY - 1)
        server.open()
        assert sum(reply.get().is_ok for reply in replies) == MANY - 1
        assert server.rates == [float(rate) for rate in range(1, MANY + 1) if rate != cancelled]
        assert server.ran == list(range(1, MANY))


def test_one_whose_caller_gives_up_in_mid_send_holds_up_none_behind_it_and_is_not_asked_for() -> None:
    given_up = threading.Event()

    class Patient(Steps):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/retrieve_future") and self.ran and json.loads(request.content) == first:
                try:
                    await asyncio.Event().wait()
                finally:
                    given_up.set()
            return await super().handle_async_request(request)

    server, first = Patient(), {"request_id": "r1", "allow_metadata_only": False}
    with client(server) as ref:
        training = create(ref)
        replies = ask(training, MANY)
        assert server.reached.wait(20)
        replies[0].cancel()
        assert error_of(replies[0].get()).data["outcome"] == "unknown"
        server.open()
        assert given_up.wait(20)
        assert all(reply.get().is_ok for reply in replies[1:])
        assert server.ran == list(range(1, MANY + 1))


def test_a_stop_answers_what_is_written_ahead() -> None:
    server = Steps()
    with client(server) as ref:
        training = create(ref)
        replies = ask(training, MANY)
        assert server.reached.wait(20)
        training.kill()
        assert {error_of(reply.get()).kind for reply in replies} == {"actor_dead"}
        server.open()
    assert server.rates in ([], [1.0])


class Failing(Scripted):
    """Its passes fail; notes what begins once that was said."""

    def __init__(self) -> None:
        super().__init__()
        self.said = False
        self.behind = 0

    def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
        accepted = super().run_pass(path, media, raw)
        self.futures[accepted.json()["request_id"]] = self.failure("the loss is no number")
        return accepted

    def optim_step(self, body: Any) -> httpx.Response:
        self.behind += self.said
        return super().optim_step(body)

    def retrieve_future(self, body: Any, headers: httpx.Headers) -> httpx.Response:
        answer = super().retrieve_future(body, headers)
        self.said = self.said or (answer.headers["content-type"] != PROTOBUF and b"the loss" in answer.content)
        return answer


def test_behind_a_failed_pass_nothing_begins_that_had_not_begun() -> None:
    behind = set[int]()
    for seed in range(60):
        server = Failing()
        with SeededScheduler(seed, http_transport=server) as world:
            service = ServiceClient.start(base_url=URL)
            training = service.ask(messages.CreateLoraTrainingClient("m", rank=4, seed=1)).unwrap()
            passed = training.ask(messages.ForwardBackward(data()), block=False)
            steps = ask(training, 12)
            assert error_of(passed.get()).kind == "request_failed"
            assert all(isinstance(step.get(), Ok | Err) for step in steps)
            world.run_until_idle()
            service.stop()
            world.run_for(10.0)
        behind.add(server.behind)
    assert behind <= {0, 1}


class Inline(Hosted):
    """Its passes fail in the answer to their own request."""

    def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
        super().run_pass(path, media, raw)
        return self.failure("the loss is no number")


def test_behind_a_pass_that_failed_in_its_own_answer_nothing_goes_out() -> None:
    server = Inline()
    with client(server) as ref:
        training = create(ref)
        passed = training.ask(messages.ForwardBackward(data()), block=False)
        steps = ask(training, 4)
        assert error_of(passed.get()).kind == "request_failed"
        assert [error_of(step.get()).data["outcome"] for step in steps] == ["not_sent"] * 4
    assert server.asked("/optim_step") == 0


class Doubtful(Steps):
    """A save is taken, its reply lost, and its result says that it exists already; proofs wait for their gate."""

    def __init__(self) -> None:
        super().__init__()
        self.lose.add("/save_weights")
        self.proving = threading.Event()
        self._proof = asyncio.Event()
        self._second = asyncio.Event()
        self.first_step = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/checkpoints"):
            self._loop = asyncio.get_running_loop()
            self.proving.set()
            await self._proof.wait()
        elif path.endswith("/retrieve_future") and json.loads(request.content)["request_id"] == self.first_step:
            await self._second.wait()  # a step's result comes when the next step is there
        response = await super().handle_async_request(request)
        if path.endswith("/optim_step"):
            if self.first_step:
                self._second.set()
            self.first_step = self.first_step or response.json()["request_id"]
        return response

    def save_weights(self, body: Any) -> httpx.Response:
        return self.numbered(body, json.dumps(body).encode(), self.failure("it exists already"))

    def prove(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._proof.set)


def test_steps_go_on_while_a_save_is_proved_and_behind_the_proof_of_one_that_was_cancelled() -> None:
    server = Doubtful()
    with client(server) as ref:
        training = create(ref)
        saved = training.ask(messages.SaveState("n"), block=False)
        assert server.proving.wait(20)
        steps = ask(training, 4)
        saved.cancel()
        assert error_of(saved.get()).kind == "cancelled"
        server.prove()
        eventually(lambda: server.asked("/checkpoints") and states(training)[0][0] == "sending")
        server.open()
        assert all(step.get(timeout=20).is_ok for step in steps)


def test_steps_that_are_written_ahead_go_out_though_a_save_before_them_is_in_doubt() -> None:
    class Later(Doubtful):
        """The save's result comes when a step is on its way."""

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/retrieve_future") and self.ran == [1]:
                await self.arrived.wait()
            return await super().handle_async_request(request)

    server = Later()
    with client(server) as ref:
        training = create(ref)
        saved = training.ask(messages.SaveState("n"), block=False)
        steps = ask(training, 4)
        assert server.proving.wait(20)
        server.open()
        eventually(lambda: len(server.rates) == 4)
        server.prove()
        assert error_of(saved.get()).kind == "conflict"
        assert all(step.get(timeout=20).is_ok for step in steps)


def test_a_step_wakes_its_actor_twice() -> None:
    with SeededScheduler(1, http_transport=Scripted()) as world:
        service = ServiceClient.start(base_url=URL)
        training = service.ask(messages.CreateLoraTrainingClient("m", rank=4, seed=1)).unwrap()
        begun = len(world.trace)
        for _ in range(MANY):
            assert training.ask(messages.OptimStep(AdamParams())).is_ok
        assert sum("TrainingClient#1: handles" in line for line in world.trace[begun:]) == 2 * MANY
        service.stop()
        world.run_for(10.0)
