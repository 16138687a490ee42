"""The checkpoints of one epoch on their way: saved, found in the server's list, committed; in this order."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._trainer._due import Due
from tinkex.actors._trainer._journal import Commit
from tinkex.actors._trainer._position import Position, Terms
from tinkex.actors._trainer._verdicts import meaning_of
from tinkex.actors._training._proof import epoch_seconds
from tinkex.protocol import (
    CheckpointPolicy,
    Err,
    Manifest,
    Ok,
    Result,
    TinkerPath,
    TinkexError,
    manifest_name,
    messages,
)
from tinkex.protocol.replies import CheckpointList, CommittedCheckpoint, SavedState

MOST: Final = 2
"""Saves on their way at once; training waits for more."""

LISTINGS: Final = 5
"""Looks into the server's list before a checkpoint counts as not saved."""

LISTING_SECONDS: Final = 1.0
MOST_FAILURES: Final = 5
"""Failed saves in a row after which one that training waits for fails the run."""

RETRY_SECONDS: Final = 5.0

Waiter = Callable[[Result[CommittedCheckpoint]], None]


@dataclass(eq=False)
class Save:
    """One checkpoint on its way."""

    update: int
    cursor: Any
    began: float
    waiters: list[Waiter] = field(default_factory=list[Waiter])
    path: str | None = None
    expires: float | None = None
    looks: int = 0
    listed: bool = False
    committing: bool = False
    measured: "Measured | None" = None


@dataclass(frozen=True)
class Measured:
    """What is known of an update once its results were read."""

    metrics: dict[str, float]
    learning_rate: float
    tokens: int
    train_seconds: float


class Verdicts(NamedTuple):
    """What the stop rule has said."""

    stop_after: int | None
    unjudged: list[tuple[int, dict[str, float]]]
    """Completed updates that it has not seen, and what they measured."""


