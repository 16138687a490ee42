"""Replies that nobody waits for any more: timed out or dropped, and told to whoever owes them."""

import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest

from support_genserver import SECONDS, Later, Ping, Probe, error_of, no_actor_left, settled
from support_replies import Owner, hold_up, linked
from tinkex.actors import GenRef, Reply
from tinkex.protocol import Ok


@pytest.fixture
def probe() -> Iterator[GenRef]:
    with no_actor_left():
        ref = Probe.start()
        yield ref
        ref.kill()


@pytest.fixture
def owner() -> Owner:
    return Owner()


# Timeouts


def test_ask_that_runs_out_tells_the_deferred_once(probe: GenRef, owner: Owner) -> None:
    with pytest.raises(pykka.Timeout):
        probe.ask(Later(owner.deferred), timeout=0.02)
    assert owner.wait() == ["timeout"]
    owner.deferred.settle(Ok(1))
    probe.ask(Ping())
    assert owner.told == ["timeout"]


def test_ask_that_runs_out_before_its_message_is_taken_up_tells_what_the_handler_defers(
    probe: GenRef, owner: Owner
) -> None:
    gate = hold_up(probe)
    with pytest.raises(pykka.Timeout):
        probe.ask(Later(owner.deferred), timeout=0.01)
    gate.set()
    assert owner.wait() == ["timeout"]


def test_get_that_runs_out_is_the_callers_own_affair_and_what_follows_is_told(probe: GenRef, owner: Owner) -> None:
    reply = linked(probe, owner.deferred)
    for _ in range(3):
        with pytest.raises(pykka.Timeout):
            reply.get(timeout=0)
    assert owner.told == []
    reply.cancel()
    assert owner.told == ["cancelled"]
    owner.deferred.settle(Ok(1))


def test_get_after_a_timeout_may_still_read_and_then_nobody_is_told(probe: GenRef, owner: Owner) -> None:
    reply = linked(probe, owner.deferred)
    with pytest.raises(pykka.Timeout):
        reply.get(timeout=0)
    owner.deferred.settle(Ok(1))
    assert settled(reply) == Ok(1)
    del reply
    probe.ask(Ping())
    assert owner.told == []


def test_get_that_runs_out_where_others_ask_too_tells_nobody(probe: GenRef, owner: Owner) -> None:
    first, second = linked(probe, owner.deferred), linked(probe, owner.deferred)
    with pytest.raises(pykka.Timeout):
        first.get(timeout=0)
    assert owner.told == []
    owner.deferred.settle(Ok(1))
    assert settled(second) == settled(first) == Ok(1)


# Dropping


def test_reply_dropped_unread_is_told(probe: GenRef, owner: Owner) -> None:
    reply = linked(probe, owner.deferred)
    del reply
    assert owner.wait() == ["dropped"]


def test_reply_dropped_before_its_message_is_taken_up_is_told_when_it_is_deferred(probe: GenRef, owner: Owner) -> None:
    gate = hold_up(probe)
    probe.ask(Later(owner.deferred), block=False)
    gate.set()
    assert owner.wait() == ["dropped"]


def test_reply_dropped_after_it_was_settled_but_never_read_is_told(probe: GenRef, owner: Owner) -> None:
    reply = linked(probe, owner.deferred)
    owner.deferred.settle(Ok(1))
    assert reply.done()
    del reply
    assert owner.wait() == ["dropped"]


def test_reply_that_was_read_is_not_told(probe: GenRef) -> None:
    reads: list[Callable[[Reply[int]], Any]] = [
        lambda reply: reply.get(),
        lambda reply: reply.map(str).get(),
        lambda reply: reply.join(probe.ask(Ping(), block=False)).map(list).get(timeout=SECONDS),
        lambda reply: reply.add_done_callback(lambda _result: None),
    ]
    for read in reads:
        owner = Owner()
        reply = linked(probe, owner.deferred)
        owner.deferred.settle(Ok(1))
        read(reply)
        del reply
        probe.ask(Ping())
        probe.ask(Ping())
        assert owner.told == []


def test_reply_whose_callback_waits_is_not_dropped(probe: GenRef, owner: Owner) -> None:
    results: list[Any] = []
    linked(probe, owner.deferred).map(lambda result: result.unwrap()).add_done_callback(results.append)
    probe.ask(Ping())
    gc.collect()
    probe.ask(Ping())
    assert owner.told == []
    owner.deferred.settle(Ok(7))
    probe.ask(Ping())
    assert results == [7]
    assert owner.told == []


def test_derived_reply_dropped_unread_drops_its_source(probe: GenRef, owner: Owner) -> None:
    derived = linked(probe, owner.deferred).map(lambda result: result)
    probe.ask(Ping())
    assert owner.told == []
    owner.deferred.settle(Ok(1))
    assert derived.done()
    del derived
    assert owner.wait() == ["dropped"]


def test_told_message_that_is_deferred_counts_as_dropped(probe: GenRef, owner: Owner) -> None:
    probe.tell(Later(owner.deferred))
    assert owner.wait() == ["dropped"]


def test_hook_set_late_is_told_what_it_missed_and_a_bad_one_harms_nobody(probe: GenRef, owner: Owner) -> None:
    def fail(_reason: str) -> None:
        raise ValueError("bad hook")

    owner.deferred.on_abandon(fail)
    reply = linked(probe, owner.deferred)
    reply.cancel()
    late: list[str] = []
    owner.deferred.on_abandon(late.append)
    assert (owner.told, late) == (["cancelled"], ["cancelled"])
    owner.deferred.settle(Ok(1))
    assert settled(reply) == Ok(1)


def test_blocking_ask_that_is_interrupted_is_dropped(probe: GenRef, owner: Owner) -> None:
    interrupt = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        probe.ask(Later(owner.deferred))
    interrupt.join()
    assert owner.wait() == ["dropped"]
    assert probe.ask(Ping(1)) == Ok(1)


def test_garbage_collection_tells_nobody_itself_as_it_may_come_with_any_lock_held(probe: GenRef, owner: Owner) -> None:
    lock = threading.Lock()

    def hook(_reason: str) -> None:
        assert lock.acquire(timeout=SECONDS / 2)
        told.set()

    told = threading.Event()
    owner.deferred.on_abandon(hook)
    box: list[Any] = [linked(probe, owner.deferred)]
    box.append(box)
    del box
    with lock, probe.actor_inbox._lock:
        gc.collect()
        assert not told.is_set()
    assert told.wait(SECONDS)
    assert owner.wait() == ["dropped"]


def test_drop_races_with_settling_and_linking_and_is_told_once(probe: GenRef) -> None:
    owners = [Owner() for _ in range(2000)]
    for number, owner in enumerate(owners):
        reply = probe.ask(Later(owner.deferred), block=False)
        if number % 2:
            owner.deferred.settle(Ok(number))
        del reply
    probe.ask(Ping())
    for owner in owners:
        assert owner.wait() == ["dropped"]


def test_reply_of_a_dead_actor_is_dropped_quietly(owner: Owner) -> None:
    with no_actor_left():
        ref = Probe.start()
        reply = linked(ref, owner.deferred)
        ref.kill()
        assert error_of(reply.get()).kind == "actor_dead"
        del reply
        assert owner.told == []
