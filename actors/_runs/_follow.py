"""Following the event logs of a run while they are written."""

from pathlib import Path
from typing import Any, Final

from tinkex.actors._runs._folder import refused_by_disk
from tinkex.actors._runs._history import event_logs, parse_event


class EventFollower:
    """Reads what is new in the logs of a run, each time it is asked. Blocking; one thread at a time, any process.

    A line that is not whole yet is left for later, and one that never will be is passed over. Nothing is kept of what
    was read.

    Args:
        folder: ``RunFolder.events``; it may not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder
        self._offsets: dict[Path, int] = {}

    def read(self) -> list[dict[str, Any]]:
        """Return the events since the last call, epoch by epoch, each in the order it was appended.

        Raises:
            TinkexError: kind ``run_failed``: a log cannot be read.
        """
        events: list[dict[str, Any]] = []
        for _, path in event_logs(self._folder):
            try:
                with path.open("rb") as file:
                    file.seek(self._offsets.get(path, 0))
                    whole = _whole_lines(file.read())
            except OSError as error:
                raise refused_by_disk(path, error) from error
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            events += [event for line in whole.splitlines() if (event := parse_event(line)) is not None]
        return events


def _whole_lines(raw: bytes) -> bytes:
    return raw[: raw.rfind(b"\n") + 1]
