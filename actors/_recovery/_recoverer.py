"""The recoverer: watches the training clients of a service, and rebuilds their runs when they are lost."""

import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import msgspec
import pykka

from tinkex.actors._genserver._client import ClientActor, await_timeout
from tinkex.actors._genserver._dispatch import on
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._recovery._callback import call_back
from tinkex.actors._recovery._recovery_calls import find_checkpoints, training_run
from tinkex.actors._recovery._recovery_plan import (
    Again,
    GiveUp,
    Older,
    is_taken,
    is_watched,
    judge,
    needs_room,
    next_step,
    nothing_to_load,
    signal_of,
    without,
)
from tinkex.actors._recovery._recovery_run import Run
from tinkex.actors._runtime._log import log
from tinkex.actors._training._vitals import Vitals, WatchVitals
from tinkex.actors._transport import Transport
from tinkex.protocol import (
    Err,
    Ok,
    Recovered,
    RecoveryFailed,
    RecoveryPolicy,
    RecoverySignal,
    Result,
    TinkexError,
    messages,
    wire,
)
from tinkex.protocol._recovery import LATEST
from tinkex.protocol.replies import LoadedState, OperationStatus


class Watch(msgspec.Struct, frozen=True):
    """Watch this client from now on; told by the service client."""

    client: GenRef[Any]


class Board:
    """What a recoverer is doing, written by it, and read by its service client in another thread."""

    operations: tuple[OperationStatus, ...] = ()


class Callbacks(msgspec.Struct, frozen=True):
    """Whom the user wants to be told."""

    recovered: Callable[[Recovered], Any] | None = None
    failed: Callable[[RecoveryFailed], Any] | None = None


