"""The store's file: made whole, refused with a sentence, shared by processes, and left alone by forked children."""

import os
import sqlite3
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from support_run_store import RUN, a_store, failure
from tinkex.actors._runs import _database
from tinkex.actors._runs._database import Database
from tinkex.actors._runs._schema import APPLICATION_ID, MIGRATIONS, VERSION
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import TinkexError

TAKER = """
import sys
from tinkex.actors._runs._store import RunStore
print("ready", flush=True)
sys.stdin.readline()
store = RunStore.open(sys.argv[1])
for _ in range(int(sys.argv[2])):
    taken = store.take("words", reason="race")
    assert store.record_session("words", taken.epoch, f"s{taken.epoch}", "m") in (True, False)
    print(taken.epoch)
"""

OPENER = """
import sys
from tinkex.actors._runs._store import RunStore
print("ready", flush=True)
sys.stdin.readline()
store = RunStore.open(sys.argv[1])
store.add(sys.argv[2], {})
print(len(store.runs()) >= 1)
"""

MIDDLE = """
import sys
from tinkex.actors._runs._store import RunStore
store = RunStore.open(sys.argv[1])
with store._database.transaction() as change:
    change.execute("UPDATE runs SET epoch = 99")
    print("inside", flush=True)
    sys.stdin.readline()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def go(children: list[subprocess.Popen[str]]) -> list[str]:
    """Let all go at once when all are ready, and return what each printed then."""
    try:
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        outputs = [child.communicate(timeout=60)[0] for child in children]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert [child.returncode for child in children] == [0] * len(children)
    return outputs


def refusal(root: Path, *, create: bool = True) -> TinkexError:
    error = failure(RunStore.open, root, create)
    assert (error.kind, error.category) == ("validation", "user")
    assert str(root) in str(error)
    return error


def test_a_store_is_made_whole_in_a_folder_that_is_made_too(tmp_path: Path) -> None:
    root = tmp_path / "de ep?x=1#%41" / "runs"
    RunStore.open(root).close()
    assert [path.name for path in root.iterdir()] == ["runs.sqlite3"]
    connection = sqlite3.connect(root / "runs.sqlite3")
    pragmas = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "user_version")]
    connection.close()
    assert pragmas == ["wal", VERSION]


def test_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _), store._database.transaction() as change:
        assert change.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert change.execute("PRAGMA busy_timeout").fetchone()[0] == 30_000


def test_a_store_that_is_not_there_is_not_made_by_who_only_looks(tmp_path: Path) -> None:
    assert "is not there" in str(refusal(tmp_path / "none", create=False))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_run_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite3"
    assert "cannot be made" in str(refusal(write(tmp_path / "plain", b"x")))
    write(file, b"these are no pages of a database" * 100)
    assert "no database" in str(refusal(tmp_path))
    assert file.read_bytes().startswith(b"these")
    write(file, b"")
    assert "another program" in str(refusal(tmp_path))
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE runs (a)")
    connection.close()
    assert "another program" in str(refusal(tmp_path))
    file.unlink()
    file.mkdir()
    assert "cannot be opened" in str(refusal(tmp_path))


def test_a_root_that_can_be_no_folder_is_refused(tmp_path: Path) -> None:
    assert "cannot be reached" in str(refusal(tmp_path / ("x" * 300)))
    assert "cannot be made" in str(refusal(tmp_path / "a\0b"))


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    RunStore.open(tmp_path).close()
    for version in (VERSION + 1, 0, -1):
        connection = sqlite3.connect(tmp_path / "runs.sqlite3")
        connection.execute(f"PRAGMA user_version={version}")
        connection.close()
        assert f"is of version {version}" in str(refusal(tmp_path))
    connection = sqlite3.connect(tmp_path / "runs.sqlite3")
    assert connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    connection.close()


def test_an_older_store_is_brought_up_to_date_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with a_store(tmp_path):
        pass
    newer = (*MIGRATIONS, "ALTER TABLE runs ADD COLUMN colour TEXT; CREATE TABLE more (a INTEGER) STRICT;")
    monkeypatch.setattr(_database, "MIGRATIONS", newer)
    monkeypatch.setattr(_database, "VERSION", VERSION + 1)
    for _ in range(2):
        store = RunStore.open(tmp_path)
        assert store._database.rows("SELECT colour FROM runs") == [(None,)]
        store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do all")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "locked"
    root.mkdir(mode=0o500)
    assert "Permission denied" in str(refusal(root))
    root.chmod(0o000)
    assert "Permission denied" in str(refusal(root, create=False))
    root.chmod(0o700)


def test_a_disk_that_is_full_is_told_and_changes_nothing(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        with store._database.transaction() as change:
            pages = change.execute("PRAGMA page_count").fetchone()[0]
        store._database.rows(f"PRAGMA max_page_count={pages}")
        error = failure(store.add, "big", {"text": "x" * 100_000})
        assert error.kind == "run_failed"
        assert "full" in str(error)
        assert [run.name for run in store.runs()] == [RUN]
        assert store.take(RUN, reason="goes on").epoch == 1


def test_a_process_that_stands_still_in_mid_write_is_told_and_one_that_is_killed_is_undone(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        with start(MIDDLE, tmp_path) as child:
            assert child.stdout is not None
            try:
                assert child.stdout.readline() == "inside\n"
                database = Database(tmp_path / "runs.sqlite3", busy_seconds=0.05)
                blocked = RunStore(database, lambda: 0.0)
                assert [run.epoch for run in blocked.runs()] == [0]  # readers are not held up
                error = failure(blocked.take, RUN, reason="takeover")
                assert (error.kind, error.category) == ("conflict", "unknown")
                assert "locked" in str(error)
                blocked.close()
            finally:
                child.kill()
        assert store.take(RUN, reason="takeover").epoch == 1


def test_processes_that_take_at_once_get_one_epoch_each(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        children = [start(TAKER, tmp_path, 10) for _ in range(3)]
        outputs = go(children)
        epochs = [[int(line) for line in output.split()] for output in outputs]
        assert sorted(chain.from_iterable(epochs)) == list(range(1, 31))
        assert all(own == sorted(own) for own in epochs)
        assert sorted(store.began(RUN)) == list(range(1, 31))


def test_processes_that_make_a_store_at_once_make_one(tmp_path: Path) -> None:
    children = [start(OPENER, tmp_path / "runs", f"run{index}") for index in range(3)]
    outputs = go(children)
    assert outputs == ["True\n"] * 3
    store = RunStore.open(tmp_path / "runs", create=False)
    assert sorted(run.name for run in store.runs()) == ["run0", "run1", "run2"]
    store.close()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["runs.sqlite3"]


def test_a_forked_child_opens_its_own_connection(tmp_path: Path) -> None:
    with a_store(tmp_path) as (store, _):
        database = store._database
        before = database._connection
        database.reset_after_fork()  # what the hook does in a child
        assert store.take(RUN, reason="in the child").epoch == 1
        assert database._connection is not before
        assert before in _database._left_to_the_parent
        _database._left_to_the_parent.remove(before)
        assert before is not None
        before.close()
        database.close()
        database.reset_after_fork()
        with pytest.raises(ValueError, match="closed"):
            store.runs()


def write(file: Path, raw: bytes) -> Path:
    file.write_bytes(raw)
    return file
