"""Replies: read, cancelled, timed out, dropped, derived; and what the one who owes them learns of it."""

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

from support_genserver import SECONDS, Block, Later, Ping, Probe, error_of, no_actor_left, settled
from support_replies import Owner, hold_up, linked
from tinkex.actors import Deferred, GenRef, GenServer, Pending, Reply, on
from tinkex.protocol import Err, Ok, Request, Result, TinkexError


@pytest.fixture
def probe() -> Iterator[GenRef]:
    with no_actor_left():
        ref = Probe.start()
        yield ref
        ref.kill()


@pytest.fixture
def owner() -> Owner:
    return Owner()


# Reading


def test_get_reads_again_and_again(probe: GenRef) -> None:
    reply = probe.ask(Ping(3), block=False)
    assert [reply.get(), reply.get(timeout=0)] == [Ok(3), Ok(3)]
    assert reply.done()
    assert repr(reply) == "<Reply settled>"


def test_get_that_runs_out_raises_pykkas_timeout_and_may_be_tried_again(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = linked(probe, deferred)
    for timeout in (0, 0.001):
        with pytest.raises(pykka.Timeout):
            reply.get(timeout=timeout)
    assert repr(reply) == "<Reply open>"
    deferred.settle(Ok(1))
    assert reply.get(timeout=SECONDS) == Ok(1)


def test_many_threads_read_one_reply(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = linked(probe, deferred)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(reply.get(timeout=SECONDS))) for _ in range(20)]
    for thread in threads:
        thread.start()
    deferred.settle(Ok(2))
    for thread in threads:
        thread.join(SECONDS)
    assert results == [Ok(2)] * 20


def test_callback_is_given_the_result_also_a_late_one(probe: GenRef, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_result: object) -> None:
        raise ValueError("bad callback")

    deferred = Deferred[int]()
    reply = linked(probe, deferred)
    results: list[Any] = []
    reply.add_done_callback(fail)
    reply.add_done_callback(results.append)
    deferred.settle(Ok(4))
    settled(reply)
    reply.add_done_callback(results.append)
    assert results == [Ok(4), Ok(4)]
    assert "bad callback" in caplog.text
    assert probe.is_alive()


def test_pykka_itself_reads_replies(probe: GenRef) -> None:
    assert pykka.get_all([probe.ask(Ping(n), block=False) for n in range(3)]) == [Ok(0), Ok(1), Ok(2)]


def test_reply_may_be_set_as_a_future_of_pykka(probe: GenRef) -> None:
    future = Probe._create_future()
    future.set(Ok(1))
    future.set(Ok(2))
    assert future.get() == Ok(1)
    other = Reply[int]()
    try:
        int("set")
    except ValueError:
        other.set_exception()
    for _ in range(2):
        with pytest.raises(ValueError, match="set"):
            other.get()
    given = Reply[int]()
    given.set_exception((ValueError, ValueError("given"), None))
    with pytest.raises(ValueError, match="given"):
        given.get()
    deferred = Deferred[int]()
    deferring = Reply[int]()
    deferring._promise.set(deferred)
    deferred.settle(Ok(3))
    assert deferring.get() == Ok(3)
    empty = Reply[int]()
    empty.set_exception((None, None, None))
    with pytest.raises(RuntimeError):
        empty.get()
    with pytest.raises(NotImplementedError, match="map"):
        other.set_get_hook(lambda _timeout: Ok(1))
    assert probe.is_alive()


# Derived replies


def test_map_filter_reduce_and_join_are_pushed(probe: GenRef) -> None:
    deferreds = [Deferred[Any](), Deferred[Any]()]
    first, second = (linked(probe, deferred) for deferred in deferreds)
    items: Pending[Any] = first.map(lambda result: result.unwrap())
    evens = items.filter(lambda n: n % 2 == 0)
    total = items.reduce(lambda a, b: a + b, 100)
    both = first.join(second, evens)
    assert not any(reply.done() for reply in (items, evens, total, both))
    deferreds[0].settle(Ok([1, 2, 3, 4]))
    assert (items.get(timeout=SECONDS), evens.get(), total.get()) == ([1, 2, 3, 4], [2, 4], 110)
    assert not both.done()
    deferreds[1].settle(Ok(5))
    assert both.get(timeout=SECONDS) == [Ok([1, 2, 3, 4]), Ok(5), [2, 4]]


