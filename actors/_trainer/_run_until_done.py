"""Runs from the first to the last update on the main thread: supervised, and stopped in order by a signal."""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Reply
from tinkex.actors._supervision._named_ref import NamedRef, named
from tinkex.actors._supervision._supervisor import Supervisor
from tinkex.actors._trainer._config import TrainerConfig
from tinkex.actors._trainer._signals import Signals
from tinkex.actors._trainer._trainer import Trainer
from tinkex.actors._trainer._verdicts import is_resumable
from tinkex.protocol import ChildSpec, Err, Ok, Result, RunState, TinkexError, messages, validation
from tinkex.protocol._checks import check_number
from tinkex.protocol.replies import StoppedRun

FINISHED: Final = 0
FAILED: Final = 1
RESUMABLE: Final = 75
"""The run has not finished, and the same command goes on with it: ``EX_TEMPFAIL`` of ``sysexits.h``."""

MAX_RESTARTS: Final = 3
RESTART_SECONDS: Final = 60.0
_RESERVE: Final = 0.25
"""Of the grace period, what is kept for giving back what is held on the server."""

_RESTARTED: Final = frozenset({"crashed", "killed"})


class RunOutcome(msgspec.Struct, frozen=True):
    """How a run was left."""

    run: str
    state: RunState
    update: int
    status: int
    """For the process to exit with: 0 finished, 75 to be resumed, 1 failed, and somebody must look at it, or taken over
    by another trainer."""
    durable_update: int | None = None
    durable_path: str | None = None
    error: TinkexError | None = None


def trainer_spec(config: TrainerConfig, *, shutdown: float = 60.0) -> ChildSpec:
    """Return the specification of a supervised trainer: started again after a crash, when it restores its run.

    Its ``id`` is the run's name, its registered name ``trainer_name(config)``.
    """
    return ChildSpec(
        config.run, Trainer, args=(config,), restart="transient", shutdown=shutdown, name=trainer_name(config)
    )


def trainer_name(config: TrainerConfig) -> str:
    """Return the registered name of the trainer of a run."""
    return f"trainer of {config.run} in {Path(config.root).absolute()}"