class Saves:
    """Sends saves and commits them. Used in its actor's thread only.

    Args:
        host: whose thread this runs in.
        client: the training client.
        service: is asked for the list of checkpoints.
        journal: commits.
        terms: of the epoch.
        begin: where the epoch begins.
        policy: when to save, and for how long.
        verdicts: asked, at a commit, what the stop rule has said.
        committed: told of each manifest that is durable.
        failed: told why the epoch cannot go on.
        changed: told when training may go on.
        log: for what went wrong.
    """

    def __init__(
        self,
        host: ClientActor[Any],
        client: GenRef[Any],
        service: GenRef[Any],
        journal: GenRef[Any],
        terms: Terms,
        begin: Position,
        policy: CheckpointPolicy,
        *,
        verdicts: Callable[[], Verdicts],
        committed: Callable[[Manifest, float], None],
        failed: Callable[[TinkexError, str], None],
        changed: Callable[[], None],
        log: Any,
    ) -> None:
        """Begin with nothing on its way."""
        self.due: Final = Due(policy, begin.update, host.runtime.clock.monotonic())
        self.parent = begin.manifest
        self.durable: CommittedCheckpoint | None = (
            CommittedCheckpoint(begin.path, begin.update, begin.manifest)
            if begin.manifest is not None and begin.path is not None
            else None
        )
        self.problem: str | None = None
        """Why the last save failed, until one succeeds."""
        self.closed = False
        self.ending = False
        """Whether the run stops behind what is saved now, and without it after ``MOST_FAILURES``."""
        self._host = host
        self._client = client
        self._service = service
        self._journal = journal
        self._terms = terms
        self._begin = begin
        self._policy = policy
        self._verdicts = verdicts
        self._committed = committed
        self._failed = failed
        self._changed = changed
        self._log = log
        self._open: deque[Save] = deque()
        self._waiting: list[Waiter] = []
        self._failures = 0
        self._retrying = False
        self._tries = 0, 0
        """The update of the last save that was sent, and how many there were of it before."""
        self._measured: tuple[int, Measured] | None = None
        """The last update whose results were read."""

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way or about to be sent again."""
        return not self._open and not self._retrying

    @property
    def full(self) -> bool:
        """Whether a save that is due must wait, and training with it."""
        return len(self._open) >= MOST or self._retrying

    def room(self, update: int, depth: int) -> bool:
        """Whether another update may be sent behind ``update``, however long a commit takes.

        No more than ``every_updates`` and those on their way are ever without a checkpoint: so much can be lost.
        """
        every = self._policy.every_updates
        durable = self.durable.update if self.durable is not None else self._begin.update
        return every is None or update - durable < every + depth

    def want(self, update: int, waiter: Waiter) -> None:
        """Have a checkpoint of ``update``, the last one sent, and tell ``waiter`` of it."""
        if self.durable is not None and self.durable.update == update:
            waiter(Ok(self.durable))
            return
        for save in self._open:
            if save.update == update:
                save.waiters.append(waiter)
                return
        self._waiting.append(waiter)
        self.due.demand(update)

    def send_if_due(self, update: int, cursor: Any) -> bool:
        """Send a save behind ``update`` where one is due; return False where it is due and must wait."""
        now = self._host.runtime.clock.monotonic()
        if not self.due.is_due(update, now):
            return True
        if self.full:
            return False
        save = Save(update, cursor, now, self._waiting)
        if self._measured is not None and self._measured[0] == update:
            save.measured = self._measured[1]
        self._waiting = []
        self._open.append(save)
        self.due.sent(update, now)
        message = messages.SaveState(
            self._name(update),
            ttl_seconds=self._policy.ttl_seconds,
            user_metadata={"tinkex.run": self._terms.run, "tinkex.update": str(update)},
        )
        self._host.run_when("saved", self._client.ask(message, block=False), partial(self._saved, save))
        return True

    def _name(self, update: int) -> str:
        """Return a name on the server: another one each time, since of a save that failed it may have the first."""
        last, before = self._tries
        self._tries = update, before + 1 if last == update else 0
        name = manifest_name(self._terms.epoch, update)
        return name if self._tries[1] == 0 else f"{name}-{self._tries[1] + 1}"

    def measured(self, update: int, measured: Measured) -> None:
        """Note what ``update`` measured: its results were read."""
        self._measured = update, measured
        for save in self._open:
            if save.update == update:
                save.measured = measured
        self._commit_next()

    def close(self, error: TinkexError) -> None:
        """Forget what is on its way; whoever waits for it is told ``error``."""
        self.closed = True
        waiters = [waiter for save in self._open for waiter in save.waiters] + self._waiting
        self._open.clear()
        self._waiting = []
        for waiter in waiters:
            waiter(Err(error))

    # One save's way

    def _saved(self, save: Save, result: Result[SavedState]) -> None:
        if self.closed:
            return
        match result:
            case Ok(saved):
                save.path = saved.path
                self._look(save)
            case Err(error):
                self._save_failed(save, error)

    def _look(self, save: Save) -> None:
        if self.closed or save.path is None:
            return
        save.looks += 1
        listing = messages.ListCheckpoints(TinkerPath.parse(save.path).run_id)
        self._host.run_when("listed", self._service.ask(listing, block=False), partial(self._listed, save))

    def _listed(self, save: Save, result: Result[CheckpointList]) -> None:
        if self.closed:
            return
        error: TinkexError | None = None
        match result:
            case Ok(found):
                for item in found.checkpoints:
                    if item.tinker_path == save.path:
                        save.listed = True
                        save.expires = self._expiry(item.expires_at)
                        self._commit_next()
                        return
            case Err(failure):
                error = failure
        if save.looks < LISTINGS:
            self._host.run_after("look again", LISTING_SECONDS * save.looks, partial(self._look, save))
            return
        self._save_failed(save, error or not_listed(save.path or ""))

    def _expiry(self, told: str | None) -> float | None:
        """Return when a checkpoint expires that was just saved, also where the server does not tell."""
        ttl = self._policy.ttl_seconds
        if told is not None:
            return epoch_seconds(told)
        return self._host.runtime.clock.time() + ttl if ttl is not None else None

    def _save_failed(self, save: Save, error: TinkexError) -> None:
        if save not in self._open:
            return
        if error.kind in ("session_lost", "client_suspect", "actor_dead", "actor_crashed"):
            self._failed(error, f"the save of update {save.update}")
            return
        self._failures += 1
        self.problem = f"{self._failures} saves in a row failed, the last: {error.message}"
        self._log.warning("save failed", update=save.update, kind=error.kind, error=error.message, row=self._failures)
        self._open.remove(save)
        for waiter in save.waiters:
            waiter(Err(error))
        if self._failures >= MOST_FAILURES and (self.ending or meaning_of(error) == "fail"):
            self._failed(error, f"the save of update {save.update}")
            return
        self._retrying = True
        seconds = RETRY_SECONDS * min(self._failures, 12)
        self._host.run_after("save again", seconds, partial(self._again, save.update))
        self._commit_next()
        self._changed()

    def _again(self, update: int) -> None:
        if self.closed:
            return
        self._retrying = False
        later = max([save.update for save in self._open], default=0)
        if max(later, self.durable.update if self.durable is not None else 0) < update:
            self.due.failed()
        self._changed()

    def _commit_next(self) -> None:
        """Commit the oldest, if all is known of it."""
        if not self._open or self.closed:
            return
        save = self._open[0]
        if not save.listed or save.measured is None or save.committing or save.path is None:
            return
        save.committing = True
        manifest = self._manifest(save, save.path, save.measured)
        self._host.run_when(
            "committed", self._journal.ask(Commit(manifest), block=False), partial(self._was_committed, save, manifest)
        )

    def _manifest(self, save: Save, path: str, measured: Measured) -> Manifest:
        verdicts = self._verdicts()
        return Manifest(
            run=self._terms.run,
            epoch=self._terms.epoch,
            update=save.update,
            path=path,
            cursor=save.cursor,
            parent=self.parent,
            fingerprint=self._terms.fingerprint,
            surroundings=self._terms.surroundings,
            learning_rate=measured.learning_rate,
            lr_scale=self._terms.lr_scale,
            stop_after=verdicts.stop_after,
            unjudged=[(update, metrics) for update, metrics in verdicts.unjudged if update <= save.update],
            optimizer=self._begin.optimizer,
            weights_only_from=self._begin.weights_only_from,
            metrics=_finite(measured.metrics),
            tokens=measured.tokens,
            train_seconds=measured.train_seconds,
            saved=self._host.runtime.clock.time(),
            expires=save.expires,
        )

    def _was_committed(self, save: Save, manifest: Manifest, result: Result[str]) -> None:
        if self.closed:
            return
        if isinstance(result, Err):
            self._failed(result.error, f"the commit of update {save.update}")
            return
        self._open.popleft()
        self.parent = manifest.name
        self._failures = 0
        self.problem = None
        self.durable = CommittedCheckpoint(manifest.path, manifest.update, manifest.name)
        self._committed(manifest, self._host.runtime.clock.monotonic() - save.began)
        for waiter in save.waiters:
            waiter(Ok(self.durable))
        self._commit_next()
        self._changed()


def _finite(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def not_listed(path: str) -> TinkexError:
    """Build the error of a checkpoint that the server said it saved and does not list."""
    return TinkexError(
        f"the server said that it saved {path} and does not list it",
        kind="request_failed",
        category="server",
        data={"path": path},
    )
