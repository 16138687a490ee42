"""The trainer: an actor that runs a training program to its end, whatever fails meanwhile."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import pykka

from tinkex.actors._genserver._client import Call, ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import exposed, on
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Pending
from tinkex.actors._genserver._watch import Down
from tinkex.actors._runs._update_record import UpdateRecord
from tinkex.actors._runtime._log import log
from tinkex.actors._service._settings import ServiceOptions
from tinkex.actors._trainer._board import Board
from tinkex.actors._trainer._config import TrainerConfig
from tinkex.actors._trainer._feeder import Feeder
from tinkex.actors._trainer._journal import Beat, Journal, Note, Rollback
from tinkex.actors._trainer._meter import Meter
from tinkex.actors._trainer._opening import Opened, Opening
from tinkex.actors._trainer._rounds import Rounds
from tinkex.actors._trainer._run_errors import bad_loss, ended, journal_gone, no_progress, not_now, nothing_trained
from tinkex.actors._trainer._saves import Saves
from tinkex.actors._trainer._trainer_proxy import TrainerProxy, TrainerRef
from tinkex.actors._trainer._training import Completed, Tidings, Training
from tinkex.actors._trainer._verdicts import is_resumable, meaning_of
from tinkex.protocol import Err, Manifest, Ok, QueueStateChange, Result, TinkexError, messages
from tinkex.protocol.replies import ActorStatus, CommittedCheckpoint, Explanation, RunStatus, StoppedRun

_ENDED: Final = frozenset({"idle", "finished", "stopped", "failed"})
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
        self._board = Board(config.run, self.runtime.clock.time())
        self._journal: GenRef[Any] | None = None
        self._feeder: GenRef[Any] | None = None
        self._opening: Opening | None = None
        self._service: GenRef[Any] | None = None
        self._client: GenRef[Any] | None = None
        self._retired: Pending[bool] | None = None
        """The end of the service that was retired last."""
        self._training: Training | None = None
        self._saves: Saves | None = None
        self._meter: Meter | None = None
        self._rounds = Rounds(self, config, status=self.run_status, fenced=self.fenced, log=self._log)
        self._furthest = 0
        self._row = 0
        """Rebuilds in a row without progress."""
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

    def on_start(self) -> None:
        """Open the run's journal and begin."""
        self._journal = Journal.start(Path(self._config.root), self._config.run, self._config.settings)
        self._journal.monitor(lambda down: self.run_soon("journal down", partial(self._journal_down, down)))
        self._rounds.begin(self._journal)
        if self._wants_start:
            self._begin("started", held=None)

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
        if self._board.state in _ENDED:
            self._row = 0
            self._begin("started", held=None)
        return Ok(self.run_status())

    @on(messages.Pause)
    def _on_pause(self, message: messages.Pause) -> Result[RunStatus] | Deferred[RunStatus]:
        if self._training is None or self._board.state not in ("training", "paused"):
            return Err(self._not_now("pause"))
        call = self.begin_call("pause", message)
        self._pausing.append(call)
        self._training.held = True
        self._training.go_on()
        return call.deferred

    @on(messages.Resume)
    def _on_resume(self, _message: messages.Resume) -> Result[RunStatus]:
        training = self._training
        if training is None or not training.held or self._stopping:
            return Err(self._not_now("resume")) if self._board.state != "training" else Ok(self.run_status())
        training.held = False
        self._answer(self._pausing, Err(self._not_now("pause")))
        if self._meter is not None:
            self._meter.go_on(self.runtime.clock.monotonic())
        self._enter("training")
        self.note({"kind": "resumed", "update": self._board.update})
        training.go_on()
        return Ok(self.run_status())

    @on(messages.CheckpointNow)
    def _on_checkpoint_now(
        self, message: messages.CheckpointNow
    ) -> Result[CommittedCheckpoint] | Deferred[CommittedCheckpoint]:
        training = self._training
        if training is None:
            return Err(self._not_now("save"))
        if training.course.sent == 0:
            return Err(nothing_trained(self._config.run))
        call = self.begin_call("checkpoint_now", message)
        training.checkpoint(partial(self.end_call, call))
        return call.deferred

    @on(messages.Stop)
    def _on_stop_run(self, message: messages.Stop) -> Result[StoppedRun] | Deferred[StoppedRun]:
        if self._board.state in _ENDED:
            return Ok(self._stopped_run())
        call = self.begin_call("stop", message)
        self._stopping.append(call)
        self._stop_run(save=message.save)
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
        return Ok(Explanation(status.state, status))

    def progress_seconds(self, name: str) -> float:
        """Return after how many seconds of work a call of this name is overdue: never, they last as long as the run."""
        del name
        return _FOR_EVER

    def run_status(self) -> RunStatus:
        """Return what the run is doing."""
        return self._board.status(self.runtime.clock.time(), self._meter, self._training, self._saves)

    # An epoch's beginning

    def _begin(self, reason: str, *, held: int | None, rollback: Rollback | None = None) -> None:
        if self._journal is None:
            raise AssertionError("on_start opens the journal")
        self._board.error = None
        self._enter("restoring", reason if reason != "started" else None)
        if self._feeder is None or not self._feeder.is_alive():
            self._feeder = Feeder.start(self._config.program)
        opening = Opening(
            self,
            self._config,
            self._journal,
            self._feeder,
            reason=reason,
            options=self._service_options(),
            opened=self._opened,
            failed=self._open_failed,
            waits=lambda why: self._board.waits("server" if why is not None else None, why, self.runtime.clock.time()),
            log=self._log,
        )
        self._opening = opening
        opening.take(held, rollback)

    def _service_options(self) -> ServiceOptions:
        given = cast("Any", dict(self._config.service))
        users: Callable[[QueueStateChange], Any] | None = given.get("on_queue_state_change")

        def told(change: QueueStateChange) -> None:
            self.run_soon("queue state", partial(self._queue_changed, change))
            if users is not None:
                users(change)

        given["on_queue_state_change"] = told
        return cast("ServiceOptions", given)

    def _opened(self, opened: Opened) -> None:
        opening = self._opening
        if opening is None or self._journal is None or self._feeder is None or opening.service is None:
            raise AssertionError("an epoch opens with all it needs")
        self._opening = None
        self._service = opening.service
        self._client = opened.client
        begin, taken = opened.begin, opened.taken
        now = self.runtime.clock.monotonic()
        self._meter = Meter(begin.tokens, begin.train_seconds, now)
        self._saves = Saves(
            self,
            opened.client,
            opening.service,
            self._journal,
            opened.terms,
            begin,
            self._config.checkpoints,
            committed=self._committed,
            failed=self._epoch_failed,
            changed=self._go_on,
            log=self._log,
        )
        self._training = Training(
            self,
            opened.client,
            self._feeder,
            opened.outline,
            begin,
            self._saves,
            self._meter,
            depth=self._config.depth,
            lr_scale=taken.lr_scale,
            save_at_end=self._config.checkpoints.on_stop,
            tell=Tidings(self._completed, self._judged, self._epoch_failed, self._settled),
        )
        board = self._board
        board.epoch = taken.epoch
        board.lr_scale = taken.lr_scale
        board.rollbacks = taken.rollbacks
        board.updates = opened.outline.updates
        board.begin(begin.update, self._saves.durable, begin.saved)
        self._log.info("run begins", epoch=taken.epoch, update=begin.update, manifest=begin.manifest)
        self._enter("training")
        self._training.go_on()

    def _open_failed(self, error: TinkexError) -> None:
        self._epoch_failed(error, "the restore")

    # What happens in an epoch

    def _completed(self, completed: Completed) -> bool:
        self._board.completed(completed)
        self.note(
            UpdateRecord(
                epoch=self._board.epoch,
                update=completed.number,
                loss=completed.loss,
                loss_sum=completed.loss_sum,
                learning_rate=completed.learning_rate,
                tokens=completed.prepared.tokens,
                rows=list(completed.prepared.rows),
                seconds=completed.seconds,
                metrics=completed.metrics,
                at=self.runtime.clock.time(),
            ).to_event()
        )
        if completed.number > self._furthest:
            self._furthest = completed.number
            self._row = 0
        return True

    def _judged(self, _update: int) -> None:
        """Nothing to do: saves are told by the training itself."""

    def _committed(self, manifest: Manifest, seconds: float) -> None:
        durable = CommittedCheckpoint(manifest.path, manifest.update, manifest.name)
        self._board.committed(durable, manifest.saved)
        if self._meter is not None:
            self._meter.durable(manifest.train_seconds)
        self._log.info("checkpoint committed", update=manifest.update, path=manifest.path, seconds=seconds)

    def _queue_changed(self, change: QueueStateChange) -> None:
        if self._meter is None or self._board.state not in ("training", "stopping"):
            return
        now = self.runtime.clock.monotonic()
        if change.state == "active":
            self._meter.go_on(now)
            self._board.waits(None, None, self.runtime.clock.time())
            return
        self._meter.pause(now)
        if self._board.waiting != change.state:
            self.note({"kind": "paused", "by": change.state, "reason": change.reason, "update": self._board.update})
        self._board.waits(change.state, change.reason, self.runtime.clock.time())
        if self._config.checkpoints.on_pause and self._saves is not None and self._training is not None:
            self._saves.due.demand()
            self._training.go_on()

    def _go_on(self) -> None:
        if self._training is not None:
            self._training.go_on()

    def _settled(self) -> None:
        """Nothing is on its way, and nothing will be sent: a pause, a stop, or the end."""
        training = self._training
        if training is None:
            return
        if training.ending:
            self._end("stopped")
        elif training.course.over:
            self._end("finished")
        elif self._board.state != "paused" and training.held:
            if self._meter is not None:
                self._meter.pause(self.runtime.clock.monotonic())
            self._enter("paused")
            self.note({"kind": "paused", "by": "user", "update": self._board.update})
        if self._board.state == "paused":
            self._answer(self._pausing, Ok(self.run_status()))

    def fenced(self, error: TinkexError) -> None:
        """End without a word to the store: the run is another trainer's."""
        if self._board.state not in _ENDED:
            self._fail(error)

    # Failures

    def _epoch_failed(self, error: TinkexError, what: str) -> None:
        self._log.warning("run interrupted", at=what, kind=error.kind, error=error.message)
        if self._board.state == "stopping":
            self._close_epoch(error)
            self._end("stopped")
        elif meaning_of(error) == "fail":
            self._give_up(error)
        else:
            self.rebuild(f"{what} failed: {error.message}", error)

    def _give_up(self, error: TinkexError) -> None:
        """Fail; where the run was taken over meanwhile, that is why, whatever a server says of its ended session."""
        epoch = self._close_epoch(error)
        if error.kind == "fenced" or epoch == 0 or self._journal is None or not self._journal.is_alive():
            self._fail(error)
            return
        self.run_when("still mine", self._journal.ask(Beat(self.run_status()), block=False), partial(self._gave_up, error))

    def _gave_up(self, error: TinkexError, result: Result[Any]) -> None:
        if self._board.state not in _ENDED:
            self._fail(result.error if isinstance(result, Err) and result.error.kind == "fenced" else error)

    def rebuild(self, why: str, error: TinkexError) -> None:
        """Throw the epoch away, and make another from the last good checkpoint."""
        if self._board.state in _ENDED:
            return
        self._row += 1
        if self._row > self._config.rebuild.max_rebuilds:
            self._fail(no_progress(self._config.run, self._row - 1, error))
            return
        self._board.rebuilds += 1
        self.note({"kind": "stalled", "reason": why, "update": self._board.update})
        epoch = self._close_epoch(error)
        self._begin_later(why, epoch, None)

    def _roll_back(self, update: int, why: str) -> None:
        guard = self._config.loss_guard
        if guard is None:
            return
        board = self._board
        if board.rollbacks >= guard.max_rollbacks:
            self._fail(bad_loss(self._config.run, board.rollbacks, why))
            return
        target = None
        lr_scale = board.lr_scale * guard.lr_factor
        self._log.warning("run rolls back", update=update, reason=why, manifest=target, lr_scale=lr_scale)
        self.note({"kind": "rollback", "update": update, "reason": why, "manifest": target, "lr_scale": lr_scale})
        epoch = self._close_epoch(bad_loss(self._config.run, board.rollbacks, why))
        self._begin_later(why, epoch, Rollback(target, lr_scale, board.rollbacks + 1))

    def _begin_later(self, why: str, epoch: int, rollback: Rollback | None) -> None:
        policy = self._config.rebuild
        bound = min(policy.backoff_seconds * 2.0 ** min(self._row, 32), policy.max_backoff_seconds)
        seconds = self._rounds.random.uniform(0.0, bound) if rollback is None else 0.0
        self._enter("restoring", why)
        again = partial(self._begin_again, self._board.epoch, why, epoch, rollback)
        self.run_after("rebuild", seconds, again)

    def _begin_again(self, before: int, why: str, epoch: int, rollback: Rollback | None) -> None:
        if self._board.state == "restoring" and self._opening is None and self._board.epoch == before:
            self._begin(why, held=epoch, rollback=rollback)

    def _close_epoch(self, error: TinkexError) -> int:
        """End what the epoch holds; return its number."""
        epoch = self._board.epoch
        if self._opening is not None:
            epoch = self._opening.epoch or epoch
            self._opening.close()
            self._service = self._service or self._opening.service
            self._opening = None
        if self._training is not None:
            self._training.close()
        if self._saves is not None:
            self._saves.close(error)
        self._answer(self._pausing, Err(error))
        self._training = None
        self._saves = None
        self._retire()
        return epoch

    def _retire(self) -> None:
        """End the client at once, whatever it is at, and its service in order."""
        client, self._client = self._client, None
        service, self._service = self._service, None
        if client is not None:
            client.kill()
        if service is not None:
            self._retired = service.stop(block=False, reason="shutdown")

    def _fail(self, error: TinkexError) -> None:
        self._board.error = error
        self._end("failed")

    def _journal_down(self, down: Down) -> None:
        if self._board.state not in _ENDED:
            self._fail(journal_gone(self._config.run, down))

    # The end

    def _stop_run(self, *, save: bool) -> None:
        self._board.enter("stopping", self.runtime.clock.time())
        training = self._training
        if training is None or not save:
            self._end("stopped")
            return
        training.ending = True
        training.held = True
        training.go_on()

    def _end(self, state: Any) -> None:
        if self._board.state in _ENDED:
            return
        self._board.enter(state, self.runtime.clock.time(), self._board.error.message if self._board.error else None)
        self.note({"kind": "ended", "state": state, "update": self._board.update, "reason": self._board.reason})
        self._log.info("run ended", state=state, update=self._board.update, reason=self._board.reason)
        self._close_epoch(self._board.error or ended(self._config.run, state))
        self._rounds.beat()
        if self._retired is None:
            self._ended()
        else:
            self._retired.add_done_callback(lambda _stopped: self.run_soon("service stopped", self._ended))

    def _ended(self) -> None:
        if self._board.state not in _ENDED:
            return  # started again meanwhile
        self._answer(self._stopping, Ok(self._stopped_run()))
        error = self._board.error
        self._answer(self._awaiting, Ok(self._stopped_run()) if error is None else Err(error))
        if self.stop_seconds() != float("inf"):
            self._stop_children()

    def _stop_children(self) -> None:
        """Stop the youngest child, and so on; then this actor has ended."""
        for child in (self._feeder, self._journal):
            if child is not None and child.is_alive():
                stopped = child.stop(block=False, reason="shutdown")
                stopped.add_done_callback(lambda _stopped: self.run_soon("child stopped", self._stop_children))
                return
        self.drained()

    def _stopped_run(self) -> StoppedRun:
        board = self._board
        return StoppedRun(
            state=board.state,
            update=board.update,
            resumable=board.state != "finished" and is_resumable(board.error),
            durable_update=board.durable.update if board.durable is not None else None,
            durable_path=board.durable.path if board.durable is not None else None,
        )

    def on_drain(self) -> None:
        """End the run as ``Stop`` does, with a save where the policy wants one."""
        if self._board.state in _ENDED:
            self._ended()
        elif self._board.state != "stopping":
            self._stop_run(save=self._config.checkpoints.on_stop)

    def _end_children(self) -> None:
        """The finalizer: nothing that this actor started outlives it."""
        if self._opening is not None:
            self._service = self._service or self._opening.service
        self._retire()
        for child in (self._feeder, self._journal):
            if child is not None:
                child.stop(block=False, reason="shutdown")

    # Small things

    def note(self, record: dict[str, Any]) -> None:
        """Append a record to the run's log."""
        if self._journal is not None:
            try:
                self._journal.tell(Note(record))
            except pykka.ActorDeadError:
                self._log.warning("journal down", record=record.get("kind"))

    def _enter(self, state: Any, reason: str | None = None) -> None:
        self._board.enter(state, self.runtime.clock.time(), reason)
        self._rounds.beat()

    def _answer(self, calls: list[Call], result: Result[Any]) -> None:
        waiting = list(calls)
        calls.clear()
        for call in waiting:
            self.end_call(call, result)

    def _not_now(self, what: str) -> TinkexError:
        return not_now(self._config.run, self._board.state, what)
