"""One epoch's training: updates are sent ahead of the results of those before, results are read in order."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Reply
from tinkex.actors._trainer._course import Course
from tinkex.actors._trainer._feeder import Fed, Feed, Outline, Prepared
from tinkex.actors._trainer._meter import Meter
from tinkex.actors._trainer._position import Position
from tinkex.actors._trainer._saves import Measured, Saves, Verdicts
from tinkex.actors._trainer._watchdog import Phase
from tinkex.protocol import Err, Ok, Result, TinkexError, messages
from tinkex.protocol.replies import ForwardBackwardOutput, OptimStepOutput

PREPARED: Final = 2
"""Batches that are kept ready."""


@dataclass(eq=False)
class Update:
    """One update on its way."""

    number: int
    prepared: Prepared
    passes: list[Reply[ForwardBackwardOutput]]
    step: Reply[OptimStepOutput]
    learning_rate: float


class Completed(NamedTuple):
    """An update whose results were read."""

    number: int
    prepared: Prepared
    loss: float | None
    """Per weighted token."""
    loss_sum: float | None
    learning_rate: float
    seconds: float
    metrics: dict[str, float]
    tokens: int
    """Trained on, up to here."""
    train_seconds: float


class Tidings(NamedTuple):
    """Whom an epoch tells of what happens."""

    completed: Callable[[Completed], bool]
    """An update is complete; False where its loss is bad, and the epoch is over."""
    failed: Callable[[TinkexError, str], None]
    settled: Callable[[], None]
    """Nothing is on its way, and nothing will be sent."""


class Training:
    """Trains with one client from one position on. Used in its actor's thread only."""

    def __init__(
        self,
        host: ClientActor[Any],
        client: GenRef[Any],
        feeder: GenRef[Any],
        outline: Outline,
        begin: Position,
        saves: Saves,
        meter: Meter,
        *,
        depth: int,
        lr_scale: float,
        save_at_end: bool,
        tell: Tidings,
    ) -> None:
        """Begin with nothing sent; ``go_on`` sets out."""
        self.course: Final = Course(
            begin.update,
            depth,
            updates=outline.updates,
            stop_after=begin.stop_after,
            unjudged=len(begin.unjudged),
        )
        self.held = False
        """Whether no further update is sent for now."""
        self.ending = False
        """Whether the end is wanted: the last save, and then nothing."""
        self.closed = False
        self._host = host
        self._client = client
        self._feeder = feeder
        self._outline = outline
        self._saves = saves
        self._meter = meter
        self._depth = depth
        self._lr_scale = lr_scale
        self._save_at_end = save_at_end
        self._tell = tell
        self._sent_cursor = begin.cursor
        self._next_cursor = begin.cursor
        self._next_update = begin.update
        self._prepared: deque[Prepared] = deque()
        self._no_more = False
        self._feeding = False
        self._updates: deque[Update] = deque()
        self._unjudged = deque(begin.unjudged)

    def close(self) -> None:
        """Hear nothing more of what is on its way."""
        self.closed = True

    @property
    def busy(self) -> bool:
        """Whether updates are on their way to the server or back."""
        return bool(self._updates)

    def verdicts(self) -> Verdicts:
        """Return what the stop rule has said."""
        return Verdicts(self.course.stop_after, list(self._unjudged))

    @property
    def phase(self) -> Phase:
        """What it is at: where nothing else is on its way, the program's work is what is waited for."""
        return "batch" if self._feeding and not self._updates and not self.held else "update"

    def go_on(self) -> None:
        """Send what may be sent; to be called whenever something has changed."""
        if self.closed:
            return
        while True:
            if self._no_more and not self._prepared:
                self.course.data_ended = True
            if not self._saves.send_if_due(self.course.sent, self._sent_cursor):
                break
            if self.held or not self.course.room or not self._prepared:
                break
            if not self._saves.room(self.course.sent, self._depth):
                break
            self._send(self._prepared.popleft())
        self._feed()
        self._look_for_the_end()

    def checkpoint(self, waiter: Callable[[Result[Any]], None]) -> None:
        """Have a checkpoint of what was sent, and tell ``waiter`` of it."""
        self._saves.want(self.course.sent, waiter)
        self.go_on()

    def _send(self, prepared: Prepared) -> None:
        config = self._outline.loss_fn_config
        passes = [
            self._client.ask(messages.ForwardBackward(data, self._outline.loss_fn, config), block=False)
            for data in prepared.micro_batches
        ]
        rate = prepared.adam.learning_rate * self._lr_scale
        step = self._client.ask(messages.OptimStep(replace(prepared.adam, learning_rate=rate)), block=False)
        update = Update(self.course.send(), prepared, passes, step, rate)
        self._sent_cursor = prepared.cursor
        self._updates.append(update)
        self._host.run_when("update", step, lambda _result: self._read())

    # Results

    def _read(self) -> None:
        """Take up the updates that are complete, in their order."""
        while self._updates and not self.closed:
            update = self._updates[0]
            replies: list[Reply[Any]] = [*update.passes, update.step]
            for reply in replies:
                if not reply.done():
                    if reply is not update.step:
                        self._host.run_when("update", reply, lambda _result: self._read())
                    return
            outputs: list[ForwardBackwardOutput] = []
            for reply in replies:
                match reply.get():
                    case Err(error):
                        self._tell.failed(error, f"update {update.number}")
                        return
                    case Ok(output):
                        outputs.append(output)
            self._updates.popleft()
            self._complete(update, outputs)

    def _complete(self, update: Update, outputs: list[ForwardBackwardOutput]) -> None:
        sums = [output.metrics.get("loss:sum") for output in outputs[:-1]]
        loss_sum = None if None in sums else sum(value for value in sums if value is not None)
        weight = update.prepared.weight
        loss = loss_sum if loss_sum is None or weight is None else loss_sum / weight
        step = {name: value for name, value in outputs[-1].metrics.items() if math.isfinite(value)}
        metrics = {**step, **({"loss": loss} if loss is not None else {})}
        seconds = self._meter.completed(update.prepared.tokens, self._host.runtime.clock.monotonic())
        completed = Completed(
            number=update.number,
            prepared=update.prepared,
            loss=loss,
            loss_sum=loss_sum,
            learning_rate=update.learning_rate,
            seconds=seconds,
            metrics=metrics,
            tokens=self._meter.tokens,
            train_seconds=self._meter.train_seconds,
        )
        if not self._tell.completed(completed) or self.closed:
            return
        self._unjudged.append((update.number, metrics))
        self._saves.measured(
            update.number,
            Measured(metrics, update.learning_rate, self._meter.tokens, self._meter.train_seconds),
        )
        self.go_on()

    # The program

    def _feed(self) -> None:
        if self._feeding or self.closed:
            return
        judged = self._unjudged[0] if self._unjudged else None
        wanted = not self._no_more and not self.held and len(self._prepared) < PREPARED and not self.course.over
        if judged is None and not wanted:
            return
        self._feeding = True
        self._host.run_when(
            "fed",
            self._feeder.ask(
                Feed(
                    update=self._next_update,
                    cursor=self._next_cursor,
                    wanted=wanted,
                    judged=judged,
                ),
                block=False,
            ),
            partial(self._fed, judged),
        )

    def _fed(self, judged: tuple[int, dict[str, float]] | None, result: Result[Fed]) -> None:
        if self.closed:
            return
        self._feeding = False
        if isinstance(result, Err):
            self._tell.failed(program_failed(result.error), "the training program")
            return
        fed = result.value
        if fed.prepared is not None:
            self._prepared.append(fed.prepared)
            self._next_cursor = fed.prepared.cursor
            self._next_update += 1
        self._no_more = self._no_more or fed.ended
        if judged is not None:
            self._unjudged.popleft()
            self.course.judge(judged[0], stop=fed.stop)
        self.go_on()

    # The end

    def _look_for_the_end(self) -> None:
        if self.closed or not (self.held or self.course.over) or self._updates:
            return
        durable = self._saves.durable
        wants_save = self.ending or (self._save_at_end and self.course.over)
        if wants_save and self.course.sent > 0 and (durable is None or durable.update != self.course.sent):
            if self._saves.idle:
                self._saves.due.demand(self.course.sent)
                self._saves.send_if_due(self.course.sent, self._sent_cursor)
            return
        if self._saves.idle or (self.held and not self.ending and not self.course.over):
            self._tell.settled()


def program_failed(error: TinkexError) -> TinkexError:
    """Return ``error`` as the failure of the user's program, where its actor crashed of it."""
    if error.kind != "actor_crashed":
        return error
    return TinkexError(
        f"the training program failed: {error.data.get('cause') or error.message}",
        kind="program_failed",
        category="user",
        data=error.data,
    )
