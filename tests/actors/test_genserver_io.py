"""Point 5: nothing waits in the mailbox; work is done elsewhere and its outcome comes back as a message."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support_genserver import (
    ENDS,
    SECONDS,
    Block,
    Call,
    Note,
    Ping,
    Probe,
    Stubborn,
    error_of,
    no_actor_left,
    noted,
    run_in,
    wait_until_told,
)
from tinkex.actors import Deferred, GenRef, GenServer, Outcome, on
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import Ok, Request, Result


class Fetch(Request[str], frozen=True):
    """Answered when the gate opens, which some thread does."""


class Fetched:
    def __init__(self, outcome: Outcome[str], reply: Deferred[str]) -> None:
        self.outcome = outcome
        self.reply = reply


class Fetcher(Probe):
    """Asks a slow server, which is a coroutine here."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[Callable[[str], object]] = []
        self.waiting = threading.Event()

    async def _slow(self) -> str:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[str] = loop.create_future()
        self.gates.append(lambda text: loop.call_soon_threadsafe(opened.set_result, text))
        self.waiting.set()
        return await opened

    @on(Fetch)
    def _fetch(self, _message: Fetch) -> Deferred[str]:
        reply = Deferred[str]()
        self.spawn(self._slow(), lambda outcome: Fetched(outcome, reply))
        return reply

    @on(Fetched)
    def _fetched(self, message: Fetched) -> None:
        message.reply.settle(message.outcome.result())


@pytest.fixture
def fetcher() -> Iterator[tuple[GenRef, Fetcher]]:
    actors: list[Fetcher] = []

    class Known(Fetcher):
        def on_start(self) -> None:
            actors.append(self)

    with no_actor_left(), runtime():
        ref = Known.start()
        yield ref, actors[0]
        ref.kill()


def test_slow_server_makes_no_slow_actor(fetcher: tuple[GenRef, Fetcher]) -> None:
    ref, actor = fetcher
    reply = ref.ask(Fetch(), block=False)
    assert actor.waiting.wait(SECONDS)
    assert ref.ask(Ping(1)) == Ok(1)
    assert not reply.done()
    actor.gates[0]("fetched")
    assert reply.get(timeout=SECONDS) == Ok("fetched")


def test_stop_and_cancel_are_answered_while_the_server_is_slow(fetcher: tuple[GenRef, Fetcher]) -> None:
    ref, actor = fetcher
    first, second = ref.ask(Fetch(), block=False), ref.ask(Fetch(), block=False)
    assert actor.waiting.wait(SECONDS)
    assert ref.ask(Ping(1)) == Ok(1)
    assert first.cancel()
    assert error_of(first.get(timeout=SECONDS)).kind == "cancelled"
    assert ref.stop(timeout=SECONDS)
    assert error_of(second.get(timeout=SECONDS)).kind == "actor_dead"


@pytest.mark.parametrize("end", ENDS)
def test_every_end_cancels_the_coroutines(fetcher: tuple[GenRef, Fetcher], end: Callable[[GenRef], None]) -> None:
    ref, actor = fetcher
    ref.ask(Fetch(), block=False)
    assert actor.waiting.wait(SECONDS)
    end(ref)
    assert actor.runtime.io.drain(SECONDS)
    assert not actor.post(Note("too late"))


def test_coroutine_spawned_after_the_end_is_cancelled(fetcher: tuple[GenRef, Fetcher]) -> None:
    ref, actor = fetcher
    ref.kill()
    outcomes: list[Outcome[str]] = []
    actor.spawn(actor._slow(), outcomes.append)
    assert actor.runtime.io.drain(SECONDS)
    assert [outcome.cancelled for outcome in outcomes] == [True]


def test_ended_coroutines_are_forgotten(fetcher: tuple[GenRef, Fetcher]) -> None:
    async def nothing() -> str:
        return ""

    ref, actor = fetcher
    for _ in range(50):
        run_in(ref, lambda actor: actor.spawn(nothing(), noted).cancel())
    assert actor.runtime.io.drain(SECONDS)
    life: Any = vars(actor)["_GenServer__life"]
    assert not life._belongings._things


def test_bug_in_make_message_crashes_the_actor(fetcher: tuple[GenRef, Fetcher]) -> None:
    async def nothing() -> str:
        return ""

    def make_message(_outcome: Outcome[str]) -> Any:
        raise ValueError("bad message")

    ref, _ = fetcher
    run_in(ref, lambda actor: actor.spawn(nothing(), make_message))
    assert wait_until_told(ref.monitor).error.data["cause"] == "ValueError: bad message"


