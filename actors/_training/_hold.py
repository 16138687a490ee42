"""What a training client holds on the server: a lease made real."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._leases._acquire import heartbeat, open_model, open_session
from tinkex.actors._leases._lease import Lease
from tinkex.actors._runtime._io import IoTask
from tinkex.actors._runtime._waiting import Waiting, waiting_as
from tinkex.actors._training._pipeline import Pipeline
from tinkex.actors._training._queue_watch import QueueWatch
from tinkex.actors._training._requests import load_state
from tinkex.actors._training._restore import Restored, Source, restore
from tinkex.actors._training._steps import at_step
from tinkex.actors._transport import Transport
from tinkex.protocol import Err, Ok, QueueStateChange, Result, TinkexError
from tinkex.protocol.messages import LoadState
from tinkex.protocol.replies import LoadedState

T = TypeVar("T")


class Hold:
    """A lease, the session it lives in, its heartbeat, its model, and that model's requests. In its actor's thread.

    Args:
        actor: whose thread and io scope this runs in.
        transport: the way to the server.
        lease: what is made real.
        heartbeat_seconds: between beats, where the lease has a session of its own.
        next_number: the actor's count of calls.
        settled: told after every event of the requests.
        lost: told once when the session turns out to be gone.
        told: told when the server pauses a request or goes on with it.
        waiting: told what the making of it waits for.
    """

    def __init__(
        self,
        actor: ClientActor[Any],
        transport: Transport,
        lease: Lease,
        heartbeat_seconds: float,
        *,
        next_number: Callable[[], int],
        settled: Callable[[], None],
        lost: Callable[["Hold", TinkexError], None],
        told: Callable[[QueueStateChange], None],
        waiting: Waiting | None,
        log: Any,
    ) -> None:
        """Hold nothing real yet."""
        self.lease = lease
        self.pipeline: Pipeline | None = None
        self.closed = False
        self._actor = actor
        self._transport = transport
        self._heartbeat_seconds = heartbeat_seconds
        self._next_number = next_number
        self._settled = settled
        self._lost = lost
        self._told = told
        self._waiting = waiting
        self._log = log
        self._tasks: list[IoTask[Any]] = []
        self._forget_loss: Callable[[], None] | None = None

    @property
    def idle(self) -> bool:
        """Whether no request is open."""
        return self.pipeline is None or self.pipeline.sequence.idle

    @property
    def suspicion(self) -> TinkexError | None:
        """Why nothing more is sent to this model, None while all is well."""
        return None if self.pipeline is None else self.pipeline.sequence.suspicion

    def open(self, then: Callable[[Result[str]], None]) -> None:
        """Make the lease real and tell ``then`` the model's id, or the error with its step. Once."""
        if self.lease.owns_session:
            self._open_session(lambda: self._open_model(then), then)
            return
        lose = partial(self._actor.run_soon, "session lost")
        self._forget_loss = self.lease.session.loss.listen(lambda error: lose(partial(self.lose, error)))
        self._actor.add_finalizer(lambda _reason: self._no_longer_listen())
        self._open_model(then)

    def _no_longer_listen(self) -> None:
        forget, self._forget_loss = self._forget_loss, None
        if forget is not None:
            forget()

    def restore(self, source: Source, then: Callable[[Result[str]], None]) -> None:
        """Make the lease, which has a session of its own, real from a checkpoint; tell ``then`` as ``open`` does."""
        self._open_session(lambda: self._restore(source, then), then)

    def load(self, message: LoadState, then: Callable[[Result[LoadedState]], None]) -> None:
        """Load a checkpoint as the model's first request; it must be open and unused."""
        pipeline = self.pipeline
        if pipeline is None:
            raise AssertionError("a load needs an open model")
        pipeline.enqueue(load_state(self._next_number(), self.lease.model_id or "", message), then)

    def lose(self, error: TinkexError) -> None:
        """Note that the session is gone, unless this was closed meanwhile."""
        if not self.closed:
            self._lost(self, error)

    def close(self, error: TinkexError) -> None:
        """Stop beating, sending and polling; what is open is answered with ``error``. The lease is not touched."""
        if self.closed:
            return
        self.closed = True
        self._no_longer_listen()
        for task in self._tasks:
            task.cancel()
        if self.pipeline is not None:
            self.pipeline.abort(error)

    def _open_session(self, opened: Callable[[], None], then: Callable[[Result[str]], None]) -> None:
        work = open_session(self._transport, self.lease.session)
        on = partial(self._session_opened, opened, then)
        self._run("create_session", work, on)

    def _session_opened(
        self, opened: Callable[[], None], then: Callable[[Result[str]], None], result: Result[str]
    ) -> None:
        if self.closed:
            return
        match result:
            case Err(error):
                then(Err(at_step(error, "create_session")))
            case Ok(session_id):
                beat = heartbeat(self._transport, session_id, self._actor.runtime.clock, self._heartbeat_seconds)
                lost = self._actor.run_io("heartbeat", beat, lambda gone: self.lose(gone.unwrap()))
                self._tasks.append(lost)
                opened()

    def _open_model(self, then: Callable[[Result[str]], None]) -> None:
        work = open_model(self._transport, self.lease)
        self._run("create_model", work, partial(self._model_opened, then))

    def _model_opened(self, then: Callable[[Result[str]], None], result: Result[str]) -> None:
        if self.closed:
            return
        match result:
            case Err(error):
                then(Err(at_step(error, "create_model")))
            case Ok(model_id):
                self._begin(model_id, 1)
                then(Ok(model_id))

    def _restore(self, source: Source, then: Callable[[Result[str]], None]) -> None:
        work = restore(self._transport, self.lease, source)
        self._run("create_model", work, partial(self._restored, then))

    def _restored(self, then: Callable[[Result[str]], None], result: Result[Restored]) -> None:
        if self.closed:
            return
        match result:
            case Err(error):
                then(Err(error))
            case Ok(restored):
                self._begin(restored.model_id, restored.next_seq_id)
                then(Ok(restored.model_id))

    def _run(self, step: str, work: Coroutine[Any, Any, T], then: Callable[[Result[T]], None]) -> None:
        if self._waiting is not None:
            self._waiting.step = step
        with waiting_as(self._waiting):
            self._tasks.append(self._actor.run_io(step, work, then))

    def _begin(self, model_id: str, next_seq_id: int) -> None:
        self._log = self._log.bind(session_id=self.lease.session.session_id, model_id=model_id)
        self.pipeline = Pipeline(
            self._actor,
            self._transport,
            model_id,
            self.lease.session.session_id or "",
            settled=self._settled,
            session_lost=self.lose,
            queue=QueueWatch(self._actor, model_id, self._told, self._log),
            log=self._log,
        )
        self.pipeline.sequence.next_seq_id = next_seq_id
