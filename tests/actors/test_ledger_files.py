"""The state folder and the files in it: who may write there, who holds what, and disks that refuse."""

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support_ledger import URL, files, held_in, ledger, model, session
from tinkex.actors import ServiceClient
from tinkex.actors._leases import _ledger, _process
from tinkex.actors._leases._lease import LeaseBook
from tinkex.actors._leases._ledger import open_ledger
from tinkex.actors._leases._ledger_file import LedgerFile
from tinkex.actors._leases._ledger_records import FoundDead, Header, ModelReleased, SessionReleased, encode
from tinkex.actors._leases._predecessors import Estate, inherit
from tinkex.actors._leases._process import Process, boot_id, start_of, this_process
from tinkex.protocol import TinkexError


def found(folder: Path, url: str = URL, now: float = 0.0) -> Estate:
    return inherit(folder, LeaseBook(), url, lambda: now)


def let_go(estate: Estate) -> None:
    for one in estate.ledgers:
        one.end()


def test_the_folder_is_made_for_its_owner_alone_and_so_is_each_file(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "state"
    with ledger(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (file,) = files(folder)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        header = held_in(file).header
        assert header is not None
        assert (header.pid, header.base_url, header.boot) == (os.getpid(), URL, boot_id())
        assert header.started == start_of(os.getpid())


def link(path: Path) -> None:
    (path.parent / "real").mkdir(mode=0o700)
    path.symlink_to(path.parent / "real")


def dangling(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def group(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def world(path: Path) -> None:
    path.mkdir()
    path.chmod(0o702)


def strangers(path: Path) -> None:
    path.mkdir(mode=0o700)
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(path, 12345, -1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (link, "symbolic link"),
        (dangling, "cannot be made"),
        (Path.touch, "cannot be made"),
        (group, "others"),
        (world, "others"),
        (strangers, "another user"),
    ],
)
def test_a_folder_that_cannot_be_trusted_is_refused_at_the_start_of_a_client(
    tmp_path: Path, make: Any, says: str
) -> None:
    make(tmp_path / "state")
    with pytest.raises(TinkexError, match=says) as caught:
        ServiceClient.start(base_url=URL, state_dir=tmp_path / "state")
    assert (caught.value.kind, caught.value.category) == ("validation", "user")
    assert "state_dir" in caught.value.message


def test_a_disk_that_refuses_at_the_start_is_a_refused_start() -> None:
    with pytest.raises(TinkexError, match="cannot be made") as caught:
        ServiceClient.start(base_url=URL, state_dir="/proc/tinkex")
    assert caught.value.kind == "validation"


def test_a_file_that_a_living_client_holds_is_left_alone_even_by_its_own_process(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as living:
        living.note(session("a"))
        estate = found(tmp_path / "s")
        assert (estate.leases, estate.left) == ([], [])
        assert held_in(living.path).sessions
    estate = found(tmp_path / "s")
    assert [lease.session.idempotency_key for lease in estate.leases] == ["a"]
    let_go(estate)


def test_of_many_successors_at_once_one_gets_each_file(tmp_path: Path) -> None:
    for name in "abcdefgh":
        with ledger(tmp_path / "s") as dead:
            dead.note(session(name))
    gate = threading.Barrier(8)
    estates: list[Estate] = []

    def succeed() -> None:
        gate.wait()
        estates.append(found(tmp_path / "s"))

    threads = [threading.Thread(target=succeed) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [lease.session.idempotency_key for estate in estates for lease in estate.leases]
    assert sorted(keys) == list("abcdefgh")
    for estate in estates:
        let_go(estate)


def test_a_client_that_begins_while_others_look_keeps_its_file(tmp_path: Path) -> None:
    begun = threading.Event()

    def look() -> None:
        while not begun.is_set():
            assert found(tmp_path / "s").leases == []

    with ledger(tmp_path / "s"):
        lookers = [threading.Thread(target=look) for _ in range(3)]
        for looker in lookers:
            looker.start()
        made = [open_ledger(str(tmp_path / "s"), URL, lambda: 0.0) for _ in range(300)]
        begun.set()
        for looker in lookers:
            looker.join()
        assert len(files(tmp_path / "s")) == 301
        for one in made:
            assert one.path.exists()
            one.end()


def test_a_file_is_deleted_as_soon_as_nothing_in_it_is_held(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as dead:
        dead.note(session("a"), model("a", 0), session("b"))
    (one,) = found(tmp_path / "s").ledgers
    one.note(SessionReleased("a"))
    assert files(tmp_path / "s")
    one.note(SessionReleased("b"))
    assert files(tmp_path / "s") == []
    with ledger(tmp_path / "s") as dead:
        pass
    assert found(tmp_path / "s").leases == []
    assert files(tmp_path / "s") == []


def test_a_torn_line_is_ended_before_a_successor_goes_on(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as dead:
        dead.note(session("a"), session("b"))
        with dead.path.open("ab") as file:
            file.write(b'{"kind":"session_rel')
    estate = found(tmp_path / "s", now=5.0)
    estate.ledgers[0].note(SessionReleased("a"))
    let_go(estate)
    (path,) = files(tmp_path / "s")
    held = held_in(path)
    assert list(held.sessions) == ["b"]
    assert held.found_dead == 5.0


def test_when_it_was_first_found_dead_decides_when_it_has_expired(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as dead:
        dead.note(session("a"))
    for now in (100.0, 250.0):
        estate = found(tmp_path / "s", now=now)
        assert estate.leases[0].session.expires == 400.0
        let_go(estate)


def test_the_file_of_another_server_is_left_and_told_of_only_when_its_process_is_gone(tmp_path: Path) -> None:
    with ledger(tmp_path / "s", "http://127.0.0.1:2") as other:
        other.note(session("a"), model("a", 0))
    estate = found(tmp_path / "s")
    assert (estate.leases, estate.left) == ([], []), "this process may have another client for it"
    gone = (this_process().pid, (this_process().started or 0) + 1)
    header = Header("http://127.0.0.1:2", *gone, boot_id(), this_process().host, "0.1.0", 1.0)
    other.path.write_bytes(encode([header, session("a"), model("a", 0)]))
    (left,) = found(tmp_path / "s").left
    assert [(report.state, report.session_id) for report in left.reports] == [("left", None)]
    assert "http://127.0.0.1:2" in left.reports[0].reason
    assert files(tmp_path / "s") == [other.path]


@pytest.mark.parametrize("change", [{"host": "elsewhere", "boot": "another"}, {"format": 2}])
def test_what_another_machine_or_a_later_version_wrote_is_left_alone(tmp_path: Path, change: Any) -> None:
    with ledger(tmp_path / "s") as other:
        pass
    header = Header(URL, 1, 1, boot_id(), this_process().host, "9", 1.0)
    raw = encode([msgspec.structs.replace(header, **change), session("a")])
    other.path.write_bytes(raw)
    assert found(tmp_path / "s").leases == []
    assert other.path.read_bytes() == raw


def test_what_nobody_can_read_stays_and_what_nobody_began_goes(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as broken:
        pass
    broken.path.write_bytes(b"of a time to come\n")
    empty = LedgerFile.create(tmp_path / "s", "host")
    found(tmp_path / "s")
    assert empty.path.exists(), "its process is about to begin it"
    empty.close()
    strange = tmp_path / "s" / "notes.txt"
    strange.write_text("mine")
    found(tmp_path / "s")
    assert files(tmp_path / "s") == sorted([broken.path, strange])


def test_a_link_among_the_files_is_not_followed(tmp_path: Path) -> None:
    with ledger(tmp_path / "elsewhere") as dead:
        dead.note(session("a"))
    with ledger(tmp_path / "s") as gone:
        pass
    gone.path.unlink()
    gone.path.symlink_to(dead.path)
    assert found(tmp_path / "s").leases == []
    assert gone.path.is_symlink()


def test_a_record_that_the_disk_refuses_is_written_before_the_next_one(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as full:
        file = full._file
        assert file is not None
        writable, read_only = os.dup(file._fd), os.open(full.path, os.O_RDONLY)
        os.dup2(read_only, file._fd)
        full.note(session("a"))
        full.note(session("b"))
        assert held_in(full.path).sessions == {}
        os.dup2(writable, file._fd)
        full.note(model("a", 0))
        held = held_in(full.path)
        assert set(held.sessions) == {"a", "b"}
        assert set(held.sessions["a"].models) == {0}
        os.close(writable)
        os.close(read_only)


def test_a_write_that_ends_half_way_leaves_no_half_record(tmp_path: Path) -> None:
    program = """
import resource, sys
from pathlib import Path
from support_ledger import ledger, session
with ledger(Path(sys.argv[1])) as full:
    full.note(session("a"))
    size = full.path.stat().st_size
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
    full.note(session("b"))
    assert full.path.stat().st_size == size
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    full.note(session("c"))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program, tmp_path / "s"], env=environment, check=True, timeout=60)
    (path,) = files(tmp_path / "s")
    assert set(held_in(path).sessions) == {"a", "b", "c"}
    assert all(line.startswith(b'{"kind"') for line in path.read_bytes().splitlines())


def test_a_ledger_of_many_short_leases_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ledger, "REWRITE_BYTES", 4096)
    with ledger(tmp_path / "s") as long:
        long.note(session("a"))
        for number in range(200):
            long.note(model("a", number), ModelReleased("a", number))
            assert long.path.stat().st_size < 4096 + 1024
        long.note(model("a", 1000))
        assert set(held_in(long.path).sessions["a"].models) == {1000}
        assert found(tmp_path / "s").leases == [], "it is held all the time"
    assert len(found(tmp_path / "s").leases[0].inside) == 1


def test_a_draft_of_a_killed_process_is_swept(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as dead:
        dead.note(session("a"))
    draft = dead.path.with_name(dead.path.name + ".new")
    draft.write_bytes(dead.path.read_bytes())
    assert len(found(tmp_path / "s").leases) == 1
    assert not draft.exists()


def test_a_forked_child_leaves_the_file_to_its_parent_and_does_not_keep_it_from_a_successor(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as living:
        living.note(session("a"))
        ready, go_on = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            living.note(session("of-the-child"))
            living.end()
            os.write(ready[1], b"x")
            os.read(go_on[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        before = found(tmp_path / "s")
    after = found(tmp_path / "s")
    os.write(go_on[1], b"x")
    os.waitpid(child, 0)
    for end in (*ready, *go_on):
        os.close(end)
    assert before.leases == []
    assert [lease.session.idempotency_key for lease in after.leases] == ["a"]
    let_go(after)


def unknown(_pid: int) -> None:
    return None


def test_without_locks_a_file_goes_to_one_successor_once_its_process_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(_fd: int, _what: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with ledger(tmp_path / "s") as dead:
        dead.note(session("a"))
    assert found(tmp_path / "s").leases == [], "its process, this one, lives"
    me = this_process()
    path = dead.path.rename(dead.path.with_name(dead.path.name.replace(f".{me.pid}-", ".4194305-")))
    estate = found(tmp_path / "s")
    assert len(estate.leases) == 1
    assert not path.exists(), "it bears another name"
    assert found(tmp_path / "s").leases == [], "and is taken"
    estate.ledgers[0].note(SessionReleased("a"))
    assert files(tmp_path / "s") == []
    monkeypatch.setattr(_process, "start_of", unknown)
    with pytest.raises(TinkexError, match="locks"):
        open_ledger(str(tmp_path / "s"), URL, lambda: 0.0)
    assert files(tmp_path / "s") == []


def test_a_process_is_gone_by_another_boot_another_start_or_no_such_number_and_never_in_doubt() -> None:
    me = this_process()
    assert not me.is_gone()
    assert me.is_here()
    assert me._replace(boot="another").is_gone()
    assert me._replace(started=(me.started or 0) + 1).is_gone()
    assert me._replace(pid=4194305).is_gone()
    assert me._replace(pid=0).is_gone()
    assert not me._replace(started=None).is_gone()
    assert not Process("elsewhere", "another", 4194305, 1).is_gone()
    assert not Process("elsewhere", "another", me.pid, me.started).is_here()
    assert me._replace(host="a container here").is_here()
    assert not me._replace(host="a container here", pid=4194305).is_gone()


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    with ledger(tmp_path / "s") as ended:
        ended.note(session("a"))
        ended.end()
        ended.note(SessionReleased("a"), FoundDead(1.0))
        ended.end()
        assert set(held_in(ended.path).sessions) == {"a"}
