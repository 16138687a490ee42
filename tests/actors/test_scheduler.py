"""The seeded world: one thread runs at a time, time moves when all are idle, the seed decides the rest."""

# pyright: reportPrivateUsage=false

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

import support_world
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._runtime._turns import Player
from tinkex.actors.testing import DeadlockError, SeededScheduler

SEEDS = range(20)
PROGRAMS = sorted(support_world.PROGRAMS)
SOON = 30.0


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Generator[None]:
    before = set(threading.enumerate())
    yield
    assert {thread.name for thread in threading.enumerate() if thread not in before} <= {"tinkex-clock"}


# Repeatable


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_same_seed_gives_the_same_trace_in_every_process(program: str) -> None:
    """Whatever hashes, addresses and ids are there."""

    def traces(hash_seed: str) -> Any:
        ended = subprocess.run(
            [sys.executable, support_world.__file__, program, *map(str, SEEDS)],
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
        )
        return json.loads(ended.stdout)

    first = traces("1")
    assert first == traces("2")
    assert len(first) == len(SEEDS)
    assert first[3] == json.loads(json.dumps(support_world.PROGRAMS[program](3)))


@pytest.mark.parametrize("program", PROGRAMS)
def test_other_seeds_give_other_traces_and_the_same_results(program: str) -> None:
    runs = [support_world.PROGRAMS[program](seed) for seed in SEEDS]
    assert len({"\n".join(trace) for trace, _ in runs}) > len(SEEDS) // 2
    assert {tuple(sorted(came)) for _, came in runs} == {tuple(sorted(runs[0][1]))}


def test_the_trace_says_when_who_did_what() -> None:
    with SeededScheduler(1) as world:
        current = Runtime.current()

        def work() -> None:
            current.step("begins")
            parker = current.new_parker()
            parker.park(0.25)
            current.trace("is late")

        current.start_thread("Worker", work)
        world.run_for(1.0)
        current.trace("is satisfied")
    assert world.trace == [
        "0.000000 main: starts Worker#1",
        "0.000000 Worker#1: runs",
        "0.000000 Worker#1: begins",
        "0.250000 Worker#1: is late",
        "0.250000 Worker#1: ends",
        "0.250000 main: runs",
        "1.000000 main: is satisfied",
    ]


def test_generators_of_chance_are_seeded_and_differ_from_one_another() -> None:
    def draws(seed: int) -> list[float]:
        with SeededScheduler(seed):
            return [Runtime.current().new_random().random() for _ in range(2)]

    assert draws(1) == draws(1)
    assert len({*draws(1), *draws(2)}) == 4


# One at a time


@pytest.mark.parametrize("seed", range(5))
def test_one_thread_runs_at_a_time_and_a_step_is_where_they_change(seed: int) -> None:
    counter = [0]
    order: list[str] = []

    def count(name: str) -> None:
        for _ in range(20):
            before = counter[0]
            order.append(name)
            counter[0] = before + 1  # a lost update if anybody ran in between
            Runtime.current().step("counts")

    with SeededScheduler(seed) as world:
        for name in "abc":
            world.start_thread(name, lambda name=name: count(name))  # type: ignore[misc]
        assert counter == [0], "nobody runs before the controlling thread waits"
        world.run_until_idle()
    assert counter == [60]
    assert order not in (sorted(order), sorted(order, reverse=True))


def test_a_seed_finds_the_race_that_another_does_not() -> None:
    """What the scheduler is for: check-then-act with a step in between fails under some seeds only."""

    def overdrawn(seed: int) -> bool:
        money = [10]

        def withdraw() -> None:
            if money[0] >= 10:
                Runtime.current().step("thinks")
                money[0] -= 10

        with SeededScheduler(seed) as world:
            world.start_thread("Client", withdraw)
            world.start_thread("Client", withdraw)
            world.run_until_idle()
        return money[0] < 0

    assert {overdrawn(seed) for seed in range(20)} == {True, False}


def test_what_a_thread_held_is_finalized_in_its_own_turn() -> None:
    class Held:
        def __del__(self) -> None:
            world.note("finalizes")

    def hold(held: Held) -> Callable[[], object]:
        return lambda: world.note(f"has {type(held).__name__}")

    with SeededScheduler(1) as world:
        world.start_thread("Holder", hold(Held()))
        world.run_until_idle()
    assert [line.partition(" ")[2] for line in world.trace[2:]] == [
        "Holder#1: has Held",
        "Holder#1: finalizes",
        "Holder#1: ends",
        "main: runs",
    ]


# Parking


def test_an_unpark_before_the_park_is_kept_and_counts_once() -> None:
    with SeededScheduler(1) as world:
        parker = world.new_parker()
        parker.unpark()
        parker.unpark()
        assert parker.park()
        assert not parker.park(0)
        assert not parker.park(-1.0)
        assert world.clock.monotonic() == 0.0


def test_a_park_times_out_in_the_worlds_time_only_when_all_are_idle() -> None:
    with SeededScheduler(1) as world:
        parker = world.new_parker()
        done: list[float] = []

        def work() -> None:
            for number in range(5):
                Runtime.current().step(f"works {number}")
            done.append(world.clock.monotonic())
            world.clock.call_later(9.0, parker.unpark)

        world.start_thread("Worker", work)
        assert parker.park(10.0)
        assert (done, world.clock.monotonic()) == ([0.0], 9.0)
        assert not parker.park(10.0)
        assert world.clock.monotonic() == 19.0
        assert world.clock.pending() == 0


