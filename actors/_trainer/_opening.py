"""How an epoch gets its model: take the run, end earlier sessions, choose a checkpoint, load it."""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pykka

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._runs._fingerprint import differences, refuse_resume, surroundings_warning
from tinkex.actors._runs._rows import SessionRow, Taken
from tinkex.actors._service._service_client import ServiceClient
from tinkex.actors._service._settings import ServiceOptions
from tinkex.actors._trainer._candidates import Candidates
from tinkex.actors._trainer._config import TrainerConfig, lora_fingerprint
from tinkex.actors._trainer._feeder import Describe, Outline
from tinkex.actors._trainer._journal import (
    Begin,
    EndSession,
    Lineage,
    Losses,
    Note,
    RecordSession,
    Restoring,
    Rollback,
    Take,
)
from tinkex.actors._trainer._position import Position, Terms
from tinkex.actors._trainer._run_errors import lost_at_once, no_optimizer, nothing_left, other_weights
from tinkex.actors._trainer._training import program_failed
from tinkex.protocol import Err, Manifest, Ok, Result, TinkexError, messages, validation
from tinkex.protocol.replies import ActorStatus, CheckpointInfo, FinishedSession, ServerCapabilities


class Opened(NamedTuple):
    """What an epoch trains with."""

    client: GenRef[Any]
    begin: Position
    terms: Terms
    outline: Outline
    model_id: str
    lineage: list[str]
    """Names of the manifests that it can go back to, newest first."""
    losses: list[tuple[int, float]]
    """Of late, by update: what a loss guard compares with."""


