"""Reading the event logs of a run: all that happened, and what of it counts.

Reading forgives what a crash leaves: a torn line, and whatever is no JSON object, is passed over. All functions read
line by line; what they hold does not grow with the length of the logs, unless they say so. Blocking; from any thread or
process, also while a trainer appends.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from tinkex.actors._runs._folder import refused_by_disk
from tinkex.actors._runs._plain import decode
from tinkex.actors._runs._update_record import UPDATE, UpdateRecord

_LOG: Final = re.compile(r"e(\d{5,18})\.jsonl", re.ASCII)
_BEGAN: Final = "began"


def read_events(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield all events, epoch by epoch, each in the order it was appended.

    Args:
        folder: ``RunFolder.events``.

    Raises:
        TinkexError: kind ``run_failed``: a log cannot be read.
    """
    for _, event in _events(folder):
        yield event


def read_updates(folder: Path) -> dict[int, list[UpdateRecord]]:
    """Return every logging of every update, in order: one that was replayed has several. Holds all of them."""
    found: dict[int, list[UpdateRecord]] = {}
    for event in read_events(folder):
        record = UpdateRecord.from_event(event)
        if record is not None:
            found.setdefault(record.update, []).append(record)
    return dict(sorted(found.items()))


def committed_sequence(folder: Path) -> Iterator[UpdateRecord]:
    """Yield the updates that the run consists of, in order, each once: as it was logged last.

    An epoch that began at update m superseded all that earlier ones logged after m, whenever they logged it: what a
    trainer appends that was taken over counts no more than what was lost or rolled back. Reads the logs twice.
    """
    ends = _ends(folder)
    last: UpdateRecord | None = None
    for segment, event in _segmented(folder):
        record = UpdateRecord.from_event(event)
        if record is None or not segment.start < record.update <= ends.get(segment, -1):
            continue
        if last is not None and last.update != record.update:
            yield last
        last = record
    if last is not None:
        yield last


class _Segment(NamedTuple):
    """What was logged from one beginning to the next."""

    epoch: int
    ordinal: int
    """Within its epoch, whose trainer may begin anew where a manifest could not be restored."""
    start: int
    """The update that it began at; those after it are its own."""


def _ends(folder: Path) -> dict[_Segment, float]:
    """Return the last update of each segment that counts: no later segment began before it."""
    ends: dict[_Segment, float] = dict.fromkeys((segment for segment, _ in _segmented(folder)), math.inf)
    least = math.inf
    for segment in reversed(ends):
        ends[segment] = least
        least = min(least, segment.start)
    return ends


def _segmented(folder: Path) -> Iterator[tuple[_Segment, dict[str, Any]]]:
    """Yield the beginnings and updates, each with its segment; an epoch's may begin with its first update."""
    segment: _Segment | None = None
    for epoch, event in _events(folder):
        kind, update = event.get("kind"), event.get("update")
        if kind not in {_BEGAN, UPDATE} or not isinstance(update, int):
            continue
        own = segment if segment is not None and segment.epoch == epoch else None
        if kind == _BEGAN or own is None:
            start = update if kind == _BEGAN else update - 1  # the line that told where it began was lost
            segment = own = _Segment(epoch, 0 if own is None else own.ordinal + 1, start)
        yield own, event


def _events(folder: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for epoch, path in event_logs(folder):
        try:
            with path.open("rb") as file:
                for line in file:
                    event = parse_event(line)
                    if event is not None:
                        yield epoch, event
        except OSError as error:
            raise refused_by_disk(path, error) from error


def parse_event(line: bytes) -> dict[str, Any] | None:
    """Return the event of a line; None where it is torn, or no event."""
    try:
        event = decode(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", event) if isinstance(event, dict) else None


def event_logs(folder: Path) -> list[tuple[int, Path]]:
    """Return each epoch that has a log, and the log, in order.

    Raises:
        TinkexError: kind ``run_failed``: the folder cannot be read.
    """
    try:
        found = [(match, path) for path in folder.iterdir() if (match := _LOG.fullmatch(path.name)) is not None]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refused_by_disk(folder, error) from error
    return sorted((int(match[1]), path) for match, path in found)
