"""Creates on their way: from the message to a client in the caller's hands, or to nothing left."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, TypeGuard

import pykka

from tinkex.actors._genserver._client import ClientActor, await_timeout, cancelled, operation_status
from tinkex.actors._genserver._deferred import AbandonReason, Deferred
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._watch import Down
from tinkex.actors._leases._acquire import heartbeat, open_session
from tinkex.actors._leases._keeper import Keeper
from tinkex.actors._leases._lease import Lease, LeaseBook
from tinkex.actors._leases._session import Session
from tinkex.actors._runtime._waiting import Waiting, waiting_as
from tinkex.actors._service._creation import Create, Creation, creation_name, lora_of
from tinkex.actors._service._settings import Settings
from tinkex.actors._training._checkpoint import get_checkpoint_info, lora_like, not_lora
from tinkex.actors._training._progress import progress_seconds
from tinkex.actors._training._restore import Source
from tinkex.actors._training._training_client import Boot, TrainingClient
from tinkex.actors._transport import Transport
from tinkex.protocol import ChildSpec, Err, LoraConfig, Ok, Result, TinkexError, messages
from tinkex.protocol.replies import CheckpointInfo, OperationStatus


class Creations:
    """The creates of one service client. Used in its actor's thread only; nothing here waits.

    A client made from a checkpoint has a session of its own, so that the session's end is the model's end; the others
    share one. A ``model_seq_id`` is never used twice in a session.
    """

    def __init__(
        self,
        actor: ClientActor[Any],
        transport: Transport,
        settings: Settings,
        book: LeaseBook,
        keeper: Keeper,
        supervisor: GenRef[Any],
        log: Any,
    ) -> None:
        """Begin with nothing under way and no session."""
        self._actor = actor
        self._transport = transport
        self._settings = settings
        self._book = book
        self._keeper = keeper
        self._supervisor = supervisor
        self._log = log
        self._numbers = itertools.count(1)
        self._model_seq_ids = itertools.count()
        self._session: Session | None = None
        self._opening = False
        self._waiting: list[Creation] = []
        self._creations: dict[int, Creation] = {}
        self._starting: dict[str, None] = {}
        """The ids of clients that the supervisor was asked to start and has not answered for, given up or not."""
        self.created: Callable[[GenRef[Any]], None] = _nobody
        """Told of each client whose create is done."""

    @property
    def session_id(self) -> str | None:
        """The shared session's id, None before the first create needs it."""
        return self._session.session_id if self._session is not None else None

    def child_ids(self) -> list[str]:
        """Return the supervisor's ids of all clients made here that live or will, oldest first. Any thread."""
        living = [creation.child_id for creation in list(self._creations.values()) if creation.client is not None]
        return [*living, *list(self._starting)]

    def status(self) -> list[OperationStatus]:
        """Return what ``Status()`` says about creates under way."""
        return [
            operation_status(creation.name, creation.waiting)
            for creation in self._creations.values()
            if not creation.over
        ]

    def begin(self, message: Create) -> Result[Any] | Deferred[Any]:
        """Start a create for ``message``."""
        owner = _owner(message.owner)
        if isinstance(owner, TinkexError):
            return Err(owner)
        name = creation_name(message)
        waiting = Waiting(self._actor.runtime.clock, progress_seconds(name))
        waiting.count()
        creation = Creation(self._actor.actor_urn, next(self._numbers), message, Deferred(), waiting)
        self._creations[creation.number] = creation
        abandoned = partial(self._abandoned, creation)
        creation.deferred.on_abandon(
            lambda reason: self._actor.run_soon(f"{creation.name} abandoned", partial(abandoned, reason))
        )
        if message.await_timeout is not None:
            expire = partial(self._fail, creation, await_timeout(creation.name, message.await_timeout, "unknown"))
            creation.timer = self._actor.run_after(f"{creation.name} timeout", message.await_timeout, expire)
        if owner is not None:
            gone = partial(self._owner_gone, creation)
            creation.forget_owner = owner.monitor(lambda _down: self._actor.run_soon("owner gone", gone))
        if isinstance(message, messages.CreateTrainingClientFromState):
            self._ask_checkpoint(creation, message.path)
        else:
            self._with_session(creation)
        return creation.deferred

    # From a checkpoint

    def _ask_checkpoint(self, creation: Creation, path: str) -> None:
        creation.at("checkpoint_info")
        work = get_checkpoint_info(self._transport, path)
        with waiting_as(creation.waiting):
            creation.task = self._actor.run_io("checkpoint info", work, partial(self._checkpoint_known, creation))

    def _checkpoint_known(self, creation: Creation, result: Result[CheckpointInfo]) -> None:
        if creation.over:
            return
        match result:
            case Err(error):
                self._fail(creation, error)
            case Ok(info) if not info.is_lora:
                self._fail(creation, not_lora(info.path))
            case Ok(info):
                message = creation.message
                chosen = message.base_model or info.base_model
                self._start(creation, self._new_session(), True, 0, chosen, lora_like(info))

    # In the shared session

    def _with_session(self, creation: Creation) -> None:
        if self._session is not None and self._session.session_id is not None:
            self._start_shared(creation, self._session)
            return
        creation.at("create_session")
        self._waiting.append(creation)
        if self._opening:
            return
        self._opening = True
        if self._session is None:
            self._session = self._new_session()
        work = open_session(self._transport, self._session)
        with waiting_as(creation.waiting):
            self._actor.run_io("create_session", work, partial(self._session_opened, self._session))

    def _new_session(self) -> Session:
        return self._book.open_session(self._settings.tags, self._settings.user_metadata)

    def _session_opened(self, session: Session, result: Result[str]) -> None:
        self._opening = False
        waiting, self._waiting = self._waiting, []
        match result:
            case Err(error):
                if session.asked:  # it may be there, and expire: a later create needs another, under another key
                    self._session = None
                    self._give_up(session)
                for creation in waiting:
                    self._fail(creation, error)
            case Ok(session_id):
                beat = heartbeat(
                    self._transport, session_id, self._actor.runtime.clock, self._settings.heartbeat_seconds
                )
                self._actor.run_io("heartbeat", beat, partial(self._session_lost, session))
                for creation in waiting:
                    if not creation.over:
                        self._start_shared(creation, session)

    def _give_up(self, session: Session) -> None:
        """Leave a session that may exist to the reaper, as a lease of its own."""
        now = self._actor.runtime.clock.time()
        lease = self._book.intend(
            session, owns_session=True, model_seq_id=-1, base_model="", lora=LoraConfig(), user_metadata=None, since=now
        )
        self._keeper.release(lease)

    def _start_shared(self, creation: Creation, session: Session) -> None:
        seq_id = next(self._model_seq_ids)
        self._start(creation, session, False, seq_id, creation.message.base_model or "", lora_of(creation.message))

    def _session_lost(self, session: Session, result: Result[TinkexError]) -> None:
        error = result.unwrap()
        self._log.warning("session lost", session_id=session.session_id, error=error.message)
        if self._session is session:
            self._session = None
        self._book.close_session(session)
        session.loss.happen(error)

    # The client itself

    def _start(
        self,
        creation: Creation,
        session: Session,
        owns_session: bool,
        model_seq_id: int,
        base_model: str,
        lora: LoraConfig,
    ) -> None:
        creation.at("start_client")
        lease = self._book.intend(
            session,
            owns_session=owns_session,
            model_seq_id=model_seq_id,
            base_model=base_model,
            lora=lora,
            user_metadata=creation.message.user_metadata,
            since=self._actor.runtime.clock.time(),
        )
        spec = ChildSpec(
            creation.child_id,
            TrainingClient,
            args=(self._transport, lease, self._keeper, self._settings.heartbeat_seconds),
            restart="temporary",
            shutdown=TrainingClient.shutdown,
        )
        self._starting[spec.id] = None
        started = self._supervisor.ask(messages.StartChild(spec), block=False)
        if self._actor.actor_stopped.is_set():  # killed meanwhile: its finalizer may have come before this start
            self._supervisor.ask(messages.TerminateChild(spec.id), block=False)
        self._actor.run_when("client started", started, partial(self._started, creation, lease))

    def _started(self, creation: Creation, lease: Lease, result: Result[Any]) -> None:
        self._starting.pop(creation.child_id, None)
        match result:
            case Err(error):
                self._keeper.release(lease)
                self._fail(creation, error)
            case Ok(client) if creation.over:
                client.kill()
            case Ok(client):
                creation.client = client
                creation.at("create_model")
                client.monitor(partial(self._notice_end, creation))
                message = creation.message
                boot = Boot(waiting=creation.waiting)
                if isinstance(message, messages.CreateTrainingClientFromState):
                    token, base = message.weights_access_token, message.base_model
                    boot = Boot(Source(message.path, message.optimizer, token, base), creation.waiting)
                booted = client.ask(boot, block=False)
                self._actor.run_when("client booted", booted, partial(self._booted, creation))

    def _booted(self, creation: Creation, result: Result[str]) -> None:
        if creation.over:
            return
        match result:
            case Err(error):
                self._fail(creation, error)
            case Ok(model_id):
                self._end(creation)
                self._log.info("training client created", model_id=model_id, path=creation.path)
                if creation.client is not None:
                    self.created(creation.client)
                creation.deferred.settle(Ok(creation.client))

    # Endings

    def kill_clients(self) -> None:
        """Kill every client that lives."""
        for creation in list(self._creations.values()):
            if creation.client is not None:
                creation.client.kill()

    def stop(self) -> None:
        """Give up every create that is under way."""
        for creation in list(self._creations.values()):
            if not creation.over:
                error = TinkexError("the service client is stopping", kind="actor_dead", category="unknown")
                self._fail(creation, error)

    def _fail(self, creation: Creation, error: TinkexError) -> None:
        if creation.over:
            return
        self._end(creation)
        self._kill(creation, error.message)
        creation.deferred.settle(Err(creation.explain(error)))

    def _abandoned(self, creation: Creation, reason: AbandonReason) -> None:
        if creation.over:
            self._kill(creation, f"its reply was {reason}")
            return
        self._fail(creation, cancelled(creation.name, "unknown"))

    def _owner_gone(self, creation: Creation) -> None:
        self._fail(creation, TinkexError("its owner went down", kind="cancelled", category="user"))
        if creation.client is not None:
            self._kill(creation, "its owner went down")

    def _notice_end(self, creation: Creation, down: Down) -> None:
        self._actor.run_soon("client down", partial(self._client_down, creation, down))

    def _client_down(self, creation: Creation, down: Down) -> None:
        error = down.error or TinkexError(f"the client ended ({down.reason})", kind="actor_dead", category="unknown")
        self._fail(creation, error)
        self._drop(creation)

    def _kill(self, creation: Creation, why: str) -> None:
        if creation.client is not None:
            self._log.info("client killed", child=creation.child_id, path=creation.path, why=why)
            creation.client.kill()
        else:
            self._drop(creation)

    def _end(self, creation: Creation) -> None:
        creation.over = True
        if creation.timer is not None:
            creation.timer.cancel()
        if creation.task is not None:
            creation.task.cancel()

    def _drop(self, creation: Creation) -> None:
        if creation.forget_owner is not None:
            creation.forget_owner()
        self._creations.pop(creation.number, None)


def _nobody(_client: GenRef[Any]) -> None:
    """Tell nobody."""


def _owner(actor_urn: str | None) -> GenRef[Any] | TinkexError | None:
    if actor_urn is None:
        return None
    ref = pykka.ActorRegistry.get_by_urn(actor_urn)
    if _is_ours(ref):
        return ref
    return TinkexError(
        f"owner={actor_urn!r} is not the actor_urn of a living GenServer", kind="validation", category="user"
    )


def _is_ours(ref: object) -> TypeGuard[GenRef[Any]]:
    return isinstance(ref, GenRef)
