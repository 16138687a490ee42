"""A run on its way: epochs begin, fail, and begin again, until the run has ended."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, cast

import pykka

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Pending
from tinkex.actors._runs._names import position_of
from tinkex.actors._runs._update_record import UpdateRecord
from tinkex.actors._service._settings import ServiceOptions
from tinkex.actors._trainer._board import Board
from tinkex.actors._trainer._config import TrainerConfig
from tinkex.actors._trainer._epoch import Ears, Epoch
from tinkex.actors._trainer._feeder import Feeder
from tinkex.actors._trainer._journal import Beat, Note, Rollback
from tinkex.actors._trainer._loss_watch import LossWatch, roll_back_target
from tinkex.actors._trainer._opening import Opened, Opening
from tinkex.actors._trainer._patience import Patience
from tinkex.actors._trainer._run_errors import bad_loss, ended, no_progress
from tinkex.actors._trainer._training import Completed
from tinkex.actors._trainer._verdicts import meaning_of
from tinkex.actors._trainer._watchdog import Watchdog
from tinkex.protocol import Err, Manifest, QueueStateChange, Result, TinkexError

ENDED: Final = frozenset({"idle", "finished", "stopped", "failed"})
"""States in which nothing is on its way."""


class Running:
    """Takes a run from epoch to epoch. Used in its actor's thread only.

    Args:
        host: the trainer.
        config: of the run.
        board: what is known of it.
        journal: writes for it.
        changed: told of each change of state.
        paused: told that a pause has come to be, or, with an error, that it will not.
        ended: told when the run has ended and what it held on the server was given back.
        log: for what happens.
    """

    def __init__(
        self,
        host: ClientActor[Any],
        config: TrainerConfig,
        board: Board,
        journal: GenRef[Any],
        *,
        changed: Callable[[], None],
        paused: Callable[[TinkexError | None], None],
        ended: Callable[[], None],
        log: Any,
    ) -> None:
        """Begin with a run that was not started."""
        self.epoch: Epoch | None = None
        self.holds = False
        """Whether the next epoch begins paused, as its user had the one before."""
        self.feeder: GenRef[Any] | None = None
        self.patience: Final = Patience(config.rebuild, host.runtime.new_random())
        self._host = host
        self._config = config
        self._board = board
        self.journal = journal
        self._changed = changed
        self._paused = paused
        self._ended = ended
        self._log = log
        self._opening: Opening | None = None
        self._retired: Pending[bool] | None = None
        """The end of the service that was given up last."""
        self._waiting_for: object = None
        self._source: object = None
        """Stands for the service of the present epoch."""
        self.watchdog: Final = Watchdog(config.watchdog)
        self._losses = LossWatch(config.loss_guard) if config.loss_guard is not None else None

    # An epoch's beginning

    def begin(self, reason: str, *, held: int | None = None, rollback: Rollback | None = None) -> None:
        """Open an epoch; ``held`` is the one that must still be the run's, None takes it from whoever has it."""
        self._board.error = None
        self._waiting_for = None
        self.enter("restoring", reason if reason != "started" else None)
        if self.feeder is None or not self.feeder.is_alive():
            self.feeder = Feeder.start(self._config.program)
        self._opening = Opening(
            self._host,
            self._config,
            self.journal,
            self.feeder,
            reason=reason,
            options=self._service_options(),
            taken=self._board.took,
            found=self._board.stands_at,
            opened=self._opened,
            failed=partial(self._epoch_failed, what="the restore"),
            waits=self._board.waits_for_server,
            waits_for_program=self._board.waits_for_program,
            log=self._log,
        )
        self._opening.take(held, rollback)

    def _service_options(self) -> ServiceOptions:
        given = cast("Any", dict(self._config.service))
        source = self._source = object()
        users: Callable[[QueueStateChange], Any] | None = given.get("on_queue_state_change")

        def told(change: QueueStateChange) -> None:
            self._host.run_soon("queue state", partial(self._queue_changed, source, change))
            if users is not None:
                users(change)

        given["on_queue_state_change"] = told
        return cast("ServiceOptions", given)

    def _opened(self, opened: Opened) -> None:
        opening, self._opening = self._opening, None
        if opening is None or opening.service is None or self.feeder is None:
            raise AssertionError("an epoch opens with all it needs")
        tell = Ears(
            completed=self._completed,
            committed=self._committed,
            failed=self._epoch_failed,
            stuck=self._stuck,
            slow_program=self._slow_program,
            settled=self._settled,
        )
        self.epoch = Epoch(
            self._host,
            opened,
            opening.service,
            self.journal,
            self.feeder,
            self._config,
            self.watchdog,
            tell=tell,
            log=self._log,
        )
        self._board.begin(opened, self.epoch.saves.durable)
        if self._losses is not None:
            self._losses.rewind(opened.begin.update)
            for update, loss in opened.losses:
                self._losses.see(update, loss)
        begin = opened.begin
        self._log.info("run begins", epoch=opened.terms.epoch, update=begin.update, manifest=begin.manifest)
        self.enter("training")
        if self.holds:
            self.holds = False
            self.epoch.hold()
        else:
            self.epoch.go_on()

    # What happens in an epoch

    def _completed(self, completed: Completed) -> bool:
        self._board.completed(completed)
        self.patience.progressed(completed.number)
        record = UpdateRecord(
            epoch=self._board.epoch,
            update=completed.number,
            loss=completed.loss,
            loss_sum=completed.loss_sum,
            learning_rate=completed.learning_rate,
            tokens=completed.prepared.tokens,
            rows=list(completed.prepared.rows),
            seconds=completed.seconds,
            metrics=completed.metrics,
            at=self._host.runtime.clock.time(),
        )
        self.note(record.to_event())
        if self._losses is None or completed.loss is None:
            return True
        bad = self._losses.see(completed.number, completed.loss)
        if bad is not None:
            self._roll_back(bad.update, bad.why)
        return bad is None

    def _committed(self, manifest: Manifest, seconds: float) -> None:
        self._board.committed(manifest)
        self._log.info("checkpoint committed", update=manifest.update, path=manifest.path, seconds=seconds)

    def _queue_changed(self, source: object, change: QueueStateChange) -> None:
        if source is not self._source:
            return  # of an epoch that is over
        if self.epoch is None:
            return
        paused = self.epoch.queue_changed(change, held=self._board.state == "paused")
        if self._board.state not in ("training", "stopping") or (paused and change.state == "active"):
            return
        if change.state not in ("active", self._board.waiting):
            self.note({"kind": "paused", "by": change.state, "reason": change.reason, "update": self._board.update})
        self._board.waits(None if change.state == "active" else change.state, change.reason)

    def _slow_program(self, why: str | None) -> None:
        self._board.reason = why
        if why is not None:
            self._log.warning("the program is slow", reason=why)
            self.note({"kind": "warning", "reason": why})

    def _settled(self) -> None:
        """Nothing is on its way, and nothing will be sent: a pause, a stop, or the end."""
        epoch = self.epoch
        if epoch is None:
            return
        if epoch.training.ending:
            self._end("stopped")
        elif epoch.training.course.over:
            self._end("finished")
        elif epoch.training.held:
            if self._board.state != "paused":
                epoch.meter.pause(self._host.runtime.clock.monotonic())
                self.enter("paused")
                self.note({"kind": "paused", "by": "user", "update": self._board.update})
            self._paused(None)

    # Failures

    def _epoch_failed(self, error: TinkexError, what: str) -> None:
        self._log.warning("run interrupted", at=what, kind=error.kind, error=error.message)
        if self._board.state == "stopping":
            self._give_up(error, partial(self._end, "stopped"))
        elif meaning_of(error) == "fail":
            self._give_up(error, partial(self.fail, error))
        else:
            self._rebuild(f"{what} failed: {error.message}", error)

    def _give_up(self, error: TinkexError, end: Callable[[], None]) -> None:
        """End; where the run was taken over meanwhile, that is why, whatever a server says of its ended session."""
        self._board.settle(self.epoch)
        held = self.close(error)
        if error.kind == "fenced":
            self.fail(error)
        elif held is None or not self.journal.is_alive():
            end()
        else:
            report = Beat(self._board.status(None))
            token = self._waiting_for = object()
            told = partial(self._gave_up, token, end)
            self._host.run_when("still mine", self.journal.ask(report, block=False), told)

    def _gave_up(self, token: object, end: Callable[[], None], result: Result[Any]) -> None:
        if self._board.state in ENDED or token is not self._waiting_for:
            return  # it was stopped meanwhile, and perhaps started again
        if isinstance(result, Err) and result.error.kind == "fenced":
            self.fail(result.error)
        else:
            end()

    def _stuck(self, error: TinkexError, why: str) -> None:
        self._log.warning("run stuck", reason=why)
        self._epoch_failed(error, "the watch")

    def _rebuild(self, why: str, error: TinkexError) -> None:
        """Throw the epoch away, and make another from the last good checkpoint."""
        seconds = self.patience.next_wait()
        if seconds is None:
            self.fail(no_progress(self._config.run, self.patience.row, error))
            return
        self._board.rebuilds += 1
        self.note({"kind": "stalled", "reason": why, "update": self._board.update})
        rollback = self._opening.rollback if self._opening is not None and self._opening.epoch == 0 else None
        self._begin_later(why, self.close(error), seconds, rollback)

    def _roll_back(self, update: int, why: str) -> None:
        guard, board, epoch = self._config.loss_guard, self._board, self.epoch
        if guard is None or epoch is None:
            return
        if board.state == "stopping":
            self._end("stopped")  # the next trainer meets it again, and goes back then
            return
        error = bad_loss(self._config.run, board.rollbacks, why)
        if board.rollbacks >= guard.max_rollbacks:
            self.fail(error)
            return
        target = roll_back_target(epoch.lineage, guard.roll_back, update)
        lr_scale = board.lr_scale * guard.lr_factor
        self._log.warning("run rolls back", update=update, reason=why, manifest=target, lr_scale=lr_scale)
        self.note({"kind": "rollback", "update": update, "reason": why, "manifest": target, "lr_scale": lr_scale})
        self.patience.went_back(position_of(target).update if target is not None else 0)
        self._begin_later(why, self.close(error), 0.0, Rollback(target, lr_scale, board.rollbacks + 1))

    def _begin_later(self, why: str, held: int | None, seconds: float, rollback: Rollback | None) -> None:
        self.holds = self.holds or self._board.state == "paused"
        self.enter("restoring", why)
        token = self._waiting_for = object()
        self._host.run_after("begin again", seconds, partial(self._begin_again, token, why, held, rollback))

    def _begin_again(self, token: object, why: str, held: int | None, rollback: Rollback | None) -> None:
        if token is self._waiting_for and self._board.state == "restoring":
            self.begin(why, held=held, rollback=rollback)

    def close(self, error: TinkexError) -> int | None:
        """End what the epoch holds, or what was being opened; return the number that the run is held under."""
        held = self._board.epoch or None
        if self._opening is not None:
            held = self._opening.epoch or self._opening.held
            self._opening.close()
            if self._opening.service is not None:
                self._retired = self._opening.service.stop(block=False, reason="shutdown")
            self._opening = None
        if self.epoch is not None:
            self._retired = self.epoch.close(error)
            self.epoch = None
        self._paused(error)
        return held

    def over(self, error: TinkexError) -> None:
        """End: the run is another trainer's, or cannot be written down any more."""
        taken = self.epoch is not None or (self._opening is not None and self._opening.epoch > 0)
        if taken and self._board.state not in ENDED:  # else it is said of an epoch that is over
            self.fail(error)

    def fail(self, error: TinkexError) -> None:
        """End with ``error``."""
        self._board.error = error
        self._end("failed")

    # The end

    def stop(self, *, save: bool) -> None:
        """End so that the run can be resumed, behind a last checkpoint where ``save`` says so."""
        self.enter("stopping")
        if self.epoch is None or not save:
            self._end("stopped")
        else:
            self.epoch.end()

    def _end(self, state: Any) -> None:
        if self._board.state in ENDED:
            return
        self.holds = False
        error = self._board.error
        update = self._board.update
        self.note({"kind": "ended", "state": state, "update": update, "reason": error.message if error else None})
        self._log.info("run ended", state=state, update=update, error=error.message if error else None)
        self._board.settle(self.epoch)
        self.enter(state, error.message if error else None)
        self.close(error or ended(self._config.run, state))
        self.when_given_back(self._ended)

    def when_given_back(self, then: Callable[[], None]) -> None:
        """Run ``then`` when what the last epoch held on the server was given back, where the server could be asked."""
        if self._retired is None:
            then()
        else:
            self._retired.add_done_callback(lambda _stopped: self._host.run_soon("given back", then))

    # Small things

    def note(self, record: dict[str, Any]) -> None:
        """Append a record to the run's log."""
        try:
            self.journal.tell(Note(record))
        except pykka.ActorDeadError:
            self._log.warning("journal down", record=record.get("kind"))

    def enter(self, state: Any, reason: str | None = None) -> None:
        """Note the state, and tell of it."""
        self._board.enter(state, reason)
        self._changed()
