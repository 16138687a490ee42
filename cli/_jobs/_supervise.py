"""``tinkex supervise -- CMD...``: a watcher in a process of its own, which a frozen interpreter does not freeze."""

import math
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tinkex.actors._trainer._pulse import PULSE_FILE, read_pulse
from tinkex.actors._trainer._pulse_watch import FROZEN_SECONDS, Watched, judge_pulse
from tinkex.cli._base._fail import BAD_INPUT, NOT_AS_IT_MUST_BE, Failure
from tinkex.cli._jobs._process_group import ProcessGroup
from tinkex.cli._jobs._wakes import Wakes

RESUMABLE: Final = 75
"""The status of a run that was left so that it can be resumed."""

_FINAL: Final = frozenset({0, NOT_AS_IT_MUST_BE, BAD_INPUT})
_BY_SIGNAL: Final = 128
_SOON: Final = 0.05
"""Seconds between two looks for grandchildren, whose end wakes nobody."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a command is started again, and how long it is waited for. Spans are seconds."""

    max_restarts: int = 10
    """Within ``window_seconds``; one more ends the supervision."""
    window_seconds: float = 3600.0
    grace_seconds: float = 60.0
    """From a request to end until everything of the command is killed."""
    backoff_seconds: float = 1.0
    """Before the first restart; it doubles with each one within the window."""
    max_backoff_seconds: float = 60.0
    look_seconds: float = 1.0
    """Between two looks at the pulse."""
    frozen_seconds: float = FROZEN_SECONDS
    """Silence after which a process that told a pulse is taken for frozen."""

    def check(self) -> None:
        """Refuse limits that are none.

        Raises:
            Failure: with status 2.
        """
        for name, value in vars(self).items():
            least = 0.0 if name in {"max_restarts", "backoff_seconds", "grace_seconds"} else sys.float_info.min
            if not (math.isfinite(value) and value >= least):
                raise Failure(
                    f"{name} must be a finite number {'of at least' if least == 0.0 else 'above'} 0", BAD_INPUT
                )


def run_supervise(
    command: Sequence[str], limits: Limits | None = None, say: Callable[[str], None] | None = None
) -> int:
    """Run ``command`` until it has ended for good; return the status to end with. Blocks, on the main thread.

    It is started again when a signal killed it, when it says that it can be resumed (75), and at every other status
    but 0, 1 (a final failure) and 2 (bad input); also when its pulse stops, or when a run in it does not get on for
    another reason than its training program's own work: then it is asked to end, and killed after the grace.
    SIGTERM, SIGINT and SIGHUP (as SIGTERM) are passed on to all of its process group, and the supervision ends when
    that has. Nothing but its own group is ever signalled. Should the supervising process itself be killed, the
    command runs on, unwatched.

    Args:
        command: the program and its arguments.
        limits: when, how often and how long.
        say: told one line for each event; None prints them to standard error.

    Raises:
        Failure: with status 2: ``command`` or a limit is no such thing, or it cannot be started.
    """
    if not command:
        raise Failure("supervise what? Give a command: tinkex supervise -- tinkex train run.toml", BAD_INPUT)
    if not hasattr(os, "killpg"):
        raise Failure("tinkex supervise needs process groups, which this system has not", BAD_INPUT)
    limits = limits if limits is not None else Limits()
    limits.check()
    with tempfile.TemporaryDirectory(prefix="tinkex-supervise-") as folder, Wakes() as wakes:
        return _Supervision(list(command), limits, say or _say, wakes, Path(folder) / "pulse.json").run()


