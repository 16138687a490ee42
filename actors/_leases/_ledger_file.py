"""A file that one living process holds: by a lock, which the kernel lets go of whichever way the process ends.

Where the file system has no locks, the holder is the process in the file's name, and a rename takes the file over.
"""

import contextlib
import errno
import os
import re
import stat
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from tinkex.actors._leases._process import Process, this_process

_NAME: Final = re.compile(r"[0-9a-f]{32}\.(\d{1,10})-(\d{0,20})-([0-9a-f-]{0,36})\.jsonl(\.new)?")
_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})
_OPEN: Final = os.O_RDWR | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CHUNK: Final = 1 << 20

Locked = Literal["ours", "theirs", "no locks"]


class LedgerFile:
    """An open file, appended to by this process alone. Not safe from several threads at once.

    A write is in the kernel's hands when it returns, so it survives the end of this process, ``kill -9`` included. It
    is not synced to the disk: that would cost every create milliseconds, and after a power cut a session whose record
    was lost expires without heartbeats.
    """

    def __init__(self, path: Path, fd: int, size: int, *, torn: bool = False) -> None:
        """Go on at ``size`` bytes, with a new line where the last one is ``torn``."""
        self.path = path
        self.size = size
        self._fd = fd
        self._torn = torn

    @classmethod
    def create(cls, folder: Path, host: str) -> "LedgerFile":
        """Make a file of this process in ``folder``.

        Raises:
            OSError: it cannot be made.
        """
        while True:
            path = folder / _name(this_process())
            fd = os.open(path, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
            locked = _lock(fd)
            if locked == "no locks" and not _can_tell(this_process()):
                os.close(fd)
                path.unlink(missing_ok=True)
                raise OSError(errno.ENOLCK, f"{host} has neither file locks there nor tells when a process started")
            if locked != "theirs" and _is_at(fd, path):
                return cls(path, fd, 0)
            os.close(fd)  # a successor saw it empty, and took it for a dead one's

    @classmethod
    def take(cls, path: Path) -> "tuple[LedgerFile, bytes] | None":
        """Hold the file at ``path`` and return it with its content; None where a living process does, or it is gone."""
        try:
            fd = os.open(path, _OPEN)
        except OSError:
            return None
        try:
            taken = _take(fd, path)
            raw = _read(fd) if taken is not None else b""
        except OSError:
            os.close(fd)
            return None
        if taken is None:
            os.close(fd)
            return None
        return cls(taken, fd, len(raw), torn=bool(raw) and not raw.endswith(b"\n")), raw

    def append(self, raw: bytes) -> None:
        """Write ``raw``, whole lines, at the end: all of it, or nothing that a reader would take for a line.

        Raises:
            OSError: the disk is full, or refuses.
        """
        if self._torn:
            raw = b"\n" + raw
        try:
            _write(self._fd, raw)
        except OSError:
            self._cut()
            raise
        self.size += len(raw)
        self._torn = False

    def rewrite(self, raw: bytes) -> None:
        """Put ``raw`` in the place of all that is there; at every moment the one or the other can be read.

        Raises:
            OSError: as for ``append``; all is as it was.
        """
        new = self.path.with_name(self.path.name + ".new")
        fd = os.open(new, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if _lock(fd) == "theirs":  # a successor takes it for a dead one's draft; it would hold what we go on with
                raise BlockingIOError(errno.EAGAIN, "the draft is held by another process")
            _write(fd, raw)
            new.replace(self.path)  # fails, where a successor has swept it already
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        os.close(self._fd)
        self._fd, self.size, self._torn = fd, len(raw), False

    def remove(self) -> None:
        """Delete the file and let go of it.

        Raises:
            OSError: it could not be deleted; it is let go of all the same.
        """
        try:
            self.path.unlink(missing_ok=True)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the file: it is a successor's to take. In a forked child this leaves it to the parent."""
        os.close(self._fd)

    def _cut(self) -> None:
        try:
            os.ftruncate(self._fd, self.size)
        except OSError:
            self._torn = True


def files_in(folder: Path) -> Iterator[Path]:
    """Yield the files in ``folder`` that are named like ours.

    Raises:
        OSError: the folder cannot be read.
    """
    for path in sorted(folder.iterdir()):
        if _NAME.fullmatch(path.name):
            yield path


def is_draft(path: Path) -> bool:
    """Whether ``path`` is what a ``rewrite`` left when it was killed."""
    return path.name.endswith(".new")


def read_file(path: Path) -> bytes:
    """Return the content of a file of this user's, whoever holds it; empty where there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return b""
    try:
        return _read(fd) if _is_own_file(fd) else b""
    except OSError:
        return b""
    finally:
        os.close(fd)


def _name(process: Process) -> str:
    started = "" if process.started is None else process.started
    return f"{uuid.uuid4().hex}.{process.pid}-{started}-{process.boot or ''}.jsonl"


def _can_tell(process: Process) -> bool:
    return process.started is not None and process.boot is not None


def _take(fd: int, path: Path) -> Path | None:
    if not _is_own_file(fd):
        return None
    locked = _lock(fd)
    if locked == "no locks":
        return _take_by_name(path)
    return path if locked == "ours" and _is_at(fd, path) else None


def _take_by_name(path: Path) -> Path | None:
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    me = this_process()
    pid, started, boot, draft = match.groups()
    holder = Process(me.host, boot or None, int(pid), int(started) if started else None)
    if not holder.is_gone():
        return None
    mine = path.with_name(_name(me) + (draft or ""))
    try:
        path.rename(mine)
    except OSError:
        return None
    return mine


def _is_own_file(fd: int) -> bool:
    found = os.fstat(fd)
    return stat.S_ISREG(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())


def _is_at(fd: int, path: Path) -> bool:
    """Whether ``path`` still leads to the open file."""
    try:
        there = path.lstat()
    except OSError:
        return False
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _lock(fd: int) -> Locked:
    if sys.platform == "win32":
        return "no locks"
    import fcntl  # noqa: PLC0415 - not on every system

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return "no locks" if error.errno in _NO_LOCKS else "theirs"
    return "ours"


def _read(fd: int) -> bytes:
    os.lseek(fd, 0, os.SEEK_SET)
    parts: list[bytes] = []
    while part := os.read(fd, _CHUNK):
        parts.append(part)
    return b"".join(parts)


def _write(fd: int, raw: bytes) -> None:
    left = memoryview(raw)
    while left:
        left = left[os.write(fd, left) :]
