"""The compute thread: fair, ordered, hard to kill."""

import threading
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._compute._compute import Compute
from tinkex.engine._service._executor import UNFINISHED, Executor, Job, Outcome
from tinkex.protocol import wire


class Poisons:
    """Stands where the compute part would be, and notes whom it was asked to poison."""

    def __init__(self) -> None:
        self.reasons: list[tuple[str, str]] = []

    def poison(self, model_id: str, reason: str) -> None:
        self.reasons.append((model_id, reason))


class Bench:
    """An executor and what it settled, in order."""

    def __init__(self, load: Callable[[], Any] | None = None) -> None:
        self.compute = Poisons()
        self.settled: list[tuple[str, Outcome]] = []
        self.more = threading.Condition()
        self.executor = Executor(cast("Callable[[], Compute]", load or (lambda: self.compute)), self.settle)

    def settle(self, job: Job, outcome: Outcome) -> None:
        with self.more:
            self.settled.append((job.request_id, outcome))
            self.more.notify_all()

    def put(self, model_id: str, request_id: str, work: Callable[[Any], Any] | None = None, **job: Any) -> None:
        def done(_compute: object) -> wire.UnloadModelResult:
            return wire.UnloadModelResult(model_id)

        self.executor.put(Job(request_id, work or done, model_id, f"job {request_id}", **job))

    def wait_for(self, count: int) -> list[str]:
        with self.more:
            assert self.more.wait_for(lambda: len(self.settled) >= count, timeout=20)
            return [request_id for request_id, _ in self.settled]


def test_models_take_turns_and_each_keeps_its_order() -> None:
    """A model with much work does not hold up another; a stop runs nothing more."""
    bench = Bench()
    for number in range(4):
        bench.put("a", f"a{number}")
    for number in range(2):
        bench.put("b", f"b{number}")
    bench.put("c", "c0")
    bench.executor.start()
    assert bench.wait_for(7) == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]
    bench.executor.stop()
    bench.put("a", "late")
    assert len(bench.settled) == 7


def test_dropped_jobs_do_not_run_but_the_unloading_does() -> None:
    """Only the named model's."""
    bench = Bench()
    bench.put("a", "a0")
    bench.put("a", "end", unloads=True)
    bench.put("b", "b0")
    assert [job.request_id for job in bench.executor.drop("a")] == ["a0"]
    assert bench.executor.drop("unknown") == []
    bench.executor.start()
    assert bench.wait_for(2) == ["end", "b0"]
    bench.executor.stop()


def test_failures_are_answers_and_poison_where_they_must() -> None:
    """An expected failure is passed on; a fault of the engine is told as such, and the thread lives."""

    def fail(_: Any) -> msgspec.Struct:
        raise OperationFailed("no", "user")

    def break_(_: Any) -> msgspec.Struct:
        raise ZeroDivisionError("bug")

    bench = Bench()
    bench.put("a", "1", fail)
    bench.put("a", "2", fail, poisons=True)
    bench.put("a", "3", break_, poisons=True)
    bench.put("a", "4")
    bench.executor.start()
    bench.wait_for(4)
    bench.executor.stop()
    outcomes = dict(bench.settled)
    first, third = outcomes["1"], outcomes["3"]
    assert isinstance(first, OperationFailed)
    assert (first.message, first.category) == ("no", "user")
    assert isinstance(third, OperationFailed)
    assert (third.message, third.category) == ("job 3 broke in the engine: ZeroDivisionError: bug", "server")
    assert isinstance(outcomes["4"], wire.UnloadModelResult)
    assert bench.compute.reasons == [("a", "job 2 failed: no"), ("a", f"job 3 failed: {third.message}")]


def test_where_the_compute_part_cannot_be_loaded_everybody_is_told() -> None:
    """Nobody waits for ever."""

    def load() -> Any:
        raise ImportError("no torch")

    bench = Bench(load)
    bench.put("a", "1")
    bench.executor.start()
    bench.wait_for(1)
    bench.executor.stop()
    ((_, outcome),) = bench.settled
    assert isinstance(outcome, OperationFailed)
    assert (outcome.message, outcome.category) == ("the engine cannot compute: ImportError: no torch", "server")


@pytest.mark.parametrize("started", [False, True])
def test_stopping_is_possible_at_any_time(started: bool) -> None:
    """Even before it began."""
    bench = Bench()
    if started:
        bench.executor.start()
    bench.executor.stop()


def test_unfinished_work_waits_for_its_next_turn_and_keeps_its_place() -> None:
    """Others go between its turns; what is queued behind it in its lane does not."""
    bench = Bench()
    turns: list[str] = []

    def long(_compute: object) -> Any:
        turns.append("long")
        return UNFINISHED if len(turns) < 6 else wire.UnloadModelResult("a")

    def short(_compute: object) -> Any:
        turns.append("short")
        return wire.UnloadModelResult("b")

    bench.put("a", "a0", long)
    bench.put("a", "a1")
    for number in range(2):
        bench.put("b", f"b{number}", short)
    bench.executor.start()
    assert bench.wait_for(4) == ["b0", "b1", "a0", "a1"]
    assert turns == ["long", "short", "long", "short", "long", "long"]
    bench.executor.stop()


def test_unfinished_work_is_not_taken_up_again_after_a_stop() -> None:
    bench = Bench()
    entered = threading.Event()

    def endless(_compute: object) -> Any:
        entered.set()
        return UNFINISHED

    bench.put("a", "a0", endless)
    bench.executor.start()
    assert entered.wait(20)
    bench.executor.stop()
    assert bench.settled == []