def test_an_unpark_by_an_outsider_before_the_player_is_parked_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer may unpark at any moment, also between the look at the permit and the wait."""
    with SeededScheduler(1) as world:
        parker = world.new_parker()
        wait = world._turns.wait

        def interrupted(player: Player, unless: Callable[[], bool]) -> None:
            parker.unpark()
            wait(player, unless)

        monkeypatch.setattr(world._turns, "wait", interrupted)
        assert parker.park()


def test_a_wake_up_meant_for_an_earlier_wait_ends_no_later_one() -> None:
    with SeededScheduler(1) as world:
        parker = world.new_parker()
        me = world._turns.current()
        world.clock.call_later(1.0, lambda: world._turns.ready(me))
        assert not parker.park(2.0)
        assert world.clock.monotonic() == 2.0


def test_two_threads_do_not_park_on_one_parker() -> None:
    with SeededScheduler(1) as world:
        parker = world.new_parker()
        world.start_thread("First", parker.park)
        world.run_until_idle()
        with pytest.raises(RuntimeError, match="First#1 parks on this parker already"):
            parker.park()


def test_an_outsider_may_unpark_but_not_park() -> None:
    refused: list[str] = []
    with SeededScheduler(1) as world:
        parker = world.new_parker()

        def outsider() -> None:
            parker.unpark()
            world.note("looks in")
            try:
                world.new_parker().park()
            except RuntimeError as error:
                refused.append(str(error))

        thread = threading.Thread(target=outsider)
        thread.start()
        thread.join()
        assert parker.park()
    assert "start_thread" in refused[0]
    assert world.trace == ["0.000000 outside: looks in"]


# Driving


def test_run_until_idle_lets_no_time_pass_and_run_for_as_much_as_it_says() -> None:
    with SeededScheduler(1) as world:
        fired: list[float] = []

        def tick() -> None:
            fired.append(world.clock.monotonic())
            world.clock.call_later(1.0, tick)  # for ever, as a heartbeat does

        world.clock.call_later(0.0, tick)
        world.run_until_idle()
        assert (fired, world.clock.monotonic()) == ([0.0], 0.0)
        world.run_for(2.5)
        assert (fired, world.clock.monotonic()) == ([0.0, 1.0, 2.0], 2.5)


def test_only_the_controlling_thread_drives() -> None:
    told: list[str] = []

    def drive() -> None:
        try:
            world.run_until_idle()
        except RuntimeError as error:
            told.append(str(error))

    with SeededScheduler(1) as world:
        world.start_thread("Worker", drive)
        world.run_until_idle()
    assert told == ["only the thread that entered a seeded world drives it"]


def test_a_deadlock_is_raised_with_the_end_of_the_trace() -> None:
    with SeededScheduler(1) as world:
        world.start_thread("Waiter", lambda: world.new_parker().park())
        with pytest.raises(DeadlockError, match=r"no timer is pending(.|\n)*Waiter#1: runs"):
            world.new_parker().park()
        world.run_until_idle()


def test_a_runaway_is_raised_with_the_end_of_the_trace() -> None:
    def spin() -> None:
        while True:
            Runtime.current().step("spins")

    with SeededScheduler(1, max_turns=100) as world:
        world.start_thread("Spinner", spin)
        with pytest.raises(RuntimeError, match=r"100 turns and no end(.|\n)*Spinner#1: spins"):
            world.run_until_idle()


def test_many_short_runs_are_no_runaway() -> None:
    with SeededScheduler(1, max_turns=100) as world:
        parker = world.new_parker()
        world.start_thread("Worker", lambda: [parker.park() for _ in range(500)])
        for _ in range(500):
            parker.unpark()
            world.run_until_idle()


def test_a_thread_that_waits_for_something_outside_is_named() -> None:
    outside = threading.Event()
    with SeededScheduler(1, patience=0.01) as world:
        thread = world.start_thread("Blocked", lambda: bool(outside.wait(SOON)))
        with pytest.raises(RuntimeError, match=r"Blocked#1 has kept its turn for 0\.01 real seconds"):
            world.run_until_idle()
        with pytest.raises(RuntimeError, match="has ended"):
            world.run_until_idle()
        outside.set()
    assert not thread.is_alive()


def test_patience_lasts_as_long_as_turns_are_taken() -> None:
    """A long run is no thread that keeps its turn."""
    with SeededScheduler(1, patience=0.02) as world:

        def work() -> None:
            for _ in range(6):
                threading.Event().wait(0.01)
                world.offer()

        world.start_thread("Slow", work)
        world.start_thread("Slow", work)
        world.run_until_idle()


def test_a_timers_bug_is_raised_where_the_world_is_driven() -> None:
    def bug() -> None:
        raise LookupError("bug")

    with SeededScheduler(1) as world:
        world.start_thread("Waiter", lambda: world.new_parker().park(5.0))
        world.clock.call_later(1.0, bug)
        with pytest.raises(LookupError):
            world.new_parker().park()
        assert world.clock.monotonic() == 1.0


def test_a_timer_acts_as_the_clock_and_may_not_wait() -> None:
    with SeededScheduler(1) as world:
        world.start_thread("Waiter", lambda: world.new_parker().park(5.0))
        world.clock.call_later(1.0, lambda: Runtime.current().trace("rings"))
        world.clock.call_later(2.0, lambda: world.new_parker().park())
        with pytest.raises(RuntimeError, match="timers must be quick"):
            world.run_for(9.0)
        assert "1.000000 clock: rings" in world.trace


def test_a_bug_of_a_thread_is_told_as_python_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def bug() -> None:
        raise LookupError("bug")

    with SeededScheduler(1) as world:
        world.start_thread("Buggy", bug)
        world.run_until_idle()
        assert [(hook.exc_type, hook.thread.name) for hook in told] == [(LookupError, "tinkex-Buggy#1")]
