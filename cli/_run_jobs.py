"""Running trainers in this process until they are done, shown all the while."""

import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from tinkex.actors import TrainerConfig
from tinkex.actors._trainer._run_until_done import RunOutcome, run_until_done
from tinkex.cli._display import Display, Style, make_display
from tinkex.cli._display_json import print_json
from tinkex.cli._endings import RESUMABLE, exit_status, tell_cut_short, tell_ending
from tinkex.cli._fail import BAD_INPUT, Failure
from tinkex.cli._loss_plot import write_loss_plot
from tinkex.cli._watcher import Watcher
from tinkex.protocol import TinkexError

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
    started = threading.Event()
    try:
        with _passing_signals(started, watcher.stop_asked):
            watcher.start()
            outcomes = run_until_done(
                [job.config for job in jobs], grace_seconds=grace_seconds, on_started=lambda _refs: started.set()
            )
    except TinkexError as error:
        watcher.stop()
        raise Failure(error.message, BAD_INPUT if error.user_error else 1) from error
    except (KeyboardInterrupt, SystemExit):
        watcher.stop()
        display.say(tell_cut_short((job.config.run for job in jobs), jobs[0].root))
        return RESUMABLE
    except BaseException:
        watcher.stop()
        raise
    watcher.stop()
    for job, outcome in zip(jobs, outcomes, strict=True):
        _tell(display, style, job, outcome)
    return exit_status(outcome.status for outcome in outcomes)


def _tell(display: Display, style: Style, job: Job, outcome: RunOutcome) -> None:
    plot: Path | None = None
    try:
        plot = write_loss_plot(job.root, outcome.run)
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


@contextmanager
def _passing_signals(started: threading.Event, tell: Callable[[], None]) -> Generator[None]:
    """Have it said that a signal came; whoever runs the trainers obeys it, and before that it ends the command."""

    def told(_number: int, _frame: FrameType | None) -> None:
        if not started.is_set():
            raise KeyboardInterrupt
        tell()

    former: dict[int, Any] = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in former.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, told)
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
