"""GenServers in a seeded world: the same seed gives the same run, and every seed keeps the laws."""

import asyncio
from typing import Any

import pykka
import pytest

from support_genserver import Call, Crash, Later, Note, Ping, Probe, Stubborn, error_of, run_in
from tinkex.actors import Deferred, GenRef, Outcome
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import Ok


def _program(seed: int) -> tuple[list[str], list[str]]:
    """Two askers, one that crashes the actor and one that kills it; return the trace and the answers."""
    answers: list[str] = []
    with SeededScheduler(seed) as world:
        ref = Probe.start()

        def ask(first: int) -> None:
            for number in range(first, first + 6):
                result = ref.ask(Ping(number))
                answers.append(f"{number} {result.value if isinstance(result, Ok) else error_of(result).kind}")

        def kill() -> None:
            ref.ask(Ping(100))
            ref.kill()

        threads = [
            world.start_thread("Asker", lambda: ask(0)),
            world.start_thread("Asker", lambda: ask(10)),
            world.start_thread("Crasher", lambda: ref.tell(Crash(ValueError("seeded"))) if ref.is_alive() else None),
            world.start_thread("Killer", kill),
        ]
        for thread in threads:
            assert world.join(thread)
        assert ref.join()
    return world.trace, answers


@pytest.mark.parametrize("seed", range(15))
def test_same_seed_same_run_and_everybody_is_answered(seed: int) -> None:
    trace, answers = _program(seed)
    assert (trace, answers) == _program(seed)
    assert len(answers) == 12
    assert [line for line in trace if "ends killed" in line or "ends crashed" in line]


def test_seeds_differ_and_reach_both_ends() -> None:
    runs = {"\n".join(_program(seed)[0]) for seed in range(30)}
    assert len(runs) > 10
    assert any("ends crashed" in run for run in runs)
    assert any("ends killed" in run for run in runs)
    assert any("Probe#1: handles Ping" in run for run in runs)


def test_waits_deadlines_and_timers_pass_in_the_worlds_time() -> None:
    with SeededScheduler(3) as world:
        log: list[str] = []
        ref = Stubborn.start(log)
        reply = ref.ask(Later(Deferred[int]()), block=False)
        with pytest.raises(pykka.Timeout):
            reply.get(timeout=2.0)
        assert world.clock.monotonic() == 2.0
        with pytest.raises(pykka.Timeout):
            ref.ask(Later(Deferred[int]()), timeout=1.0)
        run_in(ref, lambda actor: actor.send_after(1.0, Note("timer")))
        assert ref.stop() is True
        assert world.clock.monotonic() == 3.0 + Stubborn.shutdown
        assert "deadline" in error_of(reply.get()).message
        assert log == ["start", "drain", "timer", "stop normal"]


def test_replies_are_awaited_and_outcomes_posted_in_the_world() -> None:
    async def work() -> int:
        await asyncio.sleep(1.5)
        return 5

    def start(actor: Any) -> Any:
        deferred = Deferred[int]()

        def made(outcome: Outcome[int]) -> Any:
            return Call(lambda _actor: Ok(deferred.settle(outcome.result())))

        actor.spawn(work(), made)
        return deferred

    with SeededScheduler(4) as world:
        ref = Probe.start()

        async def main() -> Any:
            return await ref.ask(Call(start), block=False)

        assert world.run(main()) == Ok(5)
        assert world.clock.monotonic() == 1.5
        ref.stop()


def test_dropped_reply_is_told_in_the_world() -> None:
    with SeededScheduler(5) as world:
        told: list[str] = []
        deferred = Deferred[int]()
        deferred.on_abandon(told.append)
        ref = Probe.start()
        reply = ref.ask(Later(deferred), block=False)
        world.run_until_idle()
        del reply
        world.run_until_idle()
        assert told == ["dropped"]
        ref.stop()


def test_world_that_ends_with_living_actors_answers_who_waits() -> None:
    refs: list[GenRef] = []
    log: list[str] = []

    class Starts(Probe):
        def on_start(self) -> None:
            refs.append(Probe.start(log))

    with SeededScheduler(6) as world:
        ref = Starts.start()
        assert ref.proxy().add(1).get() == 2
        reply = ref.ask(Later(Deferred[int]()), block=False)
        waiting = ref.ask(Call(lambda _actor: Ok(refs[0].join())), block=False)
        world.run_until_idle()
        assert [line for line in world.trace if line.endswith("handles add")]
    assert error_of(reply.get(timeout=0)).kind == "actor_dead"
    assert error_of(waiting.get(timeout=0)).kind == "actor_dead"
    assert not ref.is_alive()
    assert log == ["start"]
    assert error_of(refs[0].ask(Ping())).kind == "actor_dead"
    assert not pykka.ActorRegistry.get_all()