class Opening:
    """One attempt to open an epoch, which lasts as long as the server needs. Used in its actor's thread only.

    A failure that can pass is tried again, for ever, each time later. Where a checkpoint was committed, a run begins
    from one or not at all.
    """

    def __init__(
        self,
        host: ClientActor[Any],
        config: TrainerConfig,
        journal: GenRef[Any],
        feeder: GenRef[Any],
        *,
        reason: str,
        options: ServiceOptions,
        taken: Callable[[Taken], None],
        found: Callable[[Position], None],
        opened: Callable[[Opened], None],
        failed: Callable[[TinkexError], None],
        waits: Callable[[str | None], None],
        waits_for_program: Callable[[bool], None],
        log: Any,
    ) -> None:
        """Begin with nothing asked; ``take`` sets out."""
        self.service: GenRef[Any] | None = None
        self.epoch = 0
        self.held: int | None = None
        self.rollback: Rollback | None = None
        """What it takes the run with, as long as ``epoch`` is 0."""
        self._host = host
        self._config = config
        self._journal = journal
        self._feeder = feeder
        self._reason = reason
        self._options = options
        self._tell_taken = taken
        self._tell_found = found
        self._opened = opened
        self._failed = failed
        self._waits = waits
        self._waits_for_program = waits_for_program
        self._log = log
        self._random = host.runtime.new_random()
        self._closed = False
        self._attempts = 0
        self._surroundings: dict[str, str] = {}
        self._base_model = config.base_model

    def close(self) -> None:
        """Give it up; what was made is its service's to end."""
        self._closed = True

    def take(self, held: int | None, rollback: Rollback | None) -> None:
        """Take the run, and go on from there; a store that is locked for long is tried again."""
        self.held, self.rollback = held, rollback
        self._take = partial(self.take, held, rollback)
        reply: Any = self._journal.ask(Take(self._reason, held=held, rollback=rollback), block=False)
        self._host.run_when("taken", reply, self._taken)

    def _taken(self, result: Result[Taken]) -> None:
        if self._closed:
            if isinstance(result, Ok):
                self._tell_taken(result.value)  # it is held all the same, and its end is to be written down
            return
        match result:
            case Err(error) if error.kind == "conflict" and not error.user_error:
                self._later(error, self._take)
                return
            case Err(error):
                self._fail(error)
                return
            case Ok(taken):
                self._run = taken
        self.epoch = self._run.epoch
        self._tell_taken(self._run)
        self._sessions: list[SessionRow] = list(self._run.sessions)
        try:
            self.service = ServiceClient.start(**self._options)
        except TinkexError as error:
            self._fail(error)
            return
        self._waits_for_program(True)
        self._ask("described", self._feeder, Describe(), self._described)

    def _described(self, result: Result[Outline]) -> None:
        self._waits_for_program(False)
        if isinstance(result, Err):
            self._fail(program_failed(result.error))
            return
        self._outline = result.value
        self._end_session()

    # Earlier epochs' sessions: whoever still trains in one is shut out before this one makes a model

    def _end_session(self) -> None:
        if not self._sessions:
            self._look_around()
            return
        self._ask_server(
            "session ended", messages.FinishSession(self._sessions[0].session_id, "taken over"), self._session_ended
        )

    def _session_ended(self, result: Result[FinishedSession]) -> None:
        match result:
            case Err(error) if error.retryable or not error.user_error:
                self._later(error, self._end_session)
                return
            case Err(error):
                self._fail(error)
                return
            case Ok(ended):
                session_id = self._sessions.pop(0).session_id
                if not ended.finished:
                    self._warn("the server cannot finish sessions: an earlier trainer may train on", session=session_id)
                self._ask("noted", self._journal, EndSession(session_id), lambda _result: self._end_session())

    # The server

    def _look_around(self) -> None:
        self._ask_server("capabilities", messages.GetServerCapabilities(), self._looked_around)

    def _looked_around(self, result: Result[ServerCapabilities]) -> None:
        match result:
            case Err(error) if not error.user_error:
                self._later(error, self._look_around)
                return
            case Err(error) if self._base_model is None:
                self._fail(error)
                return
            case Err(error):
                self._log.info("the server does not tell what it can do", error=error.message)
            case Ok(known):
                self._surroundings = dict(known.build or {})
                if self._base_model is None:
                    if not known.supported_models:
                        self._fail(validation("the server names no base model; pass base_model", field="base_model"))
                        return
                    self._base_model = known.supported_models[0].model_name
        self._ask("lineage", self._journal, Lineage(), self._choose)

    # The checkpoint

    def _choose(self, result: Result[list[tuple[str, Result[Manifest]]]]) -> None:
        if isinstance(result, Err):
            self._fail(result.error)
            return
        whole: list[Manifest] = []
        for name, found in result.value:
            match found:
                case Ok(manifest):
                    whole.append(manifest)
                case Err(error):
                    self._warn(error.message, manifest=name)
        self._candidates = Candidates(whole)
        if whole:
            self._tell_found(Position.of(whole[0]))
        if self._run.latest is not None:
            self._restore()
        elif self._config.from_weights is None:
            self._create_fresh()
        else:
            self._look_at_weights(self._config.from_weights)

    @property
    def _fingerprint(self) -> dict[str, str]:
        return {
            **self._outline.fingerprint,
            "base_model": self._base_model or "",
            "lora": lora_fingerprint(self._config.lora),
        }

    def _restore(self) -> None:
        manifest = self._candidates.first
        if manifest is None:
            self._fail(nothing_left(self._config.run))
            return
        differing = differences(manifest.fingerprint, self._fingerprint)
        if differing:
            self._fail(refuse_resume(manifest, differing))
            return
        warning = surroundings_warning(manifest, differences(manifest.surroundings, self._surroundings))
        if warning is not None:
            self._warn(warning, manifest=manifest.name)
        self._ask("restoring", self._journal, Restoring(manifest.name), partial(self._load, manifest))

    def _load(self, manifest: Manifest, result: Result[None]) -> None:
        if isinstance(result, Err):
            self._fail(result.error)
            return
        create = messages.CreateTrainingClientFromState(
            manifest.path, optimizer=True, owner=self._host.actor_urn, await_timeout=self._patience
        )
        self._ask_server("loaded", create, partial(self._loaded, manifest))

    def _loaded(self, manifest: Manifest, result: Result[Any]) -> None:
        if isinstance(result, Ok):
            self._made(Position.of(manifest), result.value)
            return
        error = result.error
        follows = self._candidates.failed(error)
        if follows == "older" or (follows == "again" and self._candidates.first is not manifest):
            self._warn(f"{manifest.path} cannot be loaded: {error.message}", manifest=manifest.name)
        match follows:
            case "again":
                self._later(error, self._restore)
            case "older":
                self._restore()
            case "refuse":
                self._fail(no_optimizer(manifest, error))
            case "fail":
                self._fail(error)

    def _look_at_weights(self, path: str) -> None:
        self._ask_server("weights looked at", messages.GetCheckpointInfo(path), partial(self._looked_at_weights, path))

    def _looked_at_weights(self, path: str, result: Result[CheckpointInfo]) -> None:
        match result:
            case Err(error) if error.user_error:
                self._fail(error)
            case Err(error):
                self._later(error, partial(self._look_at_weights, path))
            case Ok(info):
                wrong = other_weights(info, self._base_model or "", self._config.lora.rank)
                if wrong is not None:
                    self._fail(wrong)
                else:
                    self._create_fresh()

    def _create_fresh(self) -> None:
        weights = self._config.from_weights
        lora = self._config.lora
        base_model = self._base_model or ""
        if weights is not None:
            self._warn(f"begins from the weights of {weights} alone: the optimizer is reset")
            message: Any = messages.CreateTrainingClientFromState(
                weights, base_model=self._config.base_model, owner=self._host.actor_urn, await_timeout=self._patience
            )
        else:
            message = messages.CreateLoraTrainingClient(
                base_model,
                lora.rank,
                lora.seed,
                lora.train_mlp,
                lora.train_attn,
                lora.train_unembed,
                owner=self._host.actor_urn,
                await_timeout=self._patience,
            )
        begin = Position(0, self._outline.first_cursor, optimizer=weights is None, weights_only_from=weights)
        self._ask_server("created", message, partial(self._created, begin))

    def _created(self, begin: Position, result: Result[Any]) -> None:
        match result:
            case Ok(client):
                self._made(begin, client)
            case Err(error) if error.user_error or error.kind == "session_lost":
                self._fail(error)
            case Err(error):
                self._later(error, self._create_fresh)

    @property
    def _patience(self) -> float | None:
        return self._config.watchdog.first_seconds if self._config.watchdog.enabled else None

    # The model is there: nothing trains before its session is written down

    def _made(self, begin: Position, client: GenRef[Any]) -> None:
        self._ask("made", client, messages.Status(), partial(self._known, begin, client))

    def _known(self, begin: Position, client: GenRef[Any], result: Result[ActorStatus]) -> None:
        match result:
            case Ok(status) if status.session_id is not None and status.model_id is not None:
                record = RecordSession(status.session_id, status.model_id)
                then = partial(self._recorded, begin, client, status.model_id)
                self._ask("recorded", self._journal, record, then)
            case Ok(status):
                client.kill()
                self._fail(lost_at_once(status))
            case Err(error):
                client.kill()
                self._fail(error)

    def _recorded(self, begin: Position, client: GenRef[Any], model_id: str, result: Result[None]) -> None:
        if isinstance(result, Err):
            self._fail(result.error)
            return
        message = Begin(begin.manifest, begin.update, self._reason)
        self._ask("begun", self._journal, message, partial(self._begun, begin, client, model_id))

    def _begun(self, begin: Position, client: GenRef[Any], model_id: str, result: Result[None]) -> None:
        if isinstance(result, Err):
            self._fail(result.error)
            return
        opened = partial(self._tell_opened, begin, client, model_id)
        guard = self._config.loss_guard
        if guard is None or guard.spike is None:
            opened(Ok([]))
        else:
            self._ask("losses", self._journal, Losses(begin.update, guard.window), opened)

    def _tell_opened(
        self, begin: Position, client: GenRef[Any], model_id: str, losses: Result[list[tuple[int, float]]]
    ) -> None:
        if isinstance(losses, Err):
            self._fail(losses.error)
            return
        self._waits(None)
        terms = Terms(
            self._config.run, self._run.epoch, self._run.lr_scale, self._fingerprint, dict(self._surroundings)
        )
        lineage = self._candidates.names
        self._opened(Opened(client, begin, terms, self._outline, model_id, lineage, losses.value))

    # Asking

    def _ask(self, label: str, ref: GenRef[Any], message: Any, then: Callable[[Result[Any]], None]) -> None:
        reply: Any = ref.ask(message, block=False)
        self._host.run_when(label, reply, lambda result: None if self._closed else then(result))

    def _ask_server(self, label: str, message: Any, then: Callable[[Result[Any]], None]) -> None:
        if self.service is None:
            raise AssertionError("asked before the run was taken")
        self._ask(label, self.service, message, then)

    def _later(self, error: TinkexError, again: Callable[[], None]) -> None:
        if self.service is None or not self.service.is_alive():
            self._fail(error)  # nobody would ever answer: another epoch has another service
            return
        self._attempts += 1
        policy = self._config.rebuild
        bound = min(policy.backoff_seconds * 2.0 ** min(self._attempts, 32), policy.max_backoff_seconds)
        seconds = max(self._random.uniform(0.0, bound), error.retry_after or 0.0)
        self._log.warning("run waits", attempt=self._attempts, seconds=seconds, kind=error.kind, error=error.message)
        self._waits(error.message)
        self._host.run_after("try again", seconds, lambda: None if self._closed else again())

    def _warn(self, sentence: str, **facts: Any) -> None:
        self._log.warning("run warning", reason=sentence, **facts)
        with contextlib.suppress(pykka.ActorDeadError):  # a run whose journal has ended fails of that
            self._journal.tell(Note({"kind": "warning", "reason": sentence, **facts}))

    def _fail(self, error: TinkexError) -> None:
        self._closed = True
        self._failed(error)
