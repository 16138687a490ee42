"""The trainer: an actor that runs a training program to its end, whatever fails meanwhile."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from tinkex.actors._genserver._client import Call, ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import exposed, on
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._watch import Down
from tinkex.actors._runtime._log import log
from tinkex.actors._trainer._board import Board
from tinkex.actors._trainer._config import TrainerConfig
from tinkex.actors._trainer._journal import Journal
from tinkex.actors._trainer._rounds import Rounds
from tinkex.actors._trainer._run_errors import ended, journal_gone, not_now, nothing_trained
from tinkex.actors._trainer._running import ENDED, Running
from tinkex.actors._trainer._trainer_proxy import TrainerProxy, TrainerRef
from tinkex.actors._trainer._verdicts import is_resumable
from tinkex.actors._trainer._watchdog import Phase
from tinkex.protocol import Err, Ok, Result, TinkexError, explain, messages
from tinkex.protocol.replies import ActorStatus, CommittedCheckpoint, Explanation, RunStatus, StoppedRun

if TYPE_CHECKING:
    from tinkex.actors._trainer._run_until_done import RunOutcome

_FOR_EVER: Final = 1e9


class Trainer(ClientActor[TrainerProxy]):
    """An actor for one run: trains, saves, and after any failure goes on from the last good checkpoint.

    The run is a name in a store on disk. A trainer that starts takes it over from whoever had it, ends what that one
    held on the server, and restores: from a committed checkpoint where there is one, else from the very beginning; one
    that cannot be restored has failed. So a supervisor's restart, another process and another machine all go on with
    the same run. Updates are pipelined; each checkpoint holds exactly the updates that its cursor says.

    It lives on when its run has ended, to say how; ``Start`` goes on with it.
    """

    shutdown: ClassVar[float] = 60.0
    ref_class: ClassVar[type[GenRef[Any]]] = TrainerRef

    def __init__(self, config: TrainerConfig, *, start: bool = True) -> None:
        """Take the run that ``config`` describes; with ``start`` false it waits for ``Start``."""
        super().__init__()
        self._config = config
        self._wants_start = start
        self._log = log(actor="Trainer", actor_urn=self.actor_urn, run=config.run)
        self._board = Board(config.run, self.runtime.clock.time)
        self._journal: GenRef[Any] | None = None
        self._run: Running | None = None
        self._rounds = Rounds(
            self, status=self.run_status, phase=self._phase, budget=self._budget, over=self._over, log=self._log
        )
        self._pausing: list[Call] = []
        self._stopping: list[Call] = []
        self._awaiting: list[Call] = []
        self.add_finalizer(lambda _reason: self._end_children())

    @classmethod
    def start(cls, config: TrainerConfig, *, start: bool = True) -> TrainerRef:
        """Start a trainer; the run begins at once, unless ``start`` is false.

        Raises:
            TinkexError: the folder cannot be used, or the configuration is wrong.
        """
        return cast("TrainerRef", super().start(config, start=start))

    @staticmethod
    def run_until_done(config: TrainerConfig, *, grace_seconds: float = 30.0) -> "RunOutcome":
        """Run ``config`` to its end on the main thread; see ``tinkex.actors.run_until_done``."""
        from tinkex.actors._trainer._run_until_done import run_until_done  # noqa: PLC0415 - it starts trainers

        (outcome,) = run_until_done(config, grace_seconds=grace_seconds)
        return outcome

    def on_start(self) -> None:
        """Open the run's journal and begin."""
        journal = self._start_journal()
        self._run = Running(
            self,
            self._config,
            self._board,
            journal,
            changed=self._rounds.beat,
            paused=self._paused,
            ended=self._ended,
            log=self._log,
        )
        self._rounds.begin(journal)
        if self._wants_start:
            self._run.begin("started")

    def _start_journal(self) -> GenRef[Any]:
        journal = Journal.start(Path(self._config.root), self._config.run, self._config.settings)
        journal.monitor(lambda down: self.run_soon("journal down", partial(self._journal_down, journal, down)))
        self._journal = journal
        return journal

    # What orchestrators call through a proxy; each is a message too, documented in ``tinkex.protocol.messages``.

    @exposed
    def begin(self, **options: Any) -> Any:
        """Begin, or go on; see ``messages.Start``."""
        return self.handle_call(messages.Start, **options)

    @exposed
    def pause(self, **options: Any) -> Any:
        """Send no further update; see ``messages.Pause``."""
        return self.handle_call(messages.Pause, **options)

    @exposed
    def resume(self, **options: Any) -> Any:
        """Go on after a pause; see ``messages.Resume``."""
        return self.handle_call(messages.Resume, **options)

    @exposed
    def checkpoint_now(self, **options: Any) -> Any:
        """Commit a checkpoint; see ``messages.CheckpointNow``."""
        return self.handle_call(messages.CheckpointNow, **options)

    @exposed
    def stop_run(self, save: bool = True, **options: Any) -> Any:
        """End the run so that it can be resumed; see ``messages.Stop``."""
        return self.handle_call(messages.Stop, save=save, **options)

    @exposed
    def wait_until_done(self, **options: Any) -> Any:
        """Wait for the run's end; see ``messages.WaitUntilDone``."""
        return self.handle_call(messages.WaitUntilDone, **options)

    @exposed
    def status(self) -> Any:
        """Say what the run is doing; see ``messages.Status``."""
        return self.handle_call(messages.Status)

    @exposed
    def why(self) -> Any:
        """Explain the run's state in one sentence; see ``messages.Why``."""
        return self.handle_call(messages.Why)

    # Messages

    @on(messages.Start)
    def _on_start_run(self, _message: messages.Start) -> Result[RunStatus]:
        run = self._running()
        if self._board.state in ENDED:
            if self._board.state != "idle":
                self._tell_ended()  # those who ask how it ended mean the end that there was
            if self._journal is None or not self._journal.is_alive():
                try:
                    run.journal = self._start_journal()
                except TinkexError as error:
                    return Err(error)
                self._rounds.use(run.journal)
            run.patience.renew()
            run.begin("started")
        return Ok(self.run_status())

    @on(messages.Pause)
    def _on_pause(self, message: messages.Pause) -> Result[RunStatus] | Deferred[RunStatus]:
        epoch = self._running().epoch
        if epoch is None or self._board.state not in ("training", "paused"):
            return Err(self._not_now("pause"))
        call = self.begin_call("pause", message)
        self._pausing.append(call)
        epoch.hold()
        return call.deferred

    @on(messages.Resume)
    def _on_resume(self, _message: messages.Resume) -> Result[RunStatus]:
        run = self._running()
        epoch = run.epoch
        if run.holds:  # it is being rebuilt, and would be paused again behind that
            run.holds = False
            return Ok(self.run_status())
        if epoch is None or self._board.state not in ("training", "paused"):
            return Err(self._not_now("resume"))
        if epoch.training.held:
            self._answer(self._pausing, Err(self._not_now("pause")))
            run.enter("training")
            run.note({"kind": "resumed", "update": self._board.update})
            epoch.release()
        return Ok(self.run_status())

    @on(messages.CheckpointNow)
    def _on_checkpoint_now(
        self, message: messages.CheckpointNow
    ) -> Result[CommittedCheckpoint] | Deferred[CommittedCheckpoint]:
        epoch = self._running().epoch
        if epoch is None:
            return Err(self._not_now("save"))
        if epoch.training.course.sent == 0:
            return Err(nothing_trained(self._config.run))
        call = self.begin_call("checkpoint_now", message)
        epoch.training.checkpoint(partial(self.end_call, call))
        return call.deferred

    @on(messages.Stop)
    def _on_stop_run(self, message: messages.Stop) -> Result[StoppedRun] | Deferred[StoppedRun]:
        if self._board.state in ENDED:
            return Ok(self._stopped_run())
        call = self.begin_call("stop", message)
        self._stopping.append(call)
        self._running().stop(save=message.save)
        return call.deferred

    @on(messages.WaitUntilDone)
    def _on_wait(self, message: messages.WaitUntilDone) -> Result[StoppedRun] | Deferred[StoppedRun]:
        if self._board.state in ("finished", "stopped"):
            return Ok(self._stopped_run())
        if self._board.error is not None and self._board.state == "failed":
            return Err(self._board.error)
        call = self.begin_call("wait_until_done", message)
        self._awaiting.append(call)
        return call.deferred

    @on(messages.Status)
    def _on_status(self, _message: messages.Status) -> Result[ActorStatus]:
        status = self.run_status()
        return Ok(ActorStatus(actor=self.actor_urn, state=status.state, operations=self.open_calls(), run=status))

    @on(messages.Why)
    def _on_why(self, _message: messages.Why) -> Result[Explanation]:
        status = self.run_status()
        return Ok(Explanation(explain(status, self.runtime.clock.time(), alive=True), status))

    def progress_seconds(self, name: str) -> float:
        """Return after how many seconds of work a call of this name is overdue: never, they last as long as the run."""
        del name
        return _FOR_EVER

    def run_status(self) -> RunStatus:
        """Return what the run is doing."""
        return self._board.status(self._run.epoch if self._run is not None else None)

    # What the run tells

    def _paused(self, error: TinkexError | None) -> None:
        self._answer(self._pausing, Ok(self.run_status()) if error is None else Err(error))

    def _over(self, error: TinkexError) -> None:
        self._running().over(error)

    def _journal_down(self, journal: GenRef[Any], down: Down) -> None:
        if journal is self._journal and self._board.state not in ENDED:
            self._running().fail(journal_gone(self._config.run, down))

    def _ended(self) -> None:
        if self._board.state not in ENDED:
            return  # started again meanwhile
        self._tell_ended()
        if self.stop_seconds() != float("inf"):
            self._stop_children()

    def _tell_ended(self) -> None:
        error = self._board.error
        self._answer(self._stopping, Ok(self._stopped_run()))
        self._answer(self._awaiting, Ok(self._stopped_run()) if error is None else Err(error))

    # Ending

    def on_drain(self) -> None:
        """End the run as ``Stop`` does, with a save where the policy wants one."""
        if self._board.state in ENDED:
            self._running().when_given_back(self._ended)
        elif self._board.state != "stopping":
            self._running().stop(save=self._config.checkpoints.on_stop)

    def _children(self) -> list[GenRef[Any]]:
        feeder = self._run.feeder if self._run is not None else None
        return [child for child in (feeder, self._journal) if child is not None and child.is_alive()]

    def _stop_children(self) -> None:
        """Stop the youngest child, and so on; then this actor has ended."""
        for child in self._children():
            stopped = child.stop(block=False, reason="shutdown")
            stopped.add_done_callback(lambda _stopped: self.run_soon("child stopped", self._stop_children))
            return
        self.drained()

    def _end_children(self) -> None:
        """The finalizer: nothing that this actor started outlives it."""
        if self._run is not None:
            self._run.close(ended(self._config.run, "gone"))
        for child in self._children():
            child.stop(block=False, reason="shutdown")

    # Small things

    def _running(self) -> Running:
        if self._run is None:
            raise AssertionError("on_start makes the run")
        return self._run

    def _stopped_run(self) -> StoppedRun:
        board = self._board
        return StoppedRun(
            state=board.state,
            update=board.update,
            resumable=board.state != "finished" and is_resumable(board.error),
            durable_update=board.durable.update if board.durable is not None else None,
            durable_path=board.durable.path if board.durable is not None else None,
        )

    def _phase(self) -> Phase:
        if self._board.state == "restoring":
            return "restoring"
        epoch = self._run.epoch if self._run is not None else None
        return epoch.training.phase if epoch is not None else "update"

    def _budget(self, phase: Phase) -> float:
        return self._run.watchdog.budget(phase) if self._run is not None and self._config.watchdog.enabled else 0.0

    def _answer(self, calls: list[Call], result: Result[Any]) -> None:
        waiting = list(calls)
        calls.clear()
        for call in waiting:
            self.end_call(call, result)

    def _not_now(self, what: str) -> TinkexError:
        return not_now(self._config.run, self._board.state, what)
