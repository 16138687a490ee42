"""The event log: a line is whole or passed over, floats are exact, and a crash costs one line at most."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_run_store import failure
from tinkex.actors._runs._event_log import EventLog
from tinkex.actors._runs._history import committed_sequence, read_events, read_updates
from tinkex.actors._runs._plain import encode
from tinkex.actors._runs._update_record import UpdateRecord

FLOATS = st.floats()
RECORDS = st.builds(
    UpdateRecord,
    epoch=st.just(1),
    update=st.integers(1, 9),
    loss=st.none() | FLOATS,
    loss_sum=st.none() | FLOATS,
    learning_rate=st.none() | FLOATS,
    tokens=st.integers(0, 2**60),
    rows=st.lists(st.integers() | st.text(max_size=4), max_size=4),
    seconds=FLOATS,
    metrics=st.dictionaries(st.text(max_size=4).filter(lambda key: key != "$float"), FLOATS, max_size=3),
    at=FLOATS,
)


def log_of(folder: Path, epoch: int, *events: dict[str, Any]) -> None:
    log = EventLog.open(folder, epoch)
    for event in events:
        log.append(event)
    log.close()


def note(text: str) -> dict[str, Any]:
    return {"kind": "warning", "epoch": 1, "at": 0.0, "text": text}


def texts(folder: Path) -> list[Any]:
    return [event.get("text") for event in read_events(folder)]


@given(st.lists(RECORDS, max_size=5))
def test_records_are_read_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, records: list[UpdateRecord]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log_of(folder, 1, *[record.to_event() for record in records])
    found = read_updates(folder)
    assert sorted(found) == list(found)
    for update, loggings in found.items():
        appended = [encode(record.to_event()) for record in records if record.update == update]
        assert [encode(record.to_event()) for record in loggings] == appended
    assert sum(map(len, found.values())) == len(records)


def test_events_keep_their_order_over_epochs_and_are_lines_of_json(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "words" / "events"
    assert list(read_events(folder)) == []
    log_of(folder, 100_000, note("last"))
    log_of(folder, 99_999, note("second"), note("third"))
    log_of(folder, 1, note("first"))
    (folder / "e00001.jsonl.swp").write_text("{}")
    assert texts(folder) == ["first", "second", "third", "last"]
    assert (folder / "e00001.jsonl").read_bytes() == b'{"at":0.0,"epoch":1,"kind":"warning","text":"first"}\n'


def test_a_log_cut_anywhere_loses_no_line_but_the_one_that_was_cut(tmp_path: Path) -> None:
    log_of(tmp_path, 1, note("one"), note("two"))
    file = tmp_path / "e00001.jsonl"
    raw = file.read_bytes()
    first = raw.index(b"\n") + 1
    for length in range(len(raw) + 1):
        file.write_bytes(raw[:length])
        before = texts(tmp_path)
        assert before == ["one"] * (length >= first - 1) + ["two"] * (length >= len(raw) - 1)
        log_of(tmp_path, 1, note("three"))
        assert texts(tmp_path) == [*before, "three"], length


@pytest.mark.parametrize(
    "rubbish",
    [b"\0" * 64, b"\xff\xfe", b"[1]\n", b"7\n", b"NaN\n", b'{"kind":', b'{"$float":"x"}\n', b"\n\n", b"{" * 9],
)
def test_rubbish_is_passed_over(tmp_path: Path, rubbish: bytes) -> None:
    log_of(tmp_path, 1, note("one"))
    with (tmp_path / "e00001.jsonl").open("ab") as file:
        file.write(rubbish)
    log_of(tmp_path, 1, note("two"))
    assert texts(tmp_path) == ["one", "two"]


def test_one_event_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = os.write

    def tell(fd: int, raw: bytes) -> int:
        written.append(bytes(raw))
        return write(fd, raw)

    log = EventLog.open(tmp_path, 1)
    monkeypatch.setattr(os, "write", tell)
    log.append(note("one"))
    log.close()
    assert len(written) == 1
    assert written[0].endswith(b"}\n")


def test_a_full_disk_is_told_and_what_it_cut_spoils_no_later_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog.open(tmp_path, 1)
    log.append(note("one"))
    write = os.write
    room = [9]

    def full(fd: int, raw: bytes) -> int:
        take, room[0] = room[0], 0
        if take == 0:
            raise OSError(28, "No space left on device")
        return write(fd, raw[:take])

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            error = failure(log.append, note("lost"))
        assert error.kind == "run_failed"
        assert "No space left" in str(error)
        room[0] = 5
    log.append(note("two"))
    log.sync()
    log.close()
    assert texts(tmp_path) == ["one", "two"]


def test_a_disk_that_does_not_sync_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    log = EventLog.open(tmp_path, 1)
    monkeypatch.setattr(os, "fsync", broken)
    assert "Input/output error" in str(failure(log.sync))
    assert failure(EventLog.open, tmp_path, 2).kind == "run_failed"
    log.close()


def test_two_epochs_write_into_two_files(tmp_path: Path) -> None:
    zombie, taker = EventLog.open(tmp_path, 1), EventLog.open(tmp_path, 2)
    taker.append(note("taker"))
    before = (tmp_path / "e00002.jsonl").read_bytes()
    zombie.append(note("zombie"))
    assert (tmp_path / "e00002.jsonl").read_bytes() == before
    zombie.close()
    taker.close()


def test_wrong_events_and_closed_logs_are_refused(tmp_path: Path) -> None:
    log = EventLog.open(tmp_path, 1)
    assert "kind is one of" in str(failure(log.append, {"epoch": 1}))
    assert "event['rows'][0]" in str(failure(log.append, {"kind": "update", "rows": [b"x"]}))
    log.close()
    log.close()
    calls: list[Callable[[], None]] = [lambda: log.append(note("x")), log.sync]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()
    (tmp_path / "file").write_text("")
    assert failure(EventLog.open, tmp_path / "file" / "events", 1).kind == "run_failed"
    (tmp_path / "e00009.jsonl").mkdir()
    assert failure(list, read_events(tmp_path)).kind == "run_failed"
    assert failure(list, read_events(tmp_path / "file")).kind == "run_failed"


def test_a_hundred_thousand_updates_are_read_in_bounded_memory(tmp_path: Path) -> None:
    import tracemalloc

    lines = [
        b'{"at":0.0,"epoch":1,"kind":"update","loss":%d.5,"update":%d}\n' % (update, update)
        for update in range(1, 100_001)
    ]
    (tmp_path / "e00001.jsonl").write_bytes(b"".join(lines))
    del lines
    tracemalloc.start()
    try:
        total = sum(record.loss or math.nan for record in committed_sequence(tmp_path))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == sum(update + 0.5 for update in range(1, 100_001))
    assert most < 2_000_000
