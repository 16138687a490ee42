"""The pulse of a process that trains: a small file that tells a watcher outside that it lives and gets on."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from tinkex.actors._runtime._log import log

PULSE_FILE: Final = "TINKEX_PULSE_FILE"
"""The environment variable that names the file; without it nobody outside looks, and nothing is written."""

BEAT_SECONDS: Final = 1.0
"""Between two writes, but for a new phase or state, which is told at once."""


class RunPulse(msgspec.Struct, frozen=True):
    """What one run of the process was at."""

    run: str
    update: int
    """Completed updates."""
    phase: str
    """See ``Phase``."""
    state: str
    """``RunStatus.state``, or ``RunStatus.waiting`` where the server has paused the run: what begins with ``paused``
    excuses it from getting on."""
    budget_seconds: float
    """How long the phase may take before the run's own watchdog takes it for stuck; 0 is for ever."""


class Pulse(msgspec.Struct, frozen=True):
    """What the file says."""

    pid: int
    written: float
    """Epoch seconds."""
    every_seconds: float
    """How often it is written at least, as long as there are runs."""
    runs: list[RunPulse]
    """Those that have not ended."""


class PulseFile:
    """Writes the pulse of this process; for all its trainers, from any thread.

    A file that cannot be written is logged once, and harms no run.

    Args:
        path: of the file; its folder must be there.
        every_seconds: how often each trainer beats at least.
        clock: monotonic seconds.
        wall: epoch seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        every_seconds: float = BEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path: Final = path
        self._every: Final = every_seconds
        self._clock: Final = clock
        self._wall: Final = wall
        self._lock: Final = threading.Lock()
        self._runs: dict[str, RunPulse] = {}
        self._last: float | None = None
        self._failed = False

    def beat(self, pulse: RunPulse) -> bool:
        """Take down what a run is at; return whether it was written: once a second, and at each new phase or state.

        Call it at least every ``every_seconds``, also while nothing happens: silence is taken for a frozen process.
        """
        with self._lock:
            before = self._runs.get(pulse.run)
            self._runs[pulse.run] = pulse
            known = before is not None and (before.phase, before.state) == (pulse.phase, pulse.state)
            now = self._clock()
            if known and self._last is not None and now - self._last < BEAT_SECONDS:
                return False
            return self._write(now)

    def forget(self, run: str) -> None:
        """Expect nothing of a run any more: it has ended. Where it was the last one, silence is no sign."""
        with self._lock:
            if self._runs.pop(run, None) is not None:
                self._write(self._clock())

    def _write(self, now: float) -> bool:
        pulse = Pulse(os.getpid(), self._wall(), self._every, list(self._runs.values()))
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        self._last = now
        try:
            new.write_bytes(msgspec.json.encode(pulse))
            new.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            if not self._failed:
                self._failed = True
                log(path=str(self.path)).warning("the pulse cannot be written", error=str(error))
            return False
        return True


def read_pulse(path: Path) -> Pulse | None:
    """Return what the file says, or None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pulse)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def pulse_file(environ: Mapping[str, str] | None = None) -> PulseFile | None:
    """Return the file that this process tells its pulse in, the same one each time, or None where nobody asked for it.

    Args:
        environ: the environment; None takes that of the process.
    """
    named = (os.environ if environ is None else environ).get(PULSE_FILE)
    if not named:
        return None
    with _files_lock:
        return _files.setdefault(named, PulseFile(Path(named)))


_files: Final[dict[str, PulseFile]] = {}
_files_lock = threading.Lock()


def _reset_after_fork() -> None:
    """Forget the runs of the parent process, which tells of them itself."""
    global _files_lock  # noqa: PLW0603 - another thread may have held the old one
    _files_lock = threading.Lock()
    _files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
