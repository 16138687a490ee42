"""The service client: one session on the server, and the maker of training clients."""

import contextlib
from functools import partial
from typing import Any, ClassVar, Final, Literal, Unpack, cast

import pykka

from tinkex.actors._genserver._client import Call, ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import exposed, on
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._watch import Down
from tinkex.actors._leases._acquire import finish_all
from tinkex.actors._leases._keeper import Keeper
from tinkex.actors._leases._leases import Leases
from tinkex.actors._leases._reaper import Reap, Reaper
from tinkex.actors._leases._release import Releaser
from tinkex.actors._recovery._recovery import Recovery
from tinkex.actors._runtime._log import log
from tinkex.actors._service._announcer import Announcer
from tinkex.actors._service._creations import Creations
from tinkex.actors._service._service_calls import (
    delete_checkpoint,
    finish_session,
    get_server_capabilities,
    get_training_run,
    list_checkpoints,
    set_checkpoint_ttl,
)
from tinkex.actors._service._service_proxy import ServiceClientProxy
from tinkex.actors._service._service_ref import OpenService, ServiceClientRef
from tinkex.actors._service._settings import ServiceOptions, resolve
from tinkex.actors._supervision._supervisor import Supervisor
from tinkex.actors._training._checkpoint import get_checkpoint_info
from tinkex.actors._training._progress import progress_seconds
from tinkex.actors._transport import Limits, Transport, profile_of, share_courtesy
from tinkex.protocol import ChildSpec, Err, Ok, Result, messages
from tinkex.protocol.replies import (
    ActorStatus,
    CheckpointInfo,
    CheckpointList,
    CheckpointTtl,
    DeletedCheckpoint,
    FinishedSession,
    LeakReport,
    ServerCapabilities,
    TrainingRunInfo,
)

State = Literal["ready", "stopping", "finishing", "finished"]

RESTART_SECONDS: Final = 1.0
"""Before a reaper that ended is replaced: what ended it may do so again."""

FINISH_SECONDS: Final = 3.0
"""Of the time to stop in, what is kept for finishing the sessions after the clients."""


