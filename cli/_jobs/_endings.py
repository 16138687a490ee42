"""What a command says of runs that have ended, and its exit status."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tinkex.actors._trainer._run_until_done import RunOutcome
from tinkex.cli._base._words import plural
from tinkex.cli._config._roots import resume_command

FAILED: Final = 1
RESUMABLE: Final = 75
"""``EX_TEMPFAIL``: the same command's `tinkex resume` goes on."""


def exit_status(statuses: Iterable[int]) -> int:
    """Return the status of a command that trained several runs: the worst of theirs, 1, then 75, then 0."""
    found = set(statuses)
    return FAILED if found - {0, RESUMABLE} else RESUMABLE if RESUMABLE in found else 0


def tell_ending(outcome: RunOutcome, root: Path, plot: Path | None) -> str:
    """Say how a run ended, and what to do next."""
    held = f"; its checkpoint is {outcome.durable_path}" if outcome.durable_path else ""
    seen = f"; its losses are drawn in {plot}" if plot is not None else ""
    command = resume_command(outcome.run, root)
    done = plural(outcome.update, "update")
    if outcome.status == 0:
        return f"the run {outcome.run} is finished after {done}{held}{seen}"
    if outcome.error is not None and outcome.error.kind == "fenced":
        return f"the run {outcome.run} was taken over after {done}, and goes on in another process{seen}"
    why = f": {outcome.error.message}" if outcome.error is not None else ""
    if outcome.status == RESUMABLE:
        return f"the run {outcome.run} is {outcome.state} after {done}{why}{held}{seen}; go on with: {command}"
    return f"the run {outcome.run} failed after {done}{why}{held}{seen}; once that is mended, go on with: {command}"


def tell_cut_short(names: Iterable[str], root: Path) -> str:
    """Say what is left of runs that were stopped at once."""
    commands = ", ".join(resume_command(name, root) for name in names)
    return f"stopped at once: what no checkpoint holds is to be done again; go on with: {commands}"
