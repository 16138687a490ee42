"""What a trainer does by the clock: tells the store how it is, and hears what other processes ask of it."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import msgspec

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._runs._rows import Command
from tinkex.actors._trainer._journal import AnswerCommand, Beat
from tinkex.actors._trainer._pulse import RunPulse, pulse_file
from tinkex.actors._trainer._running import ENDED
from tinkex.actors._trainer._watchdog import Phase
from tinkex.protocol import Err, Ok, Request, Result, RunStatus, TinkexError, messages

BEAT_SECONDS: Final = 1.0


class Rounds:
    """The clockwork of one trainer. Used in its actor's thread only."""

    def __init__(
        self,
        host: ClientActor[Any],
        *,
        status: Callable[[], RunStatus],
        phase: Callable[[], Phase],
        budget: Callable[[Phase], float],
        over: Callable[[TinkexError], None],
        log: Any,
    ) -> None:
        """Begin with nothing to look after; ``over`` is told why nothing can be written down any more."""
        self._host = host
        self._status = status
        self._phase = phase
        self._budget = budget
        self._pulse = pulse_file()
        self._over = over
        self._log = log
        self._journal: GenRef[Any] | None = None
        self._beating = 0
        """Reports on their way."""
        self._told: str | None = None
        """The state that was reported last."""
        self._seen: set[int] = set()
        self._answers: dict[int, dict[str, Any]] = {}
        """To commands; those that are not known to be written down."""
        self._writing: set[int] = set()

    def begin(self, journal: GenRef[Any]) -> None:
        """Set out."""
        self.use(journal)
        self._tick()

    def use(self, journal: GenRef[Any]) -> None:
        """Report to ``journal`` from now on."""
        self._journal = journal
        self._beating = 0

    def _tick(self) -> None:
        self._host.run_after("beat", BEAT_SECONDS, self._tick)
        self.beat()

    def beat(self) -> None:
        """Report the status, and hear of commands."""
        status = self._status()
        self._tell_pulse(status)
        if self._journal is None or status.epoch == 0 or not self._journal.is_alive():
            return
        if self._beating and status.state == self._told:
            return  # a new state is told at once: the last one may have no later beat
        self._beating += 1
        self._told = status.state
        self._host.run_when("beat", self._journal.ask(Beat(status), block=False), self._beaten)

    def _tell_pulse(self, status: RunStatus) -> None:
        if self._pulse is None:
            return
        if status.state in ENDED:
            self._pulse.forget(status.run)
            return
        phase = self._phase()
        waiting = status.waiting or ""
        # A program may take its time: to start its process again would not make it faster.
        excused = phase == "batch" or (phase == "restoring" and waiting != "")
        budget = 0.0 if excused else self._budget(phase)
        state = waiting if waiting.startswith("paused") else status.state
        self._pulse.beat(RunPulse(status.run, status.update, phase, state, budget))

    def _beaten(self, result: Result[list[Command]]) -> None:
        self._beating = max(self._beating - 1, 0)
        match result:
            case Err(error) if error.kind == "fenced" or "log" in error.data:
                self._over(error)
            case Err(error):
                self._log.warning("status not written", error=error.message)
            case Ok(commands):
                for command in commands:
                    if command.id not in self._seen:
                        self._seen.add(command.id)
                        self._obey(command)
                    elif command.id in self._answers:
                        self._write_answer(command.id)

    # What other processes ask

    def _obey(self, command: Command) -> None:
        message = _MESSAGES.get(command.command)
        if message is None:
            return
        self._log.info("command", command=command.command, id=command.id)
        reply = self._host.ref.ask(message, block=False)
        self._host.run_when("command done", reply, partial(self._answer, command))

    def _answer(self, command: Command, result: Result[Any]) -> None:
        self._answers[command.id] = (
            {"ok": msgspec.to_builtins(result.value)} if isinstance(result, Ok) else {"error": result.error.to_dict()}
        )
        self._write_answer(command.id)

    def _write_answer(self, command_id: int) -> None:
        """Write an answer down; where that fails, the next beat finds the command open and comes back to it."""
        if self._journal is None or not self._journal.is_alive() or command_id in self._writing:
            return
        self._writing.add(command_id)
        done = self._journal.ask(AnswerCommand(command_id, self._answers[command_id]), block=False)
        self._host.run_when("command answered", done, partial(self._answered, command_id))

    def _answered(self, command_id: int, result: Result[bool]) -> None:
        self._writing.discard(command_id)
        if isinstance(result, Err):
            self._log.warning("command not answered", error=result.error.message)
        else:
            self._answers.pop(command_id, None)


_MESSAGES: Final[dict[str, Request[Any]]] = {
    "checkpoint_now": messages.CheckpointNow(),
    "pause": messages.Pause(),
    "resume": messages.Resume(),
    "stop": messages.Stop(),
    "stop_now": messages.Stop(save=False),
}
