"""The run store: one epoch holds a run, and what another one writes is not done."""

import math
import threading
from pathlib import Path
from typing import Any

import pytest

from support_run_store import RUN, a_manifest, a_store, commit, failure
from tinkex.actors._leases._process import Process, this_process
from tinkex.actors._runs._owner import owner_alive
from tinkex.actors._runs._rows import RunRow, SessionRow
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import RunStatus, manifest_name

name = manifest_name


def test_a_run_is_written_down_once_whatever_the_case_of_its_letters(tmp_path: Path) -> None:
    store = RunStore.open(tmp_path, now=lambda: 12.5)
    store.add("Words", {"rank": 4, "seed": 2**70, "rate": float("inf")})
    row = store.run("Words")
    assert row is not None
    assert (row.name, row.epoch, row.latest, row.owner, row.status) == ("Words", 0, None, None, None)
    assert (row.config, row.created) == ({"rank": 4, "seed": 2**70, "rate": float("inf")}, 12.5)
    assert (row.lr_scale, row.rollbacks, row.restoring) == (1.0, 0, None)
    for other in ("Words", "words"):
        error = failure(store.add, other, {})
        assert (error.kind, error.category) == ("conflict", "user")
        assert "'Words'" in str(error)
        assert "resume" in str(error)
    store.add("other", {})
    assert [run.name for run in store.runs()] == ["Words", "other"]
    assert store.run("words") is None
    assert failure(store.add, "../up", {}).kind == "validation"
    assert "config['a']" in str(failure(store.add, "third", {"a": {1}}))
    store.close()


