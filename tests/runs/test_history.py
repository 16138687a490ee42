"""What of the logs counts: each update once, as it was logged last on the line that the run went on along."""

import random as random_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._runs._event_log import EventLog
from tinkex.actors._runs._history import committed_sequence, read_updates
from tinkex.actors._runs._update_record import UpdateRecord


def began(epoch: int, update: int) -> dict[str, Any]:
    return {"kind": "began", "epoch": epoch, "update": update, "manifest": None, "reason": "test", "at": 0.0}


def done(epoch: int, update: int, loss: float = 0.0) -> dict[str, Any]:
    return UpdateRecord(epoch=epoch, update=update, loss=loss).to_event()


def write(folder: Path, logs: dict[int, list[dict[str, Any]]]) -> None:
    for epoch, events in logs.items():
        log = EventLog.open(folder, epoch)
        for event in events:
            log.append(event)
        log.close()


def committed(folder: Path) -> list[tuple[int, int]]:
    return [(record.epoch, record.update) for record in committed_sequence(folder)]


def test_a_replay_counts_once_and_its_first_logging_stays_readable(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            1: [began(1, 0), done(1, 1), done(1, 2), done(1, 3, 0.3), done(1, 4)],
            2: [began(2, 2), done(2, 3, 0.3), done(2, 4)],
        },
    )
    assert committed(tmp_path) == [(1, 1), (1, 2), (2, 3), (2, 4)]
    loggings = read_updates(tmp_path)[3]
    assert [(record.epoch, record.loss) for record in loggings] == [(1, 0.3), (2, 0.3)]


def test_what_a_zombie_logs_after_its_takeover_counts_for_nothing(tmp_path: Path) -> None:
    write(tmp_path, {1: [began(1, 0), done(1, 1), done(1, 2)], 2: [began(2, 2), done(2, 3)]})
    write(tmp_path, {1: [done(1, 3), done(1, 4), done(1, 5)]})
    assert committed(tmp_path) == [(1, 1), (1, 2), (2, 3)]


def test_a_roll_back_drops_what_it_rolled_back_of_every_epoch(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            1: [began(1, 0), *[done(1, update) for update in range(1, 5)]],
            2: [began(2, 3), done(2, 4), done(2, 5), done(2, 6)],
            3: [began(3, 1), done(3, 2)],
        },
    )
    assert committed(tmp_path) == [(1, 1), (3, 2)]


def test_an_epoch_that_began_twice_counts_from_where_it_began_last(tmp_path: Path) -> None:
    write(
        tmp_path,
        {1: [began(1, 0), done(1, 1), done(1, 2), done(1, 3)], 2: [began(2, 3), began(2, 1), done(2, 2), done(2, 3)]},
    )
    assert committed(tmp_path) == [(1, 1), (2, 2), (2, 3)]


def test_an_epoch_whose_beginning_was_lost_began_before_its_first_update(tmp_path: Path) -> None:
    write(tmp_path, {1: [done(1, 1), done(1, 2), done(1, 3)], 2: [done(2, 3), done(2, 4)]})
    assert committed(tmp_path) == [(1, 1), (1, 2), (2, 3), (2, 4)]


def test_an_update_logged_twice_by_one_epoch_counts_as_logged_last(tmp_path: Path) -> None:
    write(tmp_path, {1: [began(1, 0), done(1, 1, 0.5), done(1, 1, 0.25), done(1, 2)]})
    assert [(record.update, record.loss) for record in committed_sequence(tmp_path)] == [(1, 0.25), (2, 0.0)]


def test_events_of_a_newer_tinkex_and_broken_records_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, {1: [began(1, 0), done(1, 1)]})
    with (tmp_path / "e00001.jsonl").open("a") as file:
        file.write('{"kind":"update","epoch":1,"update":"two"}\n{"kind":"update","update":2}\n')
        file.write('{"kind":"dreamt","epoch":1,"update":9}\n{"kind":"began"}\n')
    write(tmp_path, {1: [{**done(1, 2), "colour": "red"}]})
    assert committed(tmp_path) == [(1, 1), (1, 2)]


def test_an_epoch_that_begins_while_the_logs_are_read_breaks_no_reader(tmp_path: Path) -> None:
    write(tmp_path, {2: [began(2, 0), done(2, 1), done(2, 2)]})
    reader = committed_sequence(tmp_path)
    first = next(reader)
    write(tmp_path, {3: [began(3, 1), done(3, 2)]})
    assert [(record.epoch, record.update) for record in (first, *reader)] == [(2, 1), (2, 2)]
    assert committed(tmp_path) == [(2, 1), (3, 2)]


@given(st.integers(0, 10**9))
def test_the_committed_sequence_is_that_of_the_trainer_that_holds_the_run(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    random = random_module.Random(seed)
    folder = tmp_path_factory.mktemp("events")
    logs: dict[int, list[dict[str, Any]]] = {}
    lines: dict[int, list[tuple[int, int]]] = {}  # of each epoch's trainer: its updates, each with who did it
    epoch = 0
    for _ in range(random.randrange(1, 40)):
        if epoch == 0 or random.random() < 0.2:
            line = lines.get(epoch, [])
            epoch += 1
            lines[epoch] = line[: random.randrange(len(line) + 1)]
            logs[epoch] = [began(epoch, len(lines[epoch]))]
            continue
        writer = random.choice([epoch, epoch, random.randrange(1, epoch + 1)])
        lines[writer] = [*lines[writer], (writer, len(lines[writer]) + 1)]
        logs[writer].append(done(writer, len(lines[writer])))
    write(folder, logs)
    assert committed(folder) == lines[epoch]