def test_outcomes_still_arrive_while_the_actor_drains(fetcher: tuple[GenRef, Fetcher]) -> None:
    class Finishes(Fetcher):
        def on_drain(self) -> None:
            actors.append(self)
            self.log.append("drain")

        @on(Fetched)
        def _fetched(self, message: Fetched) -> None:
            super()._fetched(message)
            self.drained()

    actors: list[Finishes] = []
    ref = Finishes.start()
    reply = ref.ask(Fetch(), block=False)
    stopped = ref.stop(block=False)
    while not actors:
        pass
    assert not stopped.done()
    assert error_of(ref.ask(Ping())).kind == "actor_dead"
    assert actors[0].waiting.wait(SECONDS)
    actors[0].gates[0]("in time")
    assert reply.get(timeout=SECONDS) == Ok("in time")
    assert stopped.get(timeout=SECONDS) is True


def test_timer_posts_its_message_once_the_time_has_come() -> None:
    clock = VirtualClock()
    with no_actor_left(), runtime(clock):
        log: list[str] = []
        ref = Probe.start(log)
        run_in(ref, lambda actor: actor.send_after(5.0, Note("later")))
        run_in(ref, lambda actor: actor.send_after(1.0, Note("sooner")))
        clock.advance(0.9)
        assert ref.ask(Ping(1)) == Ok(1)
        assert log == ["start"]
        clock.advance(4.1)
        assert ref.ask(Ping(1)) == Ok(1)
        assert log == ["start", "sooner", "later"]
        ref.stop()


def test_cancelled_timer_never_fires_and_is_forgotten() -> None:
    clock = VirtualClock()
    with no_actor_left(), runtime(clock):
        log: list[str] = []
        ref = Probe.start(log)
        timers: list[Any] = []
        run_in(ref, lambda actor: timers.append(actor.send_after(1.0, Note("never"))))
        run_in(ref, lambda actor: timers.append(actor.send_after(1.0, Note("fired"))))
        assert timers[0].cancel() is True
        assert timers[0].cancel() is False
        clock.advance(1.0)
        assert timers[1].cancel() is False
        assert ref.ask(Ping(1)) == Ok(1)
        assert log == ["start", "fired"]
        ref.stop()


@pytest.mark.parametrize("end", ENDS)
def test_timers_end_with_the_actor(end: Callable[[GenRef], None]) -> None:
    clock = VirtualClock()
    with no_actor_left(), runtime(clock):
        actors: list[Probe] = []
        ref = Probe.start()
        run_in(ref, actors.append)
        run_in(ref, lambda actor: actor.send_after(100.0, Note("never")))
        end(ref)
        ref.join(SECONDS)
        assert clock.pending() == 0
        actors[0].send_after(1.0, Note("never"))
        assert clock.pending() == 0


def test_post_is_refused_after_the_end_only() -> None:
    gate = threading.Event()
    with no_actor_left():
        log: list[str] = []
        actors: list[Probe] = []
        ref = Stubborn.start(log)
        run_in(ref, actors.append)
        ref.ask(Block(gate), block=False)
        assert actors[0].entered.wait(SECONDS)
        stopped = ref.stop(block=False)
        assert actors[0].post(Note("while it drains"))
        gate.set()
        assert not stopped.done()
        actors[0].post(Call(lambda actor: Ok(actor.drained())))
        assert stopped.get(timeout=SECONDS)
        assert not actors[0].post(Note("after"))
        assert log == ["start", "drain", "while it drains", "stop normal"]


def test_messages_nobody_handles_are_no_crash_and_are_logged() -> None:
    class Unknown:
        pass

    with no_actor_left():
        actors: list[GenServer] = []
        ref = Probe.start()
        run_in(ref, actors.append)
        actors[0].post(Unknown())
        assert ref.ask(Ping(1)) == Ok(1)
        ref.stop()


class _Unused(Request[int], frozen=True):
    pass


def test_handlers_are_inherited_overridden_by_name_and_found_by_a_messages_base() -> None:
    class Base(GenServer):
        @on(Ping)
        def _ping(self, message: Ping) -> Result[int]:
            return Ok(message.number + 1)

    class Overrides(Base):
        def _ping(self, message: Ping) -> Result[int]:
            return Ok(message.number + 2)

    class Replaces(Base):
        @on(Ping)
        def _other(self, message: Ping) -> Result[int]:
            return Ok(message.number + 3)

    class SpecialPing(Ping, frozen=True):
        pass

    with no_actor_left():
        for cls, plus in ((Base, 1), (Overrides, 2), (Replaces, 3)):
            ref = cls.start()
            assert ref.ask(Ping(0)) == Ok(plus)
            assert ref.ask(SpecialPing(5)) == Ok(5 + plus)
            assert ref.ask(SpecialPing(6)) == Ok(6 + plus)
            assert error_of(ref.ask(_Unused())).kind == "validation"
            ref.stop()
