"""A ledger that is written anew: its draft is a file that others may find before it stands in the old one's place."""

import contextlib
import os
from pathlib import Path

import pytest

from tinkex.actors._leases import _ledger_file
from tinkex.actors._leases._ledger_file import LedgerFile


def test_a_file_written_anew_is_still_held_where_a_successor_looked_at_the_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LedgerFile.create(tmp_path, "here")
    lock, looking = _ledger_file._lock, list[int]()

    def after_a_successor(fd: int) -> _ledger_file.Locked:
        if not looking:
            (draft,) = tmp_path.glob("*.new")
            looking.append(os.open(draft, os.O_RDWR))
            assert lock(looking[0]) == "ours"
        return lock(fd)

    monkeypatch.setattr(_ledger_file, "_lock", after_a_successor)
    with contextlib.suppress(OSError):
        file.rewrite(b"new\n")
    os.close(looking[0])
    file.append(b"more\n")
    assert file.path.read_bytes().endswith(b"more\n")
    assert LedgerFile.take(file.path) is None, "its writer lives"
    file.remove()
    assert list(tmp_path.iterdir()) == []
