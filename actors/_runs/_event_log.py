"""What happened in an epoch of a run: one JSON object a line, only ever appended to.

Each epoch has a file of its own, so that a trainer that was taken over writes into none that another one reads on
from. A line is canonical JSON (``_plain``): floats are exact, NaN and the infinities are ``{"$float": "NaN"}`` and the
like. Every line has ``kind``, ``epoch`` and ``at``.

A line is in the kernel's hands when ``append`` returns, so it survives ``kill -9``. A power cut may take the last
ones: a trainer calls ``sync`` before it writes a manifest, so that a committed update is never missing here.
"""

import errno
import os
from pathlib import Path
from typing import Any, Final, Literal, get_args

from tinkex.actors._runs._durable import make_folder, sync_folder
from tinkex.actors._runs._folder import refused_by_disk
from tinkex.actors._runs._plain import encode
from tinkex.protocol import validation
from tinkex.protocol._checks import shown

EventKind = Literal[
    "began",
    "update",
    "checkpoint",
    "retired",
    "paused",
    "resumed",
    "stalled",
    "rollback",
    "warning",
    "ended",
]
"""What an event tells; ``began`` has ``update`` and ``manifest``, what the epoch goes on from, and ``reason``."""

_KINDS: Final = frozenset(get_args(EventKind))
_NEW_LINE: Final = b"\n"


class EventLog:
    """The log of one epoch, appended to by its trainer alone. Blocking; one thread at a time."""

    def __init__(self, path: Path, fd: int, *, torn: bool) -> None:
        """Go on with an open file, whose last line may be ``torn``."""
        self.path: Final = path
        self._fd: int | None = fd
        self._torn = torn

    @classmethod
    def open(cls, folder: Path, epoch: int) -> "EventLog":
        """Open the log of ``epoch`` in ``folder``, made where it is not there.

        Args:
            folder: ``RunFolder.events``.
            epoch: of the trainer that writes.

        Raises:
            TinkexError: kind ``run_failed``: the disk refuses.
        """
        path = folder / log_name(epoch)
        try:
            make_folder(folder)
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                sync_folder(folder)
                size = os.fstat(fd).st_size
                torn = size > 0 and os.pread(fd, 1, size - 1) != _NEW_LINE
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise refused_by_disk(path, error) from error
        return cls(path, fd, torn=torn)

    def append(self, event: dict[str, Any]) -> None:
        """Write ``event``, one line, in one write.

        Raises:
            TinkexError: kind ``validation``: it has no known ``kind``, or holds what JSON cannot; ``run_failed``: the
                disk refuses, and a part of the line may be written, which readers pass over.
        """
        if event.get("kind") not in _KINDS:
            raise validation(f"an event's kind is one of {', '.join(sorted(_KINDS))}, not {shown(event.get('kind'))}")
        line = encode(event, "event") + _NEW_LINE
        # A line begins anew behind one that a crash, or a full disk, cut off.
        raw = _NEW_LINE + line if self._torn else line
        fd = self._open_fd()
        try:
            written = os.write(fd, raw)
            self._torn = written < len(raw)
            if self._torn:  # a full disk says so at the next write; else a signal came in between
                written += os.write(fd, raw[written:])
                self._torn = written < len(raw)
        except OSError as error:
            raise refused_by_disk(self.path, error) from error
        if self._torn:
            raise refused_by_disk(self.path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))

    def sync(self) -> None:
        """Have all that was appended on the disk.

        Raises:
            TinkexError: kind ``run_failed``: the disk refuses.
        """
        try:
            os.fsync(self._open_fd())
        except OSError as error:
            raise refused_by_disk(self.path, error) from error

    def close(self) -> None:
        """Close the file; to append after that is a ``ValueError``. Closing twice is no error."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _open_fd(self) -> int:
        if self._fd is None:
            raise ValueError(f"the event log {self.path} is closed")
        return self._fd


def log_name(epoch: int) -> str:
    """Return the name of the file of an epoch."""
    return f"e{epoch:05d}.jsonl"
