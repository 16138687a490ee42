"""Point 1: a handler may give its reply later, and the mailbox goes on meanwhile."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from support_genserver import (
    SECONDS,
    Call,
    Later,
    Ping,
    Probe,
    by_crash,
    by_kill,
    by_stop,
    error_of,
    no_actor_left,
    settled,
)
from tinkex.actors import Deferred, GenRef
from tinkex.protocol import Err, Ok, Result, TinkexError


@pytest.fixture
def probe() -> Iterator[GenRef]:
    with no_actor_left():
        ref = Probe.start()
        yield ref
        ref.kill()


def test_asker_gets_the_final_value_and_the_mailbox_goes_on(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = probe.ask(Later(deferred), block=False)
    assert probe.ask(Ping(5)) == Ok(5)
    assert not reply.done()
    assert deferred.settle(Ok(3))
    assert settled(reply) == Ok(3)


def test_blocking_ask_waits_for_the_deferred_value(probe: GenRef) -> None:
    deferred = Deferred[int]()
    asked: list[Result[int]] = []
    thread = threading.Thread(target=lambda: asked.append(probe.ask(Later(deferred))))
    thread.start()
    assert probe.ask(Ping(1)) == Ok(1)
    assert not asked
    deferred.settle(Ok(8))
    thread.join(SECONDS)
    assert asked == [Ok(8)]


def test_proxied_call_may_defer_too(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = probe.proxy().later(deferred)
    assert probe.ask(Ping(1)) == Ok(1)
    assert not reply.done()
    deferred.settle(Ok(2))
    assert settled(reply) == Ok(2)


def test_first_settle_wins_and_says_so(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = probe.ask(Later(deferred), block=False)
    assert deferred.settle(Ok(1))
    assert not deferred.settle(Ok(2))
    assert settled(reply) == Ok(1)


def test_only_one_of_many_settling_threads_wins() -> None:
    for _ in range(300):
        deferred = Deferred[int]()
        won: list[int] = []
        barrier = threading.Barrier(4)

        def settle(number: int, deferred: Deferred[int] = deferred, won: list[int] = won) -> None:
            barrier.wait(SECONDS)  # noqa: B023 - the threads end within this turn
            if deferred.settle(Ok(number)):
                won.append(number)

        threads = [threading.Thread(target=settle, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert len(won) == 1
        assert deferred.value() == Ok(won[0])


def test_settled_deferred_is_an_ordinary_reply(probe: GenRef) -> None:
    deferred = Deferred[int]()
    deferred.settle(Ok(4))
    assert probe.ask(Later(deferred)) == Ok(4)


def test_one_deferred_answers_several_asks(probe: GenRef) -> None:
    deferred = Deferred[int]()
    replies = [probe.ask(Later(deferred), block=False) for _ in range(5)]
    probe.ask(Ping())
    deferred.settle(Ok(6))
    assert [settled(reply) for reply in replies] == [Ok(6)] * 5


def test_deferred_of_another_actor_is_answered_by_it(probe: GenRef) -> None:
    other = Probe.start()
    deferred = Deferred[int]()
    reply = probe.ask(Later(deferred), block=False)
    probe.ask(Ping())
    other.ask(Call(lambda _actor: Ok(deferred.settle(Ok(1)))))
    assert settled(reply) == Ok(1)
    other.stop()


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (by_stop, "actor_dead"),
        (by_kill, "actor_dead"),
        (by_crash, "actor_crashed"),
    ],
)
def test_what_is_open_at_the_end_is_answered_with_its_reason(probe: GenRef, end: Any, kind: str) -> None:
    replies = [probe.ask(Later(Deferred[int]()), block=False) for _ in range(3)]
    probe.ask(Ping())
    end(probe)
    assert [error_of(settled(reply)).kind for reply in replies] == [kind] * 3


def test_settling_after_the_end_changes_nothing(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = probe.ask(Later(deferred), block=False)
    probe.ask(Ping())
    probe.kill()
    assert deferred.settle(Ok(1))
    assert error_of(settled(reply)).kind == "actor_dead"


def test_on_stop_may_still_settle_what_is_open() -> None:
    class Settles(Probe):
        def on_stop(self, reason: str = "normal") -> None:
            deferred.settle(Ok(9))

    deferred = Deferred[int]()
    with no_actor_left():
        ref = Settles.start()
        reply = ref.ask(Later(deferred), block=False)
        ref.stop()
        assert settled(reply) == Ok(9)


def test_subscribers_are_told_once_in_order_also_late_ones() -> None:
    deferred = Deferred[int]()
    told: list[tuple[str, Result[int]]] = []
    deferred.subscribe(lambda result: told.append(("a", result)))
    deferred.subscribe(lambda result: told.append(("b", result)))
    assert not told
    error = TinkexError("no", kind="conflict", category="user")
    deferred.settle(Err(error))
    deferred.subscribe(lambda result: told.append(("c", result)))
    assert told == [("a", Err(error)), ("b", Err(error)), ("c", Err(error))]


def test_many_open_deferreds_cost_the_mailbox_nothing(probe: GenRef) -> None:
    deferreds = [Deferred[int]() for _ in range(5000)]
    replies = [probe.ask(Later(deferred), block=False) for deferred in deferreds]
    assert probe.ask(Ping(1)) == Ok(1)
    assert len(probe.actor_inbox._open) == 5000
    for number, deferred in enumerate(deferreds):
        deferred.settle(Ok(number))
    assert [settled(reply) for reply in replies] == [Ok(number) for number in range(5000)]
    assert not probe.actor_inbox._open
