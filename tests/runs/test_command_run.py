"""Telling a run something from another process: each way in which the answer comes, or does not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support_run_store import RUN, a_store
from tinkex.actors._leases._process import Process, this_process
from tinkex.actors._runs._command import command_run, presence_of
from tinkex.actors._runs._event_log import EventLog
from tinkex.actors._runs._follow import EventFollower
from tinkex.actors._runs._rows import CommandName
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import Err, Ok, Result, RunStatus, TinkexError, validation


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with a_store(tmp_path) as (made, _):
        yield made


def take(store: RunStore, state: Any = "training") -> int:
    epoch = store.take(RUN, reason="a test").epoch
    store.report(RUN, epoch, RunStatus(run=RUN, state=state, epoch=epoch, update=7))
    return epoch


def _is_gone(_process: Process) -> bool:
    return True


def obeying(store: RunStore, act: Callable[[int], object]) -> Callable[[float], None]:
    """Return a pause in which the trainer acts on the first command."""

    def pause(_seconds: float) -> None:
        commands = store.inbox(RUN)
        if commands:
            act(commands[0].id)

    return pause


def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the process that took the run be no more."""
    monkeypatch.setattr(Process, "is_gone", _is_gone)


def ask(
    store: RunStore, command: CommandName = "stop", act: Callable[[int], object] = lambda _id: None
) -> Result[dict[str, Any]]:
    return command_run(store, RUN, command, timeout=30.0, pause=obeying(store, act))


def test_the_trainers_answer_is_the_answer(store: RunStore) -> None:
    epoch = take(store)
    answer = ask(store, "checkpoint_now", lambda number: store.answer(number, epoch, {"ok": {"update": 7}}))
    assert answer == Ok({"update": 7})
    refusal = validation("no", field="x")
    failed = ask(store, "pause", lambda number: store.answer(number, epoch, {"error": refusal.to_dict()}))
    assert failed == Err(refusal)
    assert store.inbox(RUN) == []


def test_nothing_is_posted_where_nobody_would_answer(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    never = ask(store)
    assert isinstance(never, Err)
    assert never.error.kind == "conflict"
    take(store)
    with monkeypatch.context() as patch:
        gone(patch)
        row = store.run(RUN)
        assert row is not None
        assert presence_of(row) == "gone"
        dead = ask(store)
        assert isinstance(dead, Err)
        assert "is gone" in dead.error.message
    take(store, "finished")
    over = ask(store)
    assert isinstance(over, Err)
    assert "is finished" in over.error.message
    assert store.inbox(RUN) == []


def test_a_stop_that_ended_the_process_before_it_could_answer_is_told_by_the_state(
    store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = take(store)

    def stop(_number: int) -> None:
        store.report(RUN, epoch, RunStatus(run=RUN, state="stopped", epoch=epoch, update=9, durable_update=9))
        gone(monkeypatch)

    answer = ask(store, "stop", stop)
    assert isinstance(answer, Ok)
    assert (answer.value["state"], answer.value["durable_update"]) == ("stopped", 9)


def test_a_process_that_dies_meanwhile_is_told_at_once(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    take(store)
    answer = ask(store, "checkpoint_now", lambda _number: gone(monkeypatch))
    assert isinstance(answer, Err)
    assert "ended without an answer" in answer.error.message


def test_an_answer_that_came_just_before_the_end_counts(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    epoch = take(store)

    def last_words(number: int) -> None:
        store.answer(number, epoch, {"ok": {"state": "stopped"}})
        gone(monkeypatch)

    assert ask(store, "stop", last_words) == Ok({"state": "stopped"})


def test_a_stop_of_one_that_was_taken_over_says_so(store: RunStore) -> None:
    take(store)
    answer = ask(store, "stop", lambda _number: take(store))
    assert isinstance(answer, Err)
    assert "taken over" in answer.error.message


def test_one_that_does_not_answer_in_time_is_an_await_timeout(store: RunStore) -> None:
    take(store)
    answer = command_run(store, RUN, "pause", timeout=0.0)
    assert isinstance(answer, Err)
    assert answer.error.kind == "await_timeout"
    assert not answer.error.retryable
    assert [command.command for command in store.inbox(RUN)] == ["pause"], "it is obeyed when the trainer can"


def test_a_run_of_another_host_is_asked_for_nobody_knows(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    here = this_process()
    monkeypatch.setattr(
        "tinkex.actors._runs._store.this_process", lambda: Process("far", "boot", here.pid, here.started)
    )
    epoch = take(store)
    row = store.run(RUN)
    assert row is not None
    assert presence_of(row) == "elsewhere"
    answer = ask(store, "pause", lambda number: store.answer(number, epoch, {"ok": {"update": 7}}))
    assert answer == Ok({"update": 7})


def test_an_unknown_run_or_command_is_refused(store: RunStore) -> None:
    with pytest.raises(TinkexError, match="no run 'other'"):
        command_run(store, "other", "stop")
    take(store)
    with pytest.raises(TinkexError, match="a command is one of"):
        command_run(store, RUN, "explode")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_another_configuration_is_kept_for_who_comes_next(store: RunStore) -> None:
    store.configure(RUN, {"rank": 8})
    row = store.run(RUN)
    assert row is not None
    assert row.config == {"rank": 8}
    with pytest.raises(TinkexError, match="no run"):
        store.configure("other", {})
    with pytest.raises(TinkexError, match="config"):
        store.configure(RUN, {"a": object()})


def test_a_follower_reads_each_whole_line_once_while_they_are_written(tmp_path: Path) -> None:
    follower = EventFollower(tmp_path)
    assert follower.read() == []
    first = EventLog.open(tmp_path, 1)
    first.append({"kind": "update", "update": 1})
    assert [event["update"] for event in follower.read()] == [1]
    with first.path.open("ab") as file:
        file.write(b'{"kind": "update", "upd')
        file.flush()
        assert follower.read() == [], "half a line is none"
        file.write(b'ate": 2}\nno json\n')
    second = EventLog.open(tmp_path, 2)
    second.append({"kind": "began", "update": 1})
    first.append({"kind": "update", "update": 3})
    assert [event["update"] for event in follower.read()] == [2, 3, 1], "epoch by epoch"
    assert follower.read() == []
    first.close()
    second.close()