class Recoverer(ClientActor[Any]):
    """A supervised actor: notices lost runs and has their clients load a checkpoint, as its policy says.

    A loss is what a client says of itself, at once, or what the server says of its run, within ``poll_seconds``. A
    recovery is a ``LoadState`` on the client: a new model behind the same reference. The attempts of one run follow
    one another; those of different runs share ``max_concurrent`` places in the order in which they came. A recovered
    run is watched like any other. A run that is given up is left as it is.
    """

    shutdown: ClassVar[float] = 1.0

    def __init__(self, transport: Transport, policy: RecoveryPolicy, callbacks: Callbacks, board: Board) -> None:
        """Watch nobody yet."""
        super().__init__()
        self._transport = transport
        self._policy = policy
        self._callbacks = callbacks
        self._board = board
        self._random = self.runtime.new_random()
        self._runs: dict[str, Run] = {}
        self._queue: deque[Run] = deque()
        self._log = log(actor="Recoverer", actor_urn=self.actor_urn)
        self.add_finalizer(lambda _reason: self._let_go())

    def on_start(self) -> None:
        """Begin to look at the runs at a steady pace."""
        self.run_after("look at runs", self._policy.poll_seconds, self._look)

    def on_drain(self) -> None:
        """Withdraw what is under way; the clients stay as they are."""
        self._let_go()
        self.drained()

    def _let_go(self) -> None:
        """Cancel what others do for this actor; any thread, also as its finalizer."""
        self._queue.clear()
        for run in list(self._runs.values()):
            if run.forget is not None:
                run.forget()
            run.end_poll()
            run.enter("left", 0.0)
        self._runs.clear()
        self._board.operations = ()

    # Watching

    @on(Watch)
    def _on_watch(self, message: Watch) -> None:
        client = message.client
        if client.actor_urn in self._runs:
            return
        run = Run(client)
        self._runs[client.actor_urn] = run
        told = WatchVitals(lambda vitals: self._told(run, vitals))
        run.forget = client.monitor(lambda _down: self.run_soon("client down", partial(self._drop, run)))
        with contextlib.suppress(pykka.ActorDeadError):  # then the monitor has told
            client.tell(told)

    def _told(self, run: Run, vitals: Vitals) -> bool:
        self.run_soon(f"client {vitals.state}", partial(self._heard, run, vitals))
        return self.ref.is_alive()

    def _drop(self, run: Run) -> None:
        self._runs.pop(run.client.actor_urn, None)
        run.end_poll()
        self._enter(run, "left")

    def _heard(self, run: Run, vitals: Vitals) -> None:
        if run.client.actor_urn not in self._runs:
            return
        before, run.vitals = run.vitals, vitals
        changed = vitals.model_id != before.model_id
        if changed:
            run.end_poll()
        if run.phase == "left" and (changed or (vitals.state == "ready" and before.state != "ready")):
            self._enter(run, "watched")
        elif run.recovering and run.phase != "loading" and (changed or is_taken(vitals)):
            self._event(run, "withdrawn", reason=f"the client is {vitals.state} by itself")
            self._enter(run, "watched")
        self._diagnose(run)

    def _diagnose(self, run: Run) -> None:
        signal = signal_of(run.vitals, self._policy)
        if signal is not None:
            self._lost(run, signal, run.vitals.error.message if run.vitals.error is not None else None)

    def _look(self) -> None:
        """Ask the server about every run, side by side; who was not answered since the last look is asked again."""
        self.run_after("look at runs", self._policy.poll_seconds, self._look)
        for run in self._runs.values():
            if run.end_poll():
                self._poll_failed(run, await_timeout("training_run", self._policy.poll_seconds, "unknown"))
            model_id = run.vitals.model_id
            if run.phase == "watched" and model_id is not None and is_watched(run.vitals):
                work = training_run(self._transport, model_id)
                run.poll = self.run_io("training run", work, partial(self._polled, run, model_id))

    def _polled(self, run: Run, model_id: str, result: Result[wire.TrainingRun]) -> None:
        if run.vitals.model_id != model_id:
            return
        run.poll = None
        match result:
            case Err(error):
                self._poll_failed(run, error)
            case Ok(found) if found.corrupted and is_watched(run.vitals):
                self._lost(run, "corrupted", "the server says that its weights are lost")
            case Ok():
                pass

    def _poll_failed(self, run: Run, error: TinkexError) -> None:
        self._log.warning("recovery poll_error", model_id=run.vitals.model_id, error=error.message)

    # A loss, and its place in the queue

    def _lost(self, run: Run, signal: RecoverySignal, why: str | None) -> None:
        if run.phase != "watched":
            return
        run.end_poll()
        run.begin(signal, self.runtime.clock.monotonic())
        self._event(run, "detected", enabled=self._policy.enabled, reason=why)
        if self._policy.enabled:
            self._wait(run, why)
        else:
            self._enter(run, "left")

    def _wait(self, run: Run, why: str | None) -> None:
        self._queue.append(run)
        self._enter(run, "waiting", why)

    def _enter(self, run: Run, phase: Any, reason: str | None = None) -> None:
        run.enter(phase, self.runtime.clock.time(), reason)
        self._go_on()

    def _go_on(self) -> None:
        """Begin the attempts for which there is room, and say what is under way."""
        while self._queue and sum(run.active for run in self._runs.values()) < self._policy.max_concurrent:
            run = self._queue.popleft()
            if run.phase == "waiting":
                self._attempt(run)
        shown = [run.status(self._policy.max_attempts) for run in self._runs.values() if run.recovering]
        self._board.operations = tuple(shown)

    # One attempt

    def _attempt(self, run: Run) -> None:
        run.attempt += 1
        run.enter("choosing", self.runtime.clock.time())
        seconds = self._policy.attempt_timeout_seconds
        run.deadline = self.runtime.clock.monotonic() + seconds
        self._event(run, "started", attempt=run.attempt)
        if self._policy.checkpoint != LATEST:
            self._load(run, [self._policy.checkpoint])
            return
        late = await_timeout("choosing a checkpoint", seconds, "not_sent")
        run.timer = self.run_after("attempt timeout", seconds, partial(self._failed, run, run.epoch, late))
        work = find_checkpoints(self._transport, run.lost_model_id, run.vitals.checkpoint)
        run.work = self.run_io("checkpoints", work, partial(self._chosen, run, run.epoch))

    def _chosen(self, run: Run, epoch: int, result: Result[list[str]]) -> None:
        match result:
            case Err(error):
                self._failed(run, epoch, error)
            case Ok(paths) if run.epoch == epoch:
                self._load(run, without(paths, run.rejected))
            case Ok():
                pass

    def _load(self, run: Run, paths: list[str]) -> None:
        run.paths = paths
        left = run.deadline - self.runtime.clock.monotonic()
        if not paths:
            self._failed(run, run.epoch, nothing_to_load(run.lost_model_id))
            return
        if left <= 0.0:
            late = await_timeout("recovery", self._policy.attempt_timeout_seconds, "not_sent")
            run.enter("choosing", self.runtime.clock.time())  # none of these was tried
            self._failed(run, run.epoch, late)
            return
        path = paths[0]
        self._event(run, "checkpoint_selected", path=path, older=len(paths) - 1)
        run.enter("loading", self.runtime.clock.time(), path)
        load = messages.LoadState(path, self._policy.restore_optimizer, run.release_first, await_timeout=left)
        run.reply = run.client.ask(load, block=False)
        self.run_when("loaded", run.reply, partial(self._loaded, run, run.epoch))
        self._go_on()

    def _loaded(self, run: Run, epoch: int, result: Result[LoadedState]) -> None:
        if run.epoch != epoch:
            return
        match result:
            case Ok(loaded):
                self._recovered(run, loaded)
            case Err(error):
                self._failed(run, epoch, error)

    def _recovered(self, run: Run, loaded: LoadedState) -> None:
        seconds = self.runtime.clock.monotonic() - run.noticed
        path = run.paths[0]
        self._event(run, "client_created", new_model_id=loaded.model_id, path=path)
        self._event(run, "completed", new_model_id=loaded.model_id, path=path, attempts=run.attempt, seconds=seconds)
        told = Recovered(
            actor_urn=run.client.actor_urn,
            signal=run.signal,
            lost_model_id=run.lost_model_id or "",
            model_id=loaded.model_id,
            path=path,
            optimizer=self._policy.restore_optimizer,
            attempts=run.attempt,
            seconds=seconds,
        )
        self._enter(run, "watched")
        call_back(self.runtime, "on_recovery", self._callbacks.recovered, told)
        if run.vitals.model_id == loaded.model_id:
            self._diagnose(run)  # it may be lost again already; else the client is about to tell of its new model

    def _failed(self, run: Run, epoch: int, error: TinkexError) -> None:
        if run.epoch != epoch:
            return
        path = run.paths[0] if run.phase == "loading" else None
        if path is not None:
            run.failures[path] = run.failures.get(path, 0) + 1
        verdict = judge(
            error,
            failures=run.failures[path] if path is not None else 0,
            last_attempt=run.attempt >= self._policy.max_attempts,
        )
        if path is not None and verdict == "older":
            run.rejected.add(path)
        run.release_first = run.release_first or needs_room(run.signal, error)
        self._event(run, "failed", attempt=run.attempt, path=path, kind=error.kind, error=error.message)
        older = without(run.paths, run.rejected) if path is not None else []
        match next_step(self._policy, run.attempt, verdict, bool(older), self._random, error.retry_after):
            case Older():
                self._load(run, older)
            case Again(seconds):
                self._enter(run, "backing_off", error.message)
                run.timer = self.run_after("recover again", seconds, partial(self._again, run, run.epoch))
            case GiveUp():
                self._give_up(run, error)

    def _again(self, run: Run, epoch: int) -> None:
        if run.epoch == epoch:
            self._wait(run, run.reason)

    def _give_up(self, run: Run, error: TinkexError) -> None:
        self._event(run, "exhausted", attempts=run.attempt, error=error.message)
        told = RecoveryFailed(
            actor_urn=run.client.actor_urn,
            signal=run.signal,
            lost_model_id=run.lost_model_id or "",
            attempts=run.attempt,
            error=error,
        )
        self._enter(run, "left")
        call_back(self.runtime, "on_failure", self._callbacks.failed, told)

    def _event(self, run: Run, name: str, **facts: Any) -> None:
        level = self._log.warning if name in _WARNINGS else self._log.info
        level(f"recovery {name}", client=run.client.actor_urn, model_id=run.lost_model_id, signal=run.signal, **facts)


_WARNINGS = frozenset({"detected", "failed", "exhausted"})
