"""Point 8: no wait where it can deadlock; where it only blocks a user's loop it works, with one warning."""

import asyncio
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support_genserver import SECONDS, Call, Later, Note, Ping, Probe, no_actor_left, noted, run_in, settled
from tinkex.actors import Deferred, GenRef, Outcome
from tinkex.actors.testing import runtime
from tinkex.protocol import Ok


@pytest.fixture
def pair() -> Iterator[tuple[GenRef, GenRef]]:
    with no_actor_left(), runtime():
        first, second = Probe.start(), Probe.start()
        yield first, second
        first.kill()
        second.kill()


WAITS: list[Callable[[Any, GenRef], Any]] = [
    lambda _actor, other: other.ask(Ping(1)),
    lambda actor, _other: actor.ref.ask(Ping(1)),
    lambda _actor, other: other.ask(Ping(1), timeout=5.0),
    lambda _actor, other: other.ask(Later(Deferred[int]()), block=False).get(),
    lambda _actor, other: other.proxy().later(Deferred[int]()).get(timeout=5.0),
    lambda _actor, other: other.ask(Later(Deferred[int]()), block=False).map(str).get(),
    lambda _actor, other: other.stop(),
    lambda actor, _other: actor.ref.stop(),
]


@pytest.mark.parametrize("wait", WAITS, ids=range(len(WAITS)))
def test_wait_on_the_thread_of_a_gen_server_raises_at_once_and_says_what_to_do(
    pair: tuple[GenRef, GenRef], wait: Callable[[Any, GenRef], Any]
) -> None:
    def attempt(actor: Any) -> Any:
        with pytest.raises(RuntimeError, match=r"block=False.*Deferred"):
            wait(actor, pair[1])
        return Ok(1)

    assert pair[0].ask(Call(attempt)) == Ok(1)
    assert pair[1].ask(Ping(3)) == Ok(3), "what could not be waited for was not sent either"


def test_settled_reply_is_read_anywhere(pair: tuple[GenRef, GenRef]) -> None:
    reply = pair[1].ask(Ping(4), block=False)
    assert settled(reply) == Ok(4)
    assert pair[0].ask(Call(lambda _actor: reply.get())) == Ok(4)


def test_the_way_that_is_named_works(pair: tuple[GenRef, GenRef]) -> None:
    def ask_on(_actor: Any) -> Any:
        deferred = Deferred[int]()
        pair[1].ask(Ping(5), block=False).add_done_callback(deferred.settle)
        return deferred

    assert pair[0].ask(Call(ask_on), timeout=SECONDS) == Ok(5)


def test_wait_on_the_io_thread_raises(pair: tuple[GenRef, GenRef]) -> None:
    errors: list[str] = []

    async def wait() -> None:
        attempts: list[Callable[[], object]] = [
            lambda: pair[1].ask(Ping(1)),
            lambda: pair[1].ask(Later(Deferred[int]()), block=False).get(),
            pair[1].stop,
        ]
        for attempt in attempts:
            try:
                attempt()
            except RuntimeError as error:
                errors.append(str(error))

    run_in(pair[0], lambda actor: actor.spawn(wait(), noted))
    assert run_in(pair[0], lambda actor: actor.runtime).io.drain(SECONDS)
    assert len(errors) == 3
    assert all("use await" in error for error in errors)
    assert pair[1].is_alive()


def test_await_on_the_io_thread_works(pair: tuple[GenRef, GenRef]) -> None:
    async def ask() -> Any:
        return await pair[1].ask(Ping(6), block=False)

    results: list[Any] = []

    def note(outcome: Outcome[Any]) -> Note:
        results.append(outcome.unwrap())
        return Note("done")

    run_in(pair[0], lambda actor: actor.spawn(ask(), note))
    assert run_in(pair[0], lambda actor: actor.runtime).io.drain(SECONDS)
    assert results == [Ok(6)]


def test_get_on_a_users_loop_works_with_one_warning_that_names_await(pair: tuple[GenRef, GenRef]) -> None:
    async def notebook_cell() -> list[Any]:
        return [pair[0].ask(Ping(n)) for n in range(3)] + [pair[1].proxy().add(1).get()]

    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert asyncio.run(notebook_cell()) == [Ok(0), Ok(1), Ok(2), 2]
        assert [str(warning.message) for warning in caught if "await" in str(warning.message)]
        assert len(caught) == 1
        assert caught[0].filename == __file__


def test_wait_in_a_signal_handler_in_a_wait_loses_no_wake_up(pair: tuple[GenRef, GenRef]) -> None:
    deferred = Deferred[int]()
    inner: list[Any] = []

    def handler(_number: int, _frame: object) -> None:
        settling = threading.Thread(target=lambda: deferred.settle(Ok(1)))
        settling.start()
        settling.join(SECONDS)
        inner.append(pair[1].ask(Ping(9)))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        kill = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        kill.start()
        assert pair[0].ask(Later(deferred), timeout=SECONDS) == Ok(1)
        kill.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert inner == [Ok(9)]