class _Supervision:
    """One command through all of its lives."""

    def __init__(
        self, command: list[str], limits: Limits, say: Callable[[str], None], wakes: Wakes, pulse: Path
    ) -> None:
        self._command: Final = command
        self._limits: Final = limits
        self._say: Final = say
        self._wakes: Final = wakes
        self._pulse: Final = pulse
        self._restarts: Final = deque[float]()
        self._asked = False

    def run(self) -> int:
        """Start it, see it end, and again, until that is for good."""
        while True:
            group = self._start()
            begun = time.monotonic()
            try:
                self._attend(group)
            except BaseException:
                self._ask(group, signal.SIGTERM, None)  # nobody would watch it
                raise
            ended = group.reap()
            told = f"{_name(group)} {_ending(ended)} after {time.monotonic() - begun:.1f} s"
            status = ended if ended >= 0 else _BY_SIGNAL - ended
            if self._asked or ended in _FINAL:
                self._say(f"{told}; done")
                return status
            wait = self._backoff()
            if wait is None:
                limit, window = self._limits.max_restarts, self._limits.window_seconds
                self._say(f"{told}; giving up: restarts within {window:g} s: {limit}")
                return status
            self._say(f"{told}; starting it again in {wait:g} s")
            if not self._rest(wait):
                self._say("asked to end; not starting it again")
                return status

    def _start(self) -> ProcessGroup:
        self._pulse.unlink(missing_ok=True)
        try:
            group = ProcessGroup(self._command, {**os.environ, PULSE_FILE: str(self._pulse)})
        except (OSError, ValueError) as error:
            raise Failure(f"{self._command[0]} cannot be started: {error}", BAD_INPUT) from error
        self._say(f"started {self._command[0]} as {_name(group)}")
        return group

    def _attend(self, group: ProcessGroup) -> None:
        """Wait until the command and what it left behind have ended; ask and kill where that must be."""
        watched: Watched | None = None
        deadline: float | None = None
        while True:
            for number in self._wakes.take():
                deadline = self._pass_on(group, number, deadline)
            ended = group.status()
            if ended is not None and (not group.others() or (deadline is None and ended in _FINAL)):
                return
            now = time.monotonic()
            if deadline is None:
                watched = judge_pulse(watched, read_pulse(self._pulse), now, self._limits.frozen_seconds)
                why = f"{_name(group)} left processes behind" if ended is not None else None
                if why is None and watched.verdict != "fine":
                    why = f"{_name(group)} is {watched.verdict}: {watched.why}"
                if why is not None:
                    self._say(f"{why}; asking it to end, for up to {self._limits.grace_seconds:g} s")
                    deadline = self._ask(group, signal.SIGTERM, None)
            elif now >= deadline:
                self._say(f"{_name(group)} did not end within {self._limits.grace_seconds:g} s; killing it")
                group.signal(signal.SIGKILL)
                deadline = math.inf
            left = _SOON if ended is not None else self._limits.look_seconds
            self._wakes.wait(left if deadline is None else min(left, deadline - now))

    def _pass_on(self, group: ProcessGroup, number: signal.Signals, deadline: float | None) -> float:
        self._asked = True
        passed = signal.SIGTERM if number == signal.SIGHUP else number
        grace = f"for up to {self._limits.grace_seconds:g} s"
        self._say(f"{number.name} came; passing {passed.name} on to {_name(group)} and waiting {grace}")
        return self._ask(group, passed, deadline)

    def _ask(self, group: ProcessGroup, number: signal.Signals, deadline: float | None) -> float:
        """Send it, also to those that are stopped; return until when they are waited for."""
        group.signal(number)
        group.signal(signal.SIGCONT)
        return time.monotonic() + self._limits.grace_seconds if deadline is None else deadline

    def _backoff(self) -> float | None:
        """Return how long to wait before another start, or None where there were too many."""
        now = time.monotonic()
        while self._restarts and now - self._restarts[0] > self._limits.window_seconds:
            self._restarts.popleft()
        if len(self._restarts) >= self._limits.max_restarts:
            return None
        self._restarts.append(now)
        doubled = self._limits.backoff_seconds * 2.0 ** min(len(self._restarts) - 1, 64)
        return min(doubled, self._limits.max_backoff_seconds)

    def _rest(self, seconds: float) -> bool:
        """Wait; return False where a signal asked for an end meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0.0:
            if self._wakes.take():
                return False
            self._wakes.wait(left)
        return not self._wakes.take()


def _name(group: ProcessGroup) -> str:
    return f"process {group.pid}"


def _ending(status: int) -> str:
    if status < 0:
        try:
            return f"was killed by {signal.Signals(-status).name}"
        except ValueError:
            return f"was killed by signal {-status}"
    return f"ended with status {status}{' (resumable)' if status == RESUMABLE else ''}"


def _say(line: str) -> None:
    print(f"tinkex supervise: {line}", file=sys.stderr, flush=True)