def test_everything_is_there_for_the_next_process(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        taken = store.take(RUN, reason="start", lr_scale=0.5, rollbacks=2)
        commit(store, folder, a_manifest(1, 100))
        store.record_session(RUN, 1, "s1", "s1:train:0")
        store.report(RUN, 1, RunStatus(run=RUN, state="training", update=100, loss=float("nan")))
    again = RunStore.open(tmp_path, create=False)
    row = again.run(RUN)
    assert row is not None
    assert (taken.epoch, row.epoch, row.latest, row.lr_scale, row.rollbacks) == (1, 1, name(1, 100), 0.5, 2)
    assert row.owner == this_process()
    assert row.status is not None
    assert (row.status.state, row.status.update) == ("training", 100)
    assert row.status.loss is not None
    assert math.isnan(row.status.loss)
    assert again.take(RUN, reason="next").sessions == [SessionRow("s1", "s1:train:0", 1)]
    again.close()


def test_a_take_raises_the_epoch_and_tells_what_the_taker_must_know(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        first = store.take(RUN, reason="start")
        assert (first.epoch, first.latest, first.sessions, first.began) == (1, None, [], {1: None})
        assert store.record_session(RUN, 1, "s1", "m1")
        assert store.record_session(RUN, 1, "s2", "m2")
        assert store.end_session(RUN, "s1")
        assert not store.end_session(RUN, "s1")
        commit(store, folder, a_manifest(1, 100))
        second = store.take(RUN, reason="takeover")
        assert (second.epoch, second.latest) == (2, name(1, 100))
        assert second.began == store.began(RUN) == {1: None, 2: name(1, 100)}
        assert second.sessions == [SessionRow("s2", "m2", 1)]
        assert [(row.epoch, row.reason, row.began_from) for row in store.epochs(RUN)] == [
            (1, "start", None),
            (2, "takeover", name(1, 100)),
        ]
        assert store.epochs(RUN)[0].pid == this_process().pid


def test_a_trainer_that_was_taken_over_changes_nothing(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        store.take(RUN, reason="start")
        commit(store, folder, a_manifest(1, 100))
        commit(store, folder, a_manifest(1, 200))
        order = store.post(RUN, "pause")
        store.take(RUN, reason="takeover")
        before = store.run(RUN)
        folder.write_manifest(a_manifest(1, 300))
        assert not store.move_latest(RUN, 1, name(1, 300))
        assert not store.report(RUN, 1, RunStatus(run=RUN, state="failed"))
        assert not store.record_session(RUN, 1, "s9", "m9")
        assert not store.set_restoring(RUN, 1, name(1, 100))
        assert not store.retire(RUN, 1, name(1, 100), "tinker://r/weights/x")
        assert not store.fall_back(RUN, 1, name(1, 100))
        assert not store.renew(RUN, 1, name(1, 100), 5.0)
        assert not store.answer(order, 1, {"state": "paused"})
        for latest in (name(1, 100), None):
            error = failure(store.take, RUN, reason="rollback", latest=latest, held=1)
            assert (error.kind, error.retryable) == ("fenced", False)
            assert error.data == {"run": RUN, "held": 1, "epoch": 2}
        assert store.run(RUN) == before
        assert store.retired(RUN) == {}
        assert store.expiries(RUN) == {}
        assert [command.id for command in store.inbox(RUN)] == [order]
        assert store.take(RUN, reason="look").sessions == []


def test_latest_moves_forward_only_and_to_manifests_of_the_epoch(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        store.take(RUN, reason="start")
        commit(store, folder, a_manifest(1, 200))
        assert store.move_latest(RUN, 1, name(1, 200))
        assert store.move_latest(RUN, 1, name(1, 100))
        row = store.run(RUN)
        assert row is not None
        assert row.latest == name(1, 200)
        assert failure(store.move_latest, RUN, 1, name(2, 300)).kind == "validation"
        store.take(RUN, reason="rollback", latest=None)
        assert store.move_latest(RUN, 2, name(2, 10))
        row = store.run(RUN)
        assert row is not None
        assert row.latest == name(2, 10)


def test_a_roll_back_goes_along_the_line_only(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        store.take(RUN, reason="start")
        for update in (100, 200, 300):
            commit(store, folder, a_manifest(1, update))
        taken = store.take(RUN, reason="spike", latest=name(1, 100), lr_scale=0.5, rollbacks=1, held=1)
        assert (taken.latest, taken.lr_scale, taken.rollbacks) == (name(1, 100), 0.5, 1)
        for stranger in (name(1, 200), name(1, 999), name(5, 1)):
            error = failure(store.take, RUN, reason="x", latest=stranger, held=2)
            assert error.kind == "validation"
            assert stranger in str(error)
        assert store.began(RUN) == {1: None, 2: name(1, 100)}
        assert store.take(RUN, reason="anew", latest=None, held=2).latest is None
        row = store.run(RUN)
        assert row is not None
        assert (row.epoch, row.lr_scale, row.rollbacks) == (3, 0.5, 1)


def test_a_fall_back_is_a_beginning_from_an_older_manifest(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, folder):
        store.take(RUN, reason="start")
        for update in (100, 200):
            commit(store, folder, a_manifest(1, update))
        store.take(RUN, reason="takeover")
        assert store.fall_back(RUN, 2, name(1, 100))
        row = store.run(RUN)
        assert row is not None
        assert row.latest == name(1, 100)
        assert store.began(RUN) == {1: None, 2: name(1, 100)}
        assert failure(store.fall_back, RUN, 2, name(1, 200)).kind == "validation"
        commit(store, folder, a_manifest(2, 150))
        error = failure(store.fall_back, RUN, 2, name(1, 100))
        assert error.kind == "conflict"
        assert name(2, 150) in str(error)
        assert [item for item, _ in folder.lineage(name(2, 150), store.began(RUN))] == [name(2, 150), name(1, 100)]


def test_what_a_taker_gives_is_checked(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        wrong: list[dict[str, Any]] = [
            {"reason": "x", "lr_scale": float("nan")},
            {"reason": "x", "lr_scale": 0.0},
            {"reason": "x", "rollbacks": -1},
            {"reason": "x", "latest": "../x"},
        ]
        for fields in wrong:
            assert failure(store.take, RUN, **fields).kind == "validation"
        error = failure(store.take, "nobody", reason="x")
        assert error.kind == "validation"
        assert "no run 'nobody'" in str(error)
        assert store.began(RUN) == {}


def test_whatever_an_error_says_can_be_written_down(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        store.take(RUN, reason=" rebuild:\nTraceback \ud800\x00 ")
        assert [row.reason for row in store.epochs(RUN)] == ["rebuild: Traceback"]
        status = RunStatus(run=RUN, state="failed", reason="\ud800\x00\n", error={"data": {"loss": float("inf")}})
        assert store.report(RUN, 1, status)
        row = store.run(RUN)
        assert row is not None
        assert row.status == status


def test_a_status_of_a_newer_tinkex_does_not_hide_the_run(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        store.take(RUN, reason="start")
        with store._database.transaction() as change:
            change.execute("""UPDATE runs SET status = '{"run":"words","state":"dreaming"}'""")
        row = store.run(RUN)
        assert row is not None
        assert row.status is None
        assert [run.name for run in store.runs()] == [RUN]


def test_many_threads_take_one_epoch_each(tmp_path: Path) -> None:
    epochs: list[int] = []
    with a_store(tmp_path) as (store, _):

        def take() -> None:
            epochs.extend(store.take(RUN, reason="race").epoch for _ in range(5))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(epochs) == list(range(1, 41))
        assert sorted(store.began(RUN)) == sorted(epochs)


def row_of(owner: Process | None) -> RunRow:
    return RunRow(RUN, 1, None, owner, None, {}, 0.0, 1.0, 0, None)


def test_whether_the_owner_lives_is_told_where_it_can_be() -> None:
    me = this_process()
    assert owner_alive(row_of(None)) is False
    assert owner_alive(row_of(me)) is True
    assert owner_alive(row_of(me._replace(host="elsewhere"))) is None
    assert me.started is not None
    assert owner_alive(row_of(me._replace(started=me.started + 1))) is False
    assert owner_alive(row_of(me._replace(boot="another"))) is False


def test_a_killed_owner_whose_parent_sleeps_is_dead(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    from tinkex.actors._leases._process import start_of

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = this_process()._replace(pid=child.pid, started=start_of(child.pid))
    try:
        assert owner_alive(row_of(owner)) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
        assert owner_alive(row_of(owner)) is False
    finally:
        child.kill()
        child.communicate()
    assert owner_alive(row_of(owner)) is False


@pytest.mark.parametrize("method", ["runs", "inbox", "take"])
def test_a_closed_store_says_so(tmp_path: Path, method: str) -> None:
    with a_store(tmp_path) as (store, _):
        store.close()
        arguments: dict[str, tuple[Any, ...]] = {"runs": (), "inbox": (RUN,), "take": (RUN,)}
        with pytest.raises(ValueError, match="closed"):
            getattr(store, method)(*arguments[method], **({"reason": "x"} if method == "take" else {}))
