"""Point 2: nobody waits for ever; what is put is handled or answered, whoever else is at it."""

import threading
from collections import Counter
from collections.abc import Callable

import pykka
import pytest

from support_genserver import (
    SECONDS,
    Block,
    Crash,
    Later,
    Ping,
    Probe,
    error_of,
    no_actor_left,
    settled,
    switching_often,
)
from tinkex.actors import Deferred, GenRef, GenServer, Reply, on
from tinkex.protocol import Ok, Request, Result

ASKERS = 4
ROUNDS = 120
MESSAGES = 80


class Count(Request[int], frozen=True):
    """Answered at once for even numbers, by a deferred that is never settled for every seventh."""

    number: int


class Tally(GenServer):
    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    @on(Count)
    def _count(self, message: Count) -> Result[int] | Deferred[int]:
        return Deferred() if message.number % 7 == 0 else Ok(message.number)

    @on(Crash)
    def _crash(self, message: Crash) -> Result[int]:
        raise message.error

    @on(str)
    def _tell(self, message: str) -> None:
        self.told += len(message)


def _stop(ref: GenRef) -> None:
    ref.stop(block=False, shutdown=0.0)


def _crash(ref: GenRef) -> None:
    ref.ask(Crash(ValueError("race")), block=False)


def _kill(ref: GenRef) -> None:
    ref.kill()


@pytest.mark.parametrize("end", [_stop, _crash, _kill], ids=["stop", "crash", "kill"])
def test_asks_and_tells_that_race_with_the_end_are_all_accounted_for(end: Callable[[GenRef], None]) -> None:
    answers: Counter[str] = Counter()
    with no_actor_left(), switching_often():
        for turn in range(ROUNDS):
            results, replies = _one_race(end, turn)
            results += [reply.get(timeout=SECONDS) for reply in replies]  # pykka.Timeout: it would wait for ever
            answers.update("ok" if isinstance(result, Ok) else error_of(result).kind for result in results)
    assert sum(answers.values()) == ROUNDS * ASKERS * MESSAGES
    assert set(answers) <= {"ok", "actor_dead", "actor_crashed"}
    assert answers["ok"]
    assert answers["actor_crashed" if end is _crash else "actor_dead"]


def _one_race(end: Callable[[GenRef], None], turn: int) -> tuple[list[Result[int]], list[Reply[int]]]:
    actors: list[Tally] = []

    class Known(Tally):
        def on_start(self) -> None:
            actors.append(self)

    ref = Known.start()
    results: list[Result[int]] = []
    replies: list[Reply[int]] = []
    accepted = [0] * ASKERS
    barrier = threading.Barrier(ASKERS + 1)

    def ask(asker: int) -> None:
        barrier.wait(SECONDS)
        for number in range(MESSAGES):
            if number % 10 == 9:
                results.append(ref.ask(Count(1)))
            else:
                replies.append(ref.ask(Count(number), block=False))
            try:
                ref.tell("x")
            except pykka.ActorDeadError:
                continue
            accepted[asker] += 1

    threads = [threading.Thread(target=ask, args=(asker,)) for asker in range(ASKERS)]
    for thread in threads:
        thread.start()
    barrier.wait(SECONDS)
    for _ in range(turn * 10):
        ref.is_alive()
    end(ref)
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive(), "an ask was never answered"
    assert ref.join(SECONDS)
    assert sum(accepted) == actors[0].told + ref.actor_inbox.dead_letters
    return results, replies


def test_ask_of_a_dead_actor_is_an_err_with_the_reason_and_tell_and_proxy_raise() -> None:
    ref = Probe.start()
    ref.stop()
    error = error_of(ref.ask(Ping()))
    assert (error.kind, error.data["reason"]) == ("actor_dead", "normal")
    assert error_of(settled(ref.ask(Ping(), block=False))).kind == "actor_dead"
    with pytest.raises(pykka.ActorDeadError, match="has stopped"):
        ref.tell(Ping())
    with pytest.raises(pykka.ActorDeadError):
        ref.proxy()
    assert ref.stop() is False
    assert ref.kill() is False


def test_ask_of_a_crashed_actor_tells_the_crash() -> None:
    ref = Probe.start()
    ref.ask(Crash(ValueError("why")))
    error = error_of(ref.ask(Ping()))
    assert (error.kind, error.data["cause"]) == ("actor_crashed", "ValueError: why")


def test_every_waiter_is_told_by_an_error_of_its_own() -> None:
    ref = Probe.start()
    replies = [ref.ask(Later(Deferred[int]()), block=False) for _ in range(2)]
    ref.ask(Ping())
    ref.kill()
    errors = [error_of(settled(reply)) for reply in replies]
    assert errors[0] is not errors[1]


def test_kill_answers_the_running_ask_the_open_ones_and_the_queued_ones_at_once() -> None:
    gate = threading.Event()
    with no_actor_left():
        ref = Probe.start()
        deferred = ref.ask(Later(Deferred[int]()), block=False)
        running = ref.ask(Block(gate), block=False)
        queued = [ref.ask(Ping(), block=False) for _ in range(1000)]
        while ref.actor_inbox.current is None:
            pass
        ref.kill("for a test")
        assert all(reply.done() for reply in (deferred, running, *queued))
        assert error_of(running.get()).data["cause"] == "for a test"
        assert not ref.is_alive()
        assert not ref.join(0.0)
        gate.set()


def test_late_reply_of_a_killed_handler_changes_nothing() -> None:
    gate = threading.Event()
    with no_actor_left():
        ref = Probe.start()
        deferred = Deferred[int]()
        reply = ref.ask(Block(gate), block=False)
        while ref.actor_inbox.current is None:
            pass
        ref.kill()
        gate.set()
        assert ref.join(SECONDS)
        assert error_of(reply.get()).kind == "actor_dead"
        assert not deferred.settled


def test_handler_that_defers_after_the_kill_leaves_nobody_waiting() -> None:
    gate, entered = threading.Event(), threading.Event()

    class Defers(GenServer):
        @on(Block)
        def _block(self, message: Block) -> Deferred[int]:
            entered.set()
            message.gate.wait(SECONDS)
            return Deferred()

    with no_actor_left():
        ref = Defers.start()
        reply = ref.ask(Block(gate), block=False)
        assert entered.wait(SECONDS)
        ref.kill()
        gate.set()
        ref.join(SECONDS)
        assert error_of(reply.get()).kind == "actor_dead"
        assert not ref.actor_inbox._open


def test_dead_letters_count_told_messages_that_nobody_handled() -> None:
    gate = threading.Event()
    with no_actor_left():
        ref = Probe.start()
        ref.ask(Block(gate), block=False)
        while ref.actor_inbox.current is None:
            pass
        for _ in range(3):
            ref.tell(Ping())
        ref.stop(block=False)
        ref.kill()
        assert ref.actor_inbox.dead_letters == 3
        gate.set()
