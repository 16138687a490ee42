"""What a watcher outside makes of a pulse: fine, frozen or stuck. Pure, and by the watcher's own clock alone."""

from dataclasses import dataclass, field
from typing import Final, Literal

from tinkex.actors._trainer._pulse import Pulse, RunPulse

FROZEN_SECONDS: Final = 30.0
"""The least silence that counts."""

LOOK_SECONDS: Final = 5.0
"""No more than this passes between two looks: where more did, it was the watcher itself that did not run."""

_MISSED: Final = 6
"""Beats in a row that must be missing."""
_STUCK: Final = 2.0
"""Times its own budget: the run's own watchdog, which judges by once, has had its turn by then."""
_ENDED: Final = frozenset({"finished", "stopped", "failed"})

Verdict = Literal["fine", "frozen", "stuck"]


@dataclass(frozen=True)
class Watched:
    """What was seen of a pulse so far."""

    pulse: Pulse | None
    """The last one that could be read."""
    looked: float
    """When, in the watcher's monotonic seconds."""
    silent: float = 0.0
    """Seconds since when it has not been written."""
    idle: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds since when each run has not got on, pauses not counted."""
    verdict: Verdict = "fine"
    """``frozen``: nothing is written any more though there are runs; ``stuck``: it is, and a run does not get on."""
    why: str = ""
    """In a sentence; empty where it is fine."""


def judge_pulse(
    previous: Watched | None, current: Pulse | None, now: float, frozen_seconds: float = FROZEN_SECONDS
) -> Watched:
    """Judge a pulse by what was seen before; look at least every 5 s, while the process exists.

    Until a first pulse was read, all is fine: a program that never tells one is not judged. Nor are jumps of the wall
    clock, or a time for which the watcher itself was stopped, taken for silence.

    Args:
        previous: what the last look came to; None at the first one.
        current: what the file says; None where it cannot be read.
        now: the watcher's monotonic seconds.
        frozen_seconds: the least silence that counts; a process that beats more seldom is given more.
    """
    if previous is None or previous.pulse is None:
        return Watched(current, now, idle={} if current is None else dict.fromkeys(_names(current), 0.0))
    passed = min(max(now - previous.looked, 0.0), LOOK_SECONDS)
    pulse = previous.pulse if current is None else current
    written = current is not None and (current.pid, current.written) != (previous.pulse.pid, previous.pulse.written)
    silent = 0.0 if written else previous.silent + passed
    before = {run.run: run for run in previous.pulse.runs} if previous.pulse.pid == pulse.pid else {}
    idle = {
        run.run: previous.idle.get(run.run, 0.0) + passed if _same(before.get(run.run), run) else 0.0
        for run in pulse.runs
    }
    allowed = max(frozen_seconds, _MISSED * pulse.every_seconds)
    if pulse.runs and silent > allowed:
        why = f"nothing was heard of it for {silent:.0f} s, though it runs"
        return Watched(pulse, now, silent, idle, "frozen", why)
    for run in pulse.runs:
        if run.budget_seconds > 0.0 and idle[run.run] > _STUCK * run.budget_seconds:
            why = (
                f"run {run.run} has been at {run.phase} of update {run.update} for {idle[run.run]:.0f} s, "
                f"and its budget is {run.budget_seconds:.0f} s"
            )
            return Watched(pulse, now, silent, idle, "stuck", why)
    return Watched(pulse, now, silent, idle)


def _names(pulse: Pulse) -> list[str]:
    return [run.run for run in pulse.runs]


def _same(before: RunPulse | None, run: RunPulse) -> bool:
    """Whether a run has not got on, and was not excused from it."""
    if before is None or run.state.startswith("paused") or run.state in _ENDED:
        return False
    return (before.update, before.phase, before.state) == (run.update, run.phase, run.state)
