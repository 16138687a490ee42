"""Commands between processes: durable, in order, answered once, by whoever holds the run."""

from pathlib import Path
from typing import cast

from support_run_store import RUN, a_store, failure
from tinkex.actors._runs._rows import Command, CommandName
from tinkex.actors._runs._store import RunStore


def test_a_command_waits_in_order_until_it_is_answered_once(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        store.take(RUN, reason="start")
        other = RunStore.open(tmp_path, now=lambda: 7.0)
        ids = [other.post(RUN, command) for command in ("pause", "checkpoint_now", "resume")]
        assert ids == sorted(set(ids))
        assert [(item.id, item.command, item.at) for item in store.inbox(RUN)] == [
            (ids[0], "pause", 7.0),
            (ids[1], "checkpoint_now", 7.0),
            (ids[2], "resume", 7.0),
        ]
        assert other.command(ids[1]) == Command(ids[1], RUN, "checkpoint_now", 7.0)
        assert store.answer(ids[1], 1, {"path": "tinker://r/weights/a", "loss": float("nan")})
        assert not store.answer(ids[1], 1, {"path": "another"})
        answered = other.command(ids[1])
        assert answered is not None
        assert answered.result is not None
        assert answered.result["path"] == "tinker://r/weights/a"
        assert answered.answered is not None
        assert [item.id for item in store.inbox(RUN)] == [ids[0], ids[2]]
        assert not store.answer(10**6, 1, {})
        assert store.command(10**6) is None
        other.close()


def test_the_next_trainer_sees_what_was_not_answered_but_obeys_no_old_stop(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        store.take(RUN, reason="start")
        pause, stop, now = (store.post(RUN, command) for command in ("pause", "stop", "stop_now"))
        store.take(RUN, reason="tinkex resume")
        assert [item.id for item in store.inbox(RUN)] == [pause]
        for command_id in (stop, now):
            command = store.command(command_id)
            assert command is not None
            assert command.result == {"state": "superseded"}
            assert not store.answer(command_id, 2, {"state": "stopped"})
        assert store.answer(pause, 2, {"state": "paused"})


def test_a_trainer_that_rebuilds_itself_still_obeys_a_stop(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        store.take(RUN, reason="start")
        stop = store.post(RUN, "stop")
        store.take(RUN, reason="rebuild", held=1)
        assert [item.id for item in store.inbox(RUN)] == [stop]
        assert store.answer(stop, 2, {"state": "stopped"})


def test_a_stop_for_another_run_is_left_alone(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        store.add("other", {})
        stop = store.post("other", "stop")
        store.take(RUN, reason="start")
        assert [item.id for item in store.inbox("other")] == [stop]
        assert store.inbox(RUN) == []


def test_what_cannot_be_posted_is_refused_with_what_can(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        error = failure(store.post, RUN, cast("CommandName", "explode"))
        assert error.kind == "validation"
        assert "checkpoint_now" in str(error)
        assert "no run 'nobody'" in str(failure(store.post, "nobody", "stop"))
        assert failure(store.answer, 1, 1, {"a": {1}}).kind == "validation"
        assert store.inbox(RUN) == []
