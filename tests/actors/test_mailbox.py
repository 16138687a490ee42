"""The mailbox: one lock for putting and closing, and nothing lost whatever interrupts it."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope

from support_genserver import SECONDS, error_of, switching_often
from tinkex.actors._genserver._envelope import Promise, Tell
from tinkex.actors._genserver._mailbox import CLOSED, CLOSED_ENVELOPE, DRAINING, STOP, Mailbox
from tinkex.actors._genserver._watch import Ending
from tinkex.actors._runtime._park import LockParker

KILLED = Ending("Probe", "urn:probe", "killed", "for a test")


class CountingParker(LockParker):
    """Counts how often somebody is woken."""

    __slots__ = ("unparks",)

    def __init__(self) -> None:
        super().__init__()
        self.unparks = 0

    def unpark(self) -> None:
        self.unparks += 1
        super().unpark()


def _mailbox() -> Mailbox:
    return Mailbox(CountingParker())


def test_messages_are_got_in_the_order_of_their_putting() -> None:
    mailbox = _mailbox()
    for number in range(5):
        assert mailbox.offer(Tell(number))
    assert [mailbox.get().message for _ in range(5)] == list(range(5))
    assert mailbox.empty() is True


def test_reader_is_woken_only_when_it_waits() -> None:
    parker = CountingParker()
    mailbox = Mailbox(parker)
    for number in range(100):
        mailbox.offer(Tell(number))
    assert parker.unparks == 0
    got: list[Any] = []
    reading = threading.Thread(target=lambda: got.extend(mailbox.get() for _ in range(101)))
    reading.start()
    while not mailbox._idle:
        pass
    mailbox.offer(Tell(100))
    reading.join(SECONDS)
    assert len(got) == 101
    assert parker.unparks == 1


def test_draining_takes_what_the_actor_posts_and_nothing_else() -> None:
    mailbox = _mailbox()
    mailbox.offer(Tell("first"))
    assert mailbox.drain() is True
    assert mailbox.drain() is False
    assert mailbox.offer(Tell("outside")) is False
    assert mailbox.offer(Tell("inside"), DRAINING) is True
    assert [mailbox.get().message for _ in range(3)] == ["first", STOP, "inside"]
    assert "stopping" in mailbox.refusal().message


def test_closing_answers_the_queued_asks_counts_the_tells_and_is_final() -> None:
    mailbox = _mailbox()
    promise = Promise("asked", mailbox)
    mailbox.offer(promise)
    mailbox.offer(Tell("told"))
    mailbox.drain()
    assert mailbox.close(KILLED) is True
    assert mailbox.close(KILLED) is False
    assert mailbox.state == CLOSED
    assert error_of(promise.read()).data["cause"] == "for a test"
    assert promise.message is None
    assert mailbox.dead_letters == 1
    assert mailbox.offer(Tell("late"), DRAINING) is False
    assert mailbox.get() is CLOSED_ENVELOPE
    assert mailbox.get() is CLOSED_ENVELOPE


def test_handled_messages_are_not_kept() -> None:
    mailbox = _mailbox()
    tell = Tell("big")
    mailbox.offer(tell)
    mailbox.offer(Tell("next"))
    mailbox.get()
    assert tell.message == "big"
    mailbox.get()
    assert tell.message is None


def test_withdrawn_ask_is_skipped_and_a_taken_one_is_not_withdrawn() -> None:
    mailbox = _mailbox()
    first, second = Promise(1, mailbox), Promise(2, mailbox)
    mailbox.offer(first)
    mailbox.offer(second)
    assert mailbox.withdraw(first) is True
    assert mailbox.withdraw(first) is False
    assert mailbox.get() is second
    assert mailbox.withdraw(second) is False


def test_withdrawn_ask_is_its_withdrawers_to_answer_not_the_closers() -> None:
    mailbox = _mailbox()
    promise = Promise(1, mailbox)
    mailbox.offer(promise)
    mailbox.withdraw(promise)
    mailbox.close(KILLED)
    assert not promise.settled


def test_envelopes_of_pykka_are_taken_and_refused_like_our_own() -> None:
    mailbox = _mailbox()
    future: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
    mailbox.put(Envelope("told"))
    mailbox.put(Envelope("asked", reply_to=future))
    assert mailbox.get().message == "told"
    asked = mailbox.get()
    asked.reply_to.set("answer")
    assert future.get(timeout=0) == "answer"
    mailbox.close(KILLED)
    with pytest.raises(pykka.ActorDeadError, match="for a test"):
        mailbox.put(Envelope("told"))
    late: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
    mailbox.put(Envelope("asked", reply_to=late))
    assert error_of(late.get(timeout=0)).kind == "actor_dead"


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_close_that_interrupts_a_put_in_the_same_thread_loses_nothing(before: bool) -> None:
    class Interrupted(deque[Any]):
        def append(self, item: Any) -> None:
            if before:
                mailbox.close(KILLED)
            super().append(item)
            if not before:
                mailbox.close(KILLED)

    mailbox = _mailbox()
    mailbox._queue = Interrupted()
    promise = Promise("asked", mailbox)
    accepted = mailbox.offer(promise)
    assert accepted is not before
    assert promise.settled is accepted
    assert mailbox.get() is CLOSED_ENVELOPE


def test_put_and_close_exclude_each_other() -> None:
    class Watched(deque[Any]):
        def append(self, item: Any) -> None:
            closing.start()
            closing.join(0.05)
            assert closing.is_alive(), "it must wait until the put is done"
            super().append(item)

        def clear(self) -> None:
            putting.start()
            putting.join(0.05)
            assert putting.is_alive(), "it must wait until the close is done"
            super().clear()

    mailbox = _mailbox()
    mailbox._queue = Watched()
    accepted: list[bool] = []
    closing = threading.Thread(target=lambda: mailbox.close(KILLED))
    putting = threading.Thread(target=lambda: accepted.append(mailbox.offer(Tell("late"))))
    promise = Promise("asked", mailbox)
    assert mailbox.offer(promise) is True
    closing.join(SECONDS)
    putting.join(SECONDS)
    assert promise.settled
    assert accepted == [False]


@pytest.mark.parametrize("interrupt", ["append", "unpark"])
def test_ctrl_c_within_a_put_never_leaves_the_reader_asleep(interrupt: str) -> None:
    class Parker(CountingParker):
        def unpark(self) -> None:
            self.unparks += 1
            if interrupt == "unpark" and self.unparks == 1:
                raise KeyboardInterrupt
            LockParker.unpark(self)

    class Queue(deque[Any]):
        def append(self, item: Any) -> None:
            super().append(item)
            if interrupt == "append" and len(self) == 1:
                raise KeyboardInterrupt

    mailbox = Mailbox(Parker())
    mailbox._queue = Queue()
    got: list[Any] = []
    reading = threading.Thread(target=lambda: got.extend(mailbox.get().message for _ in range(2)))
    reading.start()
    while not mailbox._idle:
        pass
    with pytest.raises(KeyboardInterrupt):
        mailbox.offer(Tell("interrupted"))
    mailbox.offer(Tell("next"))
    reading.join(SECONDS)
    assert not reading.is_alive()
    assert got == ["interrupted", "next"]


def test_ctrl_c_while_an_end_is_told_reaches_everybody_else_first() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    mailbox = _mailbox()
    promises = [Promise(number, mailbox) for number in range(5)]
    for promise in promises:
        mailbox.offer(promise)
    promises[1].subscribe_once(interrupt)
    told: list[int] = []
    promises[1].subscribe_once(lambda: told.append(1))
    with pytest.raises(KeyboardInterrupt):
        mailbox.close(KILLED)
    assert all(promise.settled for promise in promises)
    assert told == [1]


def _drain(mailbox: Mailbox, _ending: Ending) -> None:
    mailbox.drain()


@pytest.mark.parametrize("ending", [Mailbox.close, _drain], ids=["close", "drain"])
def test_puts_that_race_with_the_end_are_accepted_or_refused_never_lost(
    ending: Callable[[Mailbox, Ending], object],
) -> None:
    with switching_often():
        for _ in range(60):
            _race(ending)


def _race(ending: Callable[[Mailbox, Ending], object]) -> None:
    mailbox = _mailbox()
    accepted: list[Promise] = []
    refused: list[Promise] = []
    barrier = threading.Barrier(4)

    def put() -> None:
        barrier.wait(SECONDS)
        for number in range(200):
            promise = Promise(number, mailbox)
            (accepted if mailbox.offer(promise) else refused).append(promise)

    def read() -> None:
        barrier.wait(SECONDS)
        while (envelope := mailbox.get()) is not CLOSED_ENVELOPE:
            if envelope.message is STOP:
                mailbox.close(KILLED)
            else:
                envelope.set("handled")

    threads = [threading.Thread(target=put), threading.Thread(target=put), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    barrier.wait(SECONDS)
    for _ in range(50):
        mailbox.empty()
    ending(mailbox, KILLED)
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert len(accepted) + len(refused) == 400
    assert all(promise.settled for promise in accepted)
    assert not any(promise.settled for promise in refused)
