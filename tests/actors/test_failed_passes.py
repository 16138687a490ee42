"""Behind a pass that is known to have failed nothing goes out, whatever its client is busy with when that comes."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from support_clients import create, data, eventually
from support_servers import Scripted, client, reply
from tinkex.actors import TrainingClientRef
from tinkex.actors._training._runway import Runway
from tinkex.protocol import AdamParams, Err, Result, TinkexError, messages

STEPS = 12
ROUNDS = 50
"""Of the io loop, in which many steps could go out."""


class Failing(Scripted):
    """Says what became of its pass, and takes the first step, when it may; counts the steps behind that answer."""

    def __init__(self, verdict: httpx.Response) -> None:
        super().__init__()
        self.verdict = verdict
        self.said = False
        self.behind = 0
        self.polled, self.reached, self.rested = threading.Event(), threading.Event(), threading.Event()
        self.known = threading.Event()
        """The io loop knows of the failure."""

        self._may_say, self._may_take = asyncio.Event(), asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pass = ""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._loop = asyncio.get_running_loop()
        if request.url.path.endswith("/optim_step"):
            self.reached.set()
            await self._may_take.wait()
            response = await super().handle_async_request(request)
            self.behind += self.said
            return response
        polls = request.url.path.endswith("/retrieve_future") and bool(self._pass)
        if polls and self._pass.encode() in await request.aread():
            self.polled.set()
            await self._may_say.wait()
            self.said = True
        elif polls:
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            self.rested.set()
        return await super().handle_async_request(request)

    def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
        accepted = super().run_pass(path, media, raw)
        self._pass = accepted.json()["request_id"]
        self.futures[self._pass] = self.verdict
        return accepted

    def say(self) -> None:
        """Answer for the pass; return when its client's mailbox holds the failure."""
        assert self._loop is not None
        self._set(self._may_say)
        assert self.known.wait(20)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(20)  # it is told in the same turn

    def take(self) -> None:
        """Take the first step, and what comes behind it."""
        self._set(self._may_take)

    def _set(self, event: asyncio.Event) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(event.set)


class Busy:
    """Cancels, and holds the actor up when it says so."""

    def __init__(self, asked: Any) -> None:
        self.there, self._go = threading.Event(), threading.Event()
        asked.add_done_callback(self)
        asked.cancel()

    def __call__(self, _result: object) -> None:
        self.there.set()
        assert self._go.wait(20)

    def go_on(self) -> None:
        assert self.there.wait(20)
        self._go.set()


def begin(server: Failing, training: TrainingClientRef) -> tuple[Any, list[Any]]:
    """Ask for a pass and steps behind it; return when its result is asked for and the first step is under way."""
    passed = training.ask(messages.ForwardBackward(data()), block=False)
    steps = [training.ask(messages.OptimStep(AdamParams()), block=False) for _ in range(STEPS)]
    assert server.polled.wait(20)
    assert server.reached.wait(20)
    return passed, steps


def tells(monkeypatch: pytest.MonkeyPatch, server: Failing) -> None:
    """Have ``server`` know when the io loop knows of a failure."""
    halt = Runway.halt

    def telling(runway: Runway) -> None:
        halt(runway)
        server.known.set()

    monkeypatch.setattr(Runway, "halt", telling)


def error_of(result: Result[Any]) -> TinkexError:
    assert isinstance(result, Err)
    return result.error


def failed() -> httpx.Response:
    return reply(200, {"error": "the loss is no number", "category": "user"})


def lost() -> httpx.Response:
    return reply(410, {"detail": "that is gone"})


def test_a_step_that_is_called_back_before_its_client_has_heard_of_the_failure_lets_none_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Failing(failed())
    tells(monkeypatch, server)
    with client(server) as ref:
        passed, steps = begin(server, create(ref))
        first = Busy(steps[-1])
        assert first.there.wait(20)
        second = Busy(steps[4])  # which is written already, and behind it others
        server.say()
        first.go_on()
        assert second.there.wait(20)
        server.take()
        assert server.rested.wait(20)
        second.go_on()
        assert error_of(passed.get()).kind == "request_failed"
        assert {error_of(step.get()).kind for step in steps} == {"client_suspect", "cancelled"}
    assert server.behind == 1  # the one that was on its way


@pytest.mark.parametrize("verdict", [failed, lost])
def test_a_pass_that_is_cancelled_when_its_failure_is_known_spoils_what_stands_behind_it(
    verdict: Callable[[], httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Failing(verdict())
    tells(monkeypatch, server)
    with client(server) as ref:
        training = create(ref)
        passed, steps = begin(server, training)
        busy = Busy(steps[-1])
        assert busy.there.wait(20)
        passed.cancel()
        server.say()
        busy.go_on()
        assert error_of(passed.get()).kind == "cancelled"
        eventually(lambda: training.ask(messages.Status()).unwrap().state == "suspect")
        server.take()
        assert {error_of(step.get()).kind for step in steps[:-1]} == {"client_suspect"}
    assert server.behind <= 1
