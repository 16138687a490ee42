"""Which process this is, and whether another one is gone: by host, boot, number and start."""

import os
import socket
from pathlib import Path
from typing import Final, NamedTuple

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_STARTED: Final = 19
"""Which word after the name in ``/proc/PID/stat`` is the start."""


class Process(NamedTuple):
    """A process among all of all machines and times. A process number alone is soon another's."""

    host: str
    boot: str | None
    """None where the system does not tell; so is ``started``."""

    pid: int
    started: int | None

    def is_here(self) -> bool:
        """Whether it ran on this machine: the host's name says so, or, in a container of another name, the boot."""
        return self.host == socket.gethostname() or (self.boot is not None and self.boot == boot_id())

    def is_gone(self) -> bool:
        """Whether it certainly runs no more; False in doubt, and for one of another machine or container."""
        if self.host != socket.gethostname():
            return False
        here = boot_id()
        if self.boot is not None and here is not None and self.boot != here:
            return True
        if not _exists(self.pid):
            return True
        now = start_of(self.pid)
        return now is not None and self.started is not None and now != self.started


def this_process() -> Process:
    """Return the calling process."""
    return Process(socket.gethostname(), boot_id(), os.getpid(), start_of(os.getpid()))


def boot_id() -> str | None:
    """Return what tells one boot of this machine from another."""
    try:
        return _BOOT.read_text().strip() or None
    except OSError:
        return None


def start_of(pid: int) -> int | None:
    """Return when ``pid`` started, in ticks since the boot."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(words[_STARTED])
    except (OSError, ValueError, IndexError):
        return None


def _exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
