"""A child process that leads a process group of its own, from its start until it is reaped."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_STATE, _GROUP = 0, 2
"""Which words after the name in ``/proc/PID/stat`` are the state and the process group."""


class ProcessGroup:
    """A child and what it has started.

    As long as the child is not reaped, its number stands for its group and for nobody else: so signals go to the group
    only before that. POSIX only.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        """Start ``command``; it cannot read from a terminal, which would stop a group in the background.

        Raises:
            OSError: it cannot be started.
        """
        terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
        self._child: Final = subprocess.Popen(  # noqa: S603 - it is what the user asked to run
            list(command), env=dict(environ), process_group=0, stdin=subprocess.DEVNULL if terminal else None
        )
        self.pid: Final = self._child.pid

    def status(self) -> int | None:
        """Return how the child has ended, without reaping it: its status, or minus the signal; None while it runs."""
        if self._child.returncode is not None:
            return self._child.returncode
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        if info is None:
            return None
        return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status

    def signal(self, number: int) -> None:
        """Send a signal to all of the group; without effect once the child was reaped."""
        if self._child.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # PermissionError: one that changed its user
                os.killpg(self.pid, number)

    def others(self) -> list[int]:
        """Return the living members of the group beside the child; none where the system does not tell."""
        if self._child.returncode is not None:
            return []
        found: list[int] = []
        for entry in _PROC.glob("[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                pid, words = int(entry.parent.name), entry.read_bytes().rpartition(b")")[2].split()
                if pid != self.pid and int(words[_GROUP]) == self.pid and words[_STATE] not in {b"Z", b"X"}:
                    found.append(pid)
        return found

    def reap(self) -> int:
        """Wait for the child's end and let its number go; return its status, or the signal as a negative number."""
        return self._child.wait()