def test_derivation_that_raises_raises_for_every_reader_and_crashes_nobody(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = linked(probe, deferred)
    mapped = reply.map(lambda _result: 1 // 0)
    exits = reply.map(lambda _result: sys.exit(3))
    again = mapped.map(lambda number: number + 1)
    both = mapped.join(reply)
    deferred.settle(Ok(1))
    for derived in (mapped, again, both):
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                derived.get(timeout=SECONDS)
    with pytest.raises(SystemExit):
        exits.get(timeout=SECONDS)
    assert probe.ask(Ping(1)) == Ok(1)


def test_foreign_futures_cannot_be_joined(probe: GenRef) -> None:
    with pytest.raises(TypeError, match="only replies"):
        probe.ask(Ping(), block=False).join(pykka.ThreadingFuture[int]())


# Cancelling


def test_cancel_withdraws_what_was_not_taken_up(probe: GenRef) -> None:
    gate = hold_up(probe)
    deferred = Owner()
    reply = probe.ask(Later(deferred.deferred), block=False)
    assert reply.cancel() is True
    assert reply.cancel() is False
    error = error_of(reply.get())
    assert (error.kind, error.data["outcome"]) == ("cancelled", "not_sent")
    gate.set()
    assert probe.ask(Ping(1)) == Ok(1)
    assert deferred.told == []
    del reply
    assert probe.ask(Ping(1)) == Ok(1)
    assert deferred.told == [], "the handler never saw it"


def test_cancel_of_work_under_way_is_its_owners_to_settle(probe: GenRef, owner: Owner) -> None:
    reply = linked(probe, owner.deferred)
    assert reply.cancel() is True
    assert reply.cancel() is True
    assert owner.told == ["cancelled"]
    assert not reply.done()
    error = TinkexError("stopped polling", kind="cancelled", category="user", data={"outcome": "running"})
    owner.deferred.settle(Err(error))
    assert reply.get(timeout=SECONDS) == Err(error)
    assert reply.cancel() is False


def test_cancel_of_a_deferred_without_a_hook_settles_itself(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = linked(probe, deferred)
    assert reply.cancel() is True
    error = error_of(reply.get())
    assert (error.kind, error.data["outcome"]) == ("cancelled", "unknown")
    assert not probe.actor_inbox._open
    assert deferred.settle(Ok(1))
    assert error_of(reply.get()).kind == "cancelled"


def test_cancel_while_the_handler_runs_is_told_to_what_it_defers() -> None:
    gate, entered, hooked = threading.Event(), threading.Event(), Owner()

    class Slow(GenServer):
        @on(Block)
        def _block(self, message: Block) -> Deferred[int]:
            entered.set()
            message.gate.wait(SECONDS)
            return hooked.deferred

    with no_actor_left():
        ref = Slow.start()
        reply = ref.ask(Block(gate), block=False)
        assert entered.wait(SECONDS)
        assert reply.cancel() is True
        gate.set()
        assert hooked.wait() == ["cancelled"]
        hooked.deferred.settle(Ok(1))
        assert settled(reply) == Ok(1)
        ref.stop()


def test_cancel_while_the_handler_runs_changes_no_answer_that_it_gives(probe: GenRef) -> None:
    gate = threading.Event()
    reply = probe.ask(Block(gate), block=False)
    while probe.actor_inbox.current is None:
        pass
    assert reply.cancel() is True
    gate.set()
    assert settled(reply) == Ok(0)


def test_cancel_of_a_derived_reply_cancels_its_sources(probe: GenRef) -> None:
    owners = [Owner(), Owner()]
    first, second = (linked(probe, owner.deferred) for owner in owners)
    joined = first.join(second.map(lambda result: result))
    assert joined.cancel() is True
    assert [owner.told for owner in owners] == [["cancelled"], ["cancelled"]]
    for owner in owners:
        owner.deferred.settle(Ok(1))
    assert joined.get(timeout=SECONDS) == [Ok(1), Ok(1)]
    assert joined.cancel() is False


def test_stop_is_not_cancelled_by_its_future() -> None:
    gate = threading.Event()
    with no_actor_left():
        ref = Probe.start()
        ref.ask(Block(gate), block=False)
        stopped = ref.stop(block=False)
        assert stopped.cancel() is False
        gate.set()
        assert stopped.get(timeout=SECONDS) is True


def test_cancel_of_one_of_several_asks_leaves_the_others(probe: GenRef, owner: Owner) -> None:
    first, second = linked(probe, owner.deferred), linked(probe, owner.deferred)
    first.cancel()
    assert error_of(first.get()).data["outcome"] == "unknown"
    assert owner.told == []
    second.cancel()
    assert owner.told == ["cancelled"]
    owner.deferred.settle(Ok(1))
    assert settled(second) == Ok(1)


def test_cancel_races_with_being_taken_up_and_never_lies(probe: GenRef) -> None:
    class Tick(Request[int], frozen=True):
        number: int

    class Ticks(GenServer):
        def __init__(self) -> None:
            super().__init__()
            self.seen: set[int] = set()

        @on(Tick)
        def _tick(self, message: Tick) -> Result[int]:
            self.seen.add(message.number)
            return Ok(message.number)

    with no_actor_left():
        ref = Ticks.start()
        not_sent = 0
        replies: list[Reply[int]] = []
        for number in range(3000):
            replies.append(ref.ask(Tick(number), block=False))
            if number % 3 == 0:
                replies[number // 2].cancel()
                replies[number].cancel()
        seen = ref.proxy().seen.get(timeout=SECONDS)
        for number, reply in enumerate(replies):
            result = settled(reply)
            if isinstance(result, Ok):
                assert number in seen
            else:
                assert error_of(result).data["outcome"] == "not_sent"
                assert number not in seen
                not_sent += 1
        assert not_sent + len(seen) == 3000
        ref.stop()
