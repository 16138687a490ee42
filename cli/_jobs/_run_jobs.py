"""Running trainers in this process until they are done, shown all the while."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import msgspec

from tinkex.actors import RunStore, TrainerConfig
from tinkex.actors._trainer._run_until_done import RunOutcome, run_until_done
from tinkex.cli._base._fail import BAD_INPUT, Failure
from tinkex.cli._base._words import plural
from tinkex.cli._jobs._endings import RESUMABLE, exit_status, tell_cut_short, tell_ending
from tinkex.cli._jobs._watcher import Watcher
from tinkex.cli._shown._display import Display, Style, make_display
from tinkex.cli._shown._display_json import print_json
from tinkex.cli._shown._loss_plot import write_loss_plot
from tinkex.cli._shown._run_told import tell
from tinkex.protocol import TinkexError


class Job(NamedTuple):
    """A run to train."""

    root: Path
    config: TrainerConfig


def run_jobs(jobs: Sequence[Job], *, style: Style, grace_seconds: float) -> int:
    """Train all runs, show them, say how they ended, and return the exit status. On the main thread.

    Raises:
        Failure: a configuration is wrong.
    """
    display = make_display(style)
    try:
        watcher = Watcher(display, [(job.root, job.config.run) for job in jobs])
    except TinkexError as error:
        display.close()
        raise Failure(error.message) from error
    for job in jobs:
        display.say(_begins(job))
    watcher.start()
    try:
        outcomes = run_until_done(
            [job.config for job in jobs],
            grace_seconds=grace_seconds,
            on_signal=lambda _name: watcher.stop_asked(),
        )
    except TinkexError as error:
        watcher.stop()
        raise Failure(error.message, BAD_INPUT if error.user_error else 1) from error
    except (KeyboardInterrupt, SystemExit):
        watcher.stop()
        display.say(tell_cut_short((job.config.run for job in jobs), jobs[0].root))
        _leave_at_once()
    except BaseException:
        watcher.stop()
        raise
    watcher.stop()
    for job, outcome in zip(jobs, outcomes, strict=True):
        _tell(display, style, job, outcome)
    return exit_status(outcome.status for outcome in outcomes)


def _begins(job: Job) -> str:
    config = job.config
    length = "" if config.program.updates is None else f", to {plural(config.program.updates, 'update')}"
    return (
        f"training {config.run}{length}: model {config.base_model} on {config.service.get('base_url')}, "
        f"kept in {job.root / config.run}"
    )


def _leave_at_once() -> NoReturn:
    """End the process without waiting for the server to take anything back: the next trainer ends its sessions."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(RESUMABLE)


def _tell(display: Display, style: Style, job: Job, outcome: RunOutcome) -> None:
    plot: Path | None = None
    try:
        plot = write_loss_plot(job.root, outcome.run)
        outcome = _with_status(outcome, job.root)
    except TinkexError as error:
        display.say(error.message)
    if style == "json":
        print_json(
            {
                "kind": "outcome",
                "run": outcome.run,
                "state": outcome.state,
                "update": outcome.update,
                "status": outcome.status,
                "durable_path": outcome.durable_path,
                "error": None if outcome.error is None else outcome.error.to_dict(),
                "plot": None if plot is None else str(plot),
            }
        )
    display.say(tell_ending(outcome, job.root, plot))


def _with_status(outcome: RunOutcome, root: Path) -> RunOutcome:
    """Return the outcome of a run that failed with where it was: its error does not tell."""
    store = RunStore.open(root)
    try:
        row = store.run(outcome.run)
    finally:
        store.close()
    if outcome.error is None or row is None:
        return outcome
    status = tell(row, root).status
    return msgspec.structs.replace(
        outcome, update=status.update, durable_update=status.durable_update, durable_path=status.durable_path
    )
