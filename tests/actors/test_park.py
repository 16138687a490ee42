"""The parker of real threads."""

# pyright: reportPrivateUsage=false

import threading
import time

from tinkex.actors._runtime._park import LockParker


def test_an_unpark_before_the_park_is_not_lost() -> None:
    parker = LockParker()
    parker.unpark()
    assert parker.park(60.0)


def test_several_unparks_count_as_one() -> None:
    parker = LockParker()
    parker.unpark()
    parker.unpark()
    assert parker.park(0)
    assert not parker.park(0)


def test_a_park_without_unpark_ends_with_its_timeout() -> None:
    parker = LockParker()
    begun = time.monotonic()
    assert not parker.park(0.02)
    assert time.monotonic() - begun >= 0.02
    assert not parker.park(-5.0)


def test_an_endless_timeout_is_no_overflow() -> None:
    parker = LockParker()
    parker.unpark()
    assert parker.park(float("inf"))


def test_an_unpark_that_loses_a_race_against_another_counts_as_one_with_it() -> None:
    parker = LockParker()

    class Raced:
        def locked(self) -> bool:
            parker_lock.release()  # the other thread, between the look and the release
            return True

        def release(self) -> None:
            parker_lock.release()

        def acquire(self, *, timeout: float = -1.0) -> bool:
            return parker_lock.acquire(timeout=timeout)

    parker_lock = parker._lock
    parker._lock = Raced()  # type: ignore[assignment]
    parker.unpark()
    assert parker.park(0)
    assert not parker.park(0)


def test_no_wake_up_is_lost_between_threads() -> None:
    """Two threads hand a turn to and fro; a lost wake-up would stop them."""
    rounds = 5_000
    ping, pong = LockParker(), LockParker()
    seen: list[int] = []

    def other() -> None:
        for number in range(rounds):
            assert ping.park(30.0)
            seen.append(number)
            pong.unpark()

    thread = threading.Thread(target=other)
    thread.start()
    for _ in range(rounds):
        ping.unpark()
        assert pong.park(30.0)
    thread.join()
    assert seen == list(range(rounds))


def test_what_was_written_before_unpark_is_seen_after_park() -> None:
    """Many threads post to one that parks only when it found nothing: all posts arrive."""
    parker = LockParker()
    posts: list[int] = []
    senders, each = 4, 2_000

    def send() -> None:
        for number in range(each):
            posts.append(number)
            parker.unpark()

    threads = [threading.Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    while len(posts) < senders * each:
        assert parker.park(30.0)
    for thread in threads:
        thread.join()