def run_until_done(
    configs: TrainerConfig | Sequence[TrainerConfig],
    *,
    grace_seconds: float = 30.0,
    on_started: Callable[[list[NamedRef]], object] | None = None,
    on_signal: Callable[[str], object] | None = None,
) -> list[RunOutcome]:
    """Run each configuration to its end, side by side; to be called on the main thread, which waits.

    SIGTERM or SIGINT stops the runs so that they can be resumed: a checkpoint is committed, where the policy's
    ``on_stop`` wants one, and what is held on the server given back, within ``grace_seconds``. A second one ends at
    once, by ``KeyboardInterrupt`` or ``SystemExit``. The handlers of before are called too, and are back afterwards.

    Args:
        configs: of the runs, each with a name of its own.
        grace_seconds: from the signal to the end.
        on_started: told the addresses of the trainers, which reach them over restarts.
        on_signal: told the name of the first signal, on the main thread, outside of the handler.

    Returns:
        How each run was left, in their order.

    Raises:
        TinkexError: kind ``validation``: it is not the main thread, or two runs have one name; or what a trainer's
            start failed with, when none of them runs.
    """
    runs = [configs] if isinstance(configs, TrainerConfig) else list(configs)
    error = check_number("grace_seconds", grace_seconds, above=0.0)
    names = [config.run for config in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if error is None and twice is not None:
        error = validation(f"two configurations are of a run {twice!r}: give each a name of its own", field="run")
    if error is not None:
        raise error
    with Wakeups() as wakeups, Signals(lambda _name: wakeups.wake()) as signals:
        supervisor = Supervisor.start(max_restarts=MAX_RESTARTS * max(len(runs), 1), max_seconds=RESTART_SECONDS)
        try:
            return _Runs(supervisor, runs, wakeups, signals, grace_seconds, on_signal).run(on_started)
        except BaseException:
            supervisor.kill()
            raise
        finally:
            if supervisor.is_alive():
                supervisor.stop(shutdown=max(grace_seconds * _RESERVE, 1.0))


class Wakeups:
    """Lets other threads and signal handlers wake the one that waits here. Takes no lock, so that a handler may."""

    def __enter__(self) -> Self:
        """Open the pair of sockets."""
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        return self

    def __exit__(self, *_error: object) -> None:
        """Close it; a wake that comes later is lost, as it should be."""
        self._reader.close()
        self._writer.close()

    def wake(self) -> None:
        """Wake who waits, or who waits next. Any thread, any handler."""
        with contextlib.suppress(OSError):  # full: it is awake already; closed: nobody waits any more
            self._writer.send(b"w")

    def wait(self, seconds: float | None) -> None:
        """Wait until somebody wakes, or ``seconds`` have passed."""
        select.select([self._reader], [], [], seconds)
        with contextlib.suppress(OSError):
            while self._reader.recv(4096):
                pass


class _Runs:
    """The runs on the main thread."""

    def __init__(
        self,
        supervisor: GenRef[Any],
        configs: list[TrainerConfig],
        wakeups: Wakeups,
        signals: Signals,
        grace_seconds: float,
        on_signal: Callable[[str], object] | None,
    ) -> None:
        self._supervisor = supervisor
        self._configs = configs
        self._wakeups = wakeups
        self._signals = signals
        self._grace = grace_seconds
        self._on_signal = on_signal
        self._saves = {config.run: config.checkpoints.on_stop for config in configs}
        self._open: dict[str, NamedRef] = {}
        self._waits: dict[str, Reply[StoppedRun]] = {}
        self._outcomes: dict[str, RunOutcome] = {}
        self._hard_stop: float | None = None
        self._deadline: float | None = None

    def run(self, on_started: Callable[[list[NamedRef]], object] | None) -> list[RunOutcome]:
        for config in self._configs:
            self._start(config)
        if not self._open and self._outcomes:
            first = next(iter(self._outcomes.values()))
            if first.error is not None:
                raise first.error
        for run in list(self._open):
            self._wait_for(run)
        if on_started is not None:
            on_started(list(self._open.values()))
        while self._open:
            self._wakeups.wait(self._patience())
            self._look()
        return [self._outcomes[config.run] for config in self._configs]

    def _start(self, config: TrainerConfig) -> None:
        started = self._supervisor.ask(messages.StartChild(trainer_spec(config, shutdown=self._grace)))
        if isinstance(started, Err):
            self._outcomes[config.run] = _outcome(config.run, started)
        else:
            self._open[config.run] = named(trainer_name(config), while_down="wait")

    def _wait_for(self, run: str) -> None:
        reply = self._waits[run] = self._open[run].ask(messages.WaitUntilDone(), block=False)
        reply.add_done_callback(lambda _result: self._wakeups.wake())

    def _patience(self) -> float | None:
        until = [moment for moment in (self._hard_stop, self._deadline) if moment is not None]
        return max(min(until) - time.monotonic(), 0.0) if until else None

    def _look(self) -> None:
        for run, reply in list(self._waits.items()):
            if reply.done():
                self._heard(run, reply.get())
        now = time.monotonic()
        if self._signals.received and self._deadline is None:
            self._deadline = now + self._grace
            self._hard_stop = now + self._grace * (1.0 - _RESERVE)
            if self._on_signal is not None:
                self._on_signal(self._signals.received[0])
            self._stop(save=True)
        if self._hard_stop is not None and now >= self._hard_stop:
            self._hard_stop = None
            self._stop(save=False)
        if self._deadline is not None and now >= self._deadline:
            for run in list(self._open):
                self._close(run, late(run, self._grace))

    def _heard(self, run: str, result: Result[StoppedRun]) -> None:
        # What was asked of an actor that ended by itself is asked again, of whoever bears the name next; where nobody
        # will, that is answered at once, by the word of the one that ended ("shutdown") or of the name ("not_sent").
        if isinstance(result, Err) and _may_be_restarted(result.error) and self._deadline is None:
            self._wait_for(run)
            return
        self._close(run, result)

    def _close(self, run: str, result: Result[StoppedRun]) -> None:
        del self._open[run]
        del self._waits[run]
        self._outcomes[run] = _outcome(run, result)

    def _stop(self, *, save: bool) -> None:
        for run, ref in self._open.items():
            reply = ref.ask(messages.Stop(save=save and self._saves[run]), block=False)
            reply.add_done_callback(partial(self._stopped))

    def _stopped(self, _result: Result[StoppedRun]) -> None:
        self._wakeups.wake()


def _may_be_restarted(error: TinkexError) -> bool:
    return error.kind in ("actor_dead", "actor_crashed") and error.data.get("reason") in _RESTARTED


def late(run: str, seconds: float) -> Err:
    """Build the error of a run that did not stop within its grace period."""
    return Err(
        TinkexError(
            f"the run {run!r} did not stop within {seconds:g} s and was left as it was; resume it",
            kind="await_timeout",
            category="unknown",
            data={"run": run, "outcome": "unknown"},
        )
    )


def _outcome(run: str, result: Result[Any]) -> RunOutcome:
    match result:
        case Ok(stopped):
            status = FINISHED if stopped.state == "finished" else RESUMABLE
            return RunOutcome(run, stopped.state, stopped.update, status, stopped.durable_update, stopped.durable_path)
        case Err(error):
            # One that was taken over is not to take its run back: two supervisors would do so for ever.
            again = is_resumable(error) and error.kind != "fenced"
            return RunOutcome(run, "failed", 0, RESUMABLE if again else FAILED, error=error)