class ServiceClient(ClientActor[ServiceClientProxy]):
    """An actor for one user of one server: makes training clients and answers questions about checkpoints.

    Starting sends nothing; the session is opened by the first create and finished when this actor ends. Creates run
    side by side and never block it.
    """

    shutdown: ClassVar[float] = 8.0
    ref_class: ClassVar[type[GenRef[Any]]] = ServiceClientRef
    lists_leaks: ClassVar[bool] = True

    def __init__(self, **options: Unpack[ServiceOptions]) -> None:
        """Check the options; nothing is sent. See ``start``."""
        super().__init__()
        settings = resolve(options)
        self._settings = settings
        limits = Limits(settings.max_in_flight, settings.max_bytes_in_flight)
        courtesy, leave = share_courtesy(self.runtime, settings.base_url, settings.api_key, limits)
        self.add_finalizer(lambda _reason: leave())
        self._transport = Transport(
            settings.base_url,
            settings.api_key,
            self.runtime.clock,
            send_timeout=settings.send_timeout,
            http_transport=self.runtime.http_transport,
            rng=self.runtime.new_random(),
            courtesy=courtesy,
            profile=profile_of(self.runtime, settings.base_url),
        )
        self._leases = Leases(settings.state_dir, settings.base_url, self.runtime.clock)
        self._book = self._leases.book
        self._release = Releaser(self._transport, self._book, self.runtime.io)
        self._given_supervisor = options.get("supervisor")
        self._owns_supervisor = self._given_supervisor is None
        self._creations: Creations | None = None
        self._reaper_id = f"reaper-{self.actor_urn}"
        self._state: State = "ready"
        self._waits_for_questions = True
        self._log = log(actor="ServiceClient", actor_urn=self.actor_urn)

    @classmethod
    def start(cls, **options: Unpack[ServiceOptions]) -> ServiceClientRef:
        """Start a service client; at once, nothing is sent.

        Args:
            options: see ``ServiceOptions``.

        Raises:
            TinkexError: kind ``validation``: an option is wrong, or a key is needed and there is none.
        """
        return cast("ServiceClientRef", super().start(**options))

    @classmethod
    def open(cls, **options: Unpack[ServiceOptions]) -> OpenService:
        """Start and stop a service client by scope: ``with ServiceClient.open(...) as service:``, or ``async with``."""
        return OpenService(lambda: cls.start(**options))

    def on_start(self) -> None:
        """Start the supervisor, unless one was given, and under it the reaper."""
        try:
            given = self._given_supervisor
            self._supervisor = supervisor = given if given is not None else Supervisor.start()
        except BaseException:
            self._leases.end()
            raise
        self.add_finalizer(self._end_children)
        supervisor.monitor(lambda down: self.run_soon("supervisor down", partial(self._supervisor_down, down)))
        self._leases.inherit()
        self._start_reaper()
        announcer = Announcer(self.runtime, "on_queue_state_change", self._settings.on_queue_state_change)
        keeper = Keeper(self._book, self._release, announcer.tell, self._settings.tags, self._settings.user_metadata)
        creations = Creations(self, self._transport, self._settings, self._book, keeper, supervisor, self._log)
        self._recovery = Recovery(
            self,
            self._transport,
            self._settings.recovery,
            supervisor,
            on_recovery=self._settings.on_recovery,
            on_failure=self._settings.on_failure,
        )
        creations.created = self._recovery.watch
        self._creations = creations
        if self.actor_stopped.is_set():  # killed meanwhile: its finalizer came before what was begun here
            self._end_children("killed")

    # What orchestrators call through a proxy; each is a message too, documented in ``tinkex.protocol.messages``.

    @exposed
    def create_lora_training_client(self, base_model: str, *args: Any, **options: Any) -> Any:
        """Create a fresh training client; see ``messages.CreateLoraTrainingClient``."""
        return self.handle_call(messages.CreateLoraTrainingClient, base_model, *args, **options)

    @exposed
    def create_training_client_from_state(self, path: str, **options: Any) -> Any:
        """Create a client with a checkpoint's weights; see ``messages.CreateTrainingClientFromState``."""
        return self.handle_call(messages.CreateTrainingClientFromState, path, **options)

    @exposed
    def create_training_client_from_state_with_optimizer(self, path: str, **options: Any) -> Any:
        """Create a client with a checkpoint's weights and optimizer."""
        return self.handle_call(messages.CreateTrainingClientFromState, path, optimizer=True, **options)

    @exposed
    def get_server_capabilities(self, **options: Any) -> Any:
        """List the base models; see ``messages.GetServerCapabilities``."""
        return self.handle_call(messages.GetServerCapabilities, **options)

    @exposed
    def get_checkpoint_info(self, path: str, **options: Any) -> Any:
        """Describe a checkpoint; see ``messages.GetCheckpointInfo``."""
        return self.handle_call(messages.GetCheckpointInfo, path, **options)

    @exposed
    def list_checkpoints(self, run_id: str | None = None, **options: Any) -> Any:
        """List checkpoints; see ``messages.ListCheckpoints``."""
        return self.handle_call(messages.ListCheckpoints, run_id, **options)

    @exposed
    def delete_checkpoint(self, path: str, **options: Any) -> Any:
        """Delete a checkpoint; see ``messages.DeleteCheckpoint``."""
        return self.handle_call(messages.DeleteCheckpoint, path, **options)

    @exposed
    def set_checkpoint_ttl(self, path: str, ttl_seconds: int | None, **options: Any) -> Any:
        """Let a checkpoint expire; see ``messages.SetCheckpointTtl``."""
        return self.handle_call(messages.SetCheckpointTtl, path, ttl_seconds, **options)

    @exposed
    def get_training_run(self, run_id: str, **options: Any) -> Any:
        """Ask how a training run is; see ``messages.GetTrainingRun``."""
        return self.handle_call(messages.GetTrainingRun, run_id, **options)

    @exposed
    def finish_session(self, session_id: str, detail: str | None = None, **options: Any) -> Any:
        """End a session on the server; see ``messages.FinishSession``."""
        return self.handle_call(messages.FinishSession, session_id, detail, **options)

    @exposed
    def leaks(self) -> Any:
        """List what could not be released; see ``messages.Leaks``."""
        return self.handle_call(messages.Leaks)

    @exposed
    def status(self) -> Any:
        """Say what is going on, without asking the server; see ``messages.Status``."""
        return self.handle_call(messages.Status)

    # Creates

    @on(messages.CreateLoraTrainingClient)
    def _on_create(self, message: messages.CreateLoraTrainingClient) -> Result[Any] | Deferred[Any]:
        return self._creates().begin(message)

    @on(messages.CreateTrainingClientFromState)
    def _on_create_from_state(self, message: messages.CreateTrainingClientFromState) -> Result[Any] | Deferred[Any]:
        return self._creates().begin(message)

    # Questions

    @on(messages.GetServerCapabilities)
    def _on_capabilities(self, message: messages.GetServerCapabilities) -> Deferred[ServerCapabilities]:
        return self.call("get_server_capabilities", message, get_server_capabilities(self._transport))

    @on(messages.GetCheckpointInfo)
    def _on_checkpoint_info(self, message: messages.GetCheckpointInfo) -> Deferred[CheckpointInfo]:
        return self.call("get_checkpoint_info", message, get_checkpoint_info(self._transport, message.path))

    @on(messages.ListCheckpoints)
    def _on_list_checkpoints(self, message: messages.ListCheckpoints) -> Deferred[CheckpointList]:
        return self.call("list_checkpoints", message, list_checkpoints(self._transport, message.run_id))

    @on(messages.DeleteCheckpoint)
    def _on_delete_checkpoint(self, message: messages.DeleteCheckpoint) -> Deferred[DeletedCheckpoint]:
        return self.call("delete_checkpoint", message, delete_checkpoint(self._transport, message.path))

    @on(messages.SetCheckpointTtl)
    def _on_set_checkpoint_ttl(self, message: messages.SetCheckpointTtl) -> Deferred[CheckpointTtl]:
        work = set_checkpoint_ttl(self._transport, message.path, message.ttl_seconds)
        return self.call("set_checkpoint_ttl", message, work)

    @on(messages.GetTrainingRun)
    def _on_training_run(self, message: messages.GetTrainingRun) -> Deferred[TrainingRunInfo]:
        return self.call("get_training_run", message, get_training_run(self._transport, message.run_id))

    @on(messages.FinishSession)
    def _on_finish_session(self, message: messages.FinishSession) -> Deferred[FinishedSession]:
        work = finish_session(self._transport, message.session_id, message.detail)
        return self.call("finish_session", message, work)

    @on(messages.Leaks)
    def _on_leaks(self, _message: messages.Leaks) -> Result[LeakReport]:
        return Ok(LeakReport(leases=self._leases.leaks()))

    def progress_seconds(self, name: str) -> float:
        """Return after how many seconds of work a call of this name is overdue."""
        return progress_seconds(name)

    @on(messages.Status)
    def _on_status(self, _message: messages.Status) -> Result[ActorStatus]:
        return Ok(
            ActorStatus(
                actor=self.actor_urn,
                state=self._state,
                session_id=self._creates().session_id,
                model_id=None,
                next_seq_id=None,
                operations=[*self._creates().status(), *self._recovery.status(), *self.open_calls()],
            )
        )

    # Ending

    def on_drain(self) -> None:
        """Give up creates, stop the clients, release what they held, finish the sessions, answer what is asked."""
        self._state = "stopping"
        self._creates().stop()
        self._recovery.stop()
        left = self.stop_seconds()
        for_clients = max(left - FINISH_SECONDS, left / 2.0)
        self.run_after("questions late", for_clients, self._questions_late)
        if not self._supervisor.is_alive():
            self._finish()
        elif self._owns_supervisor:
            self._supervisor.stop(block=False, reason="shutdown", shutdown=for_clients)
        else:
            child_ids = self._child_ids()
            self.run_after("clients late", for_clients, partial(self._clients_late, child_ids))
            self._terminate(child_ids)

    def _child_ids(self) -> list[str]:
        return [self._reaper_id, *self._creates().child_ids(), *self._recovery.child_ids]

    def _terminate(self, child_ids: list[str]) -> None:
        if not child_ids:
            self._finish()
            return
        youngest = child_ids.pop()
        stopped = self._supervisor.ask(messages.TerminateChild(youngest), block=False)
        self.run_when("child stopped", stopped, lambda _result: self._terminate(child_ids))

    def _clients_late(self, child_ids: list[str]) -> None:
        """Leave the end of those that are left to a supervisor that is busy: it outlives this actor."""
        with contextlib.suppress(pykka.ActorDeadError):
            while child_ids:
                self._supervisor.tell(messages.TerminateChild(child_ids.pop()))
        self._finish()

    def _supervisor_down(self, down: Down) -> None:
        if self._state == "stopping":
            self._finish()
        else:
            self._log.error("supervisor down, stopping", reason=down.reason)
            self.ref.stop(block=False)

    def _finish(self) -> None:
        if self._state != "stopping":
            return
        self._state = "finishing"
        self._creates().kill_clients()
        self.run_io("finish sessions", finish_all(self._transport, self._book), lambda _result: self._finished())

    def _finished(self) -> None:
        self._state = "finished"
        self._leases.end()
        self._maybe_drained()

    def call_ended(self, call: Call, result: Result[Any]) -> None:
        """Go on to the end, if this was the last question that it waited for."""
        del call, result
        self._maybe_drained()

    def _questions_late(self) -> None:
        self._waits_for_questions = False
        self._maybe_drained()

    def _maybe_drained(self) -> None:
        """End, once all is given back and what was accepted before the stop is answered, or had its time."""
        if self._state == "finished" and not (self._waits_for_questions and self.calls_open):
            self.drained()

    def _end_children(self, _reason: str) -> None:
        """The finalizer: whatever the end, no client and no session outlives this actor."""
        if self._state == "finished":
            return
        try:
            if self._owns_supervisor:
                self._supervisor.monitor(lambda _down: self._finish_elsewhere())
                self._supervisor.stop(block=False, reason="shutdown")
                return
            if self._creations is not None:  # else it is starting, and comes here at the end of that
                for child_id in reversed(self._child_ids()):
                    self._supervisor.tell(messages.TerminateChild(child_id))
        except pykka.ActorDeadError:
            self._log.debug("supervisor was down already")
        self._finish_elsewhere()

    def _finish_elsewhere(self) -> None:
        self.runtime.io.submit(finish_all(self._transport, self._book), lambda _outcome: self._leases.end())

    def _start_reaper(self) -> None:
        spec = ChildSpec(self._reaper_id, Reaper, args=(self._transport, self._book), restart="temporary")
        started = self._supervisor.ask(messages.StartChild(spec), block=False)
        self.run_when("reaper started", started, self._reaper_started)

    def _reaper_started(self, result: Result[Any]) -> None:
        if isinstance(result, Err):
            self._log.error("reaper not started", error=result.error.message)
            self.run_after("another reaper", RESTART_SECONDS, self._start_another_reaper)
            return
        reaper: GenRef[Any] = result.value
        self._release.reaper = reaper
        reaper.monitor(lambda _down: self.run_soon("reaper down", self._reaper_down))
        for lease in self._book.leases():
            if lease.state == "releasing":
                with contextlib.suppress(pykka.ActorDeadError):  # then another is started, and told again
                    reaper.tell(Reap(lease))

    def _reaper_down(self) -> None:
        if self._state == "ready" and self._supervisor.is_alive():
            self._log.error("reaper down, starting another")
            self.run_after("another reaper", RESTART_SECONDS, self._start_another_reaper)

    def _start_another_reaper(self) -> None:
        if self._state == "ready" and self._supervisor.is_alive():
            self._start_reaper()

    def _creates(self) -> Creations:
        if self._creations is None:
            raise AssertionError("on_start makes the creations")
        return self._creations
