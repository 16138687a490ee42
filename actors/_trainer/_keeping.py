"""Keeping checkpoints: what the policy drops is deleted in two steps, what it keeps is renewed before it expires."""

import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import pykka

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._trainer._journal import Deleted, Kept, Note, Renewed, Retain
from tinkex.protocol import CheckpointPolicy, Err, Ok, Result, RetentionPolicy, TinkexError, messages
from tinkex.protocol.replies import CheckpointInfo, CheckpointTtl, DeletedCheckpoint

_GONE: Final = frozenset({404, 410})
_PARTS: Final = 4
"""How often in the life of a checkpoint it is looked whether it is to be renewed."""


class Keeping:
    """Keeps the checkpoints of one run, by its policy, one step after another. Used in its actor's thread only.

    A round begins behind each commit, and by the clock where checkpoints expire. First it is seen that the newest one
    is still there, then the plan is made and written down (the first step of a delete), then the server is asked.
    """

    def __init__(
        self,
        host: ClientActor[Any],
        service: GenRef[Any],
        journal: GenRef[Any],
        checkpoints: CheckpointPolicy,
        retention: RetentionPolicy,
        *,
        forgotten: Callable[[str], None],
        changed: Callable[[], None],
        log: Any,
    ) -> None:
        """Begin with nothing to do; ``forgotten`` is told what is being deleted, ``changed`` of each round's end."""
        self._host = host
        self._service = service
        self._journal = journal
        self._ttl = checkpoints.ttl_seconds
        self._retention = retention
        self._forgotten = forgotten
        self._changed = changed
        self._log = log
        self._over = False
        self._busy = False
        self._wanted = False
        self._newest: tuple[str, str] | None = None
        """Name and path of the last one that was committed."""
        self._deletes: deque[tuple[str, str]] = deque()
        self._renewals: deque[tuple[str, str]] = deque()
        self._timer: Timer | None = None

    def begin(self, name: str, path: str) -> None:
        """Note the checkpoint that an epoch begins from, and look after what there is."""
        self._newest = name, path
        self._tick()

    @property
    def idle(self) -> bool:
        """Whether no round is under way."""
        return not self._busy

    def close(self) -> None:
        """Ask for nothing more; what is half deleted is deleted by the next epoch."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()

    def committed(self, name: str, path: str) -> None:
        """Begin a round: there is a new checkpoint."""
        first = self._newest is None
        self._newest = name, path
        if first:
            self._tick()
        elif self._ttl is not None or self._retention.keep_last is not None:
            self._round()

    def _tick(self) -> None:
        if self._over:
            return
        if self._ttl is not None:
            self._timer = self._host.run_after("renew", max(self._ttl / _PARTS, 1.0), self._tick)
        if self._ttl is not None or self._retention.keep_last is not None:
            self._round()

    def _round(self) -> None:
        if self._busy:
            self._wanted = True
            return
        if self._newest is None or self._over:
            return
        self._busy = True
        self._wanted = False
        name, path = self._newest
        seen = self._service.ask(messages.GetCheckpointInfo(path), block=False)
        self._host.run_when("checkpoint seen", seen, partial(self._seen, name))

    def _seen(self, name: str, result: Result[CheckpointInfo]) -> None:
        if self._over:
            return
        verified = [name] if isinstance(result, Ok) else []
        plan = self._journal.ask(Retain(self._retention, self._ttl, verified), block=False)
        self._host.run_when("retained", plan, self._planned)

    def _planned(self, result: Result[Kept]) -> None:
        if self._over:
            return
        match result:
            case Err(error):
                self._log.warning("checkpoints not looked through", error=error.message)
                self._done()
            case Ok(kept):
                self._deletes = deque(kept.delete)
                self._renewals = deque(kept.renew)
                for name, _path in kept.delete:
                    self._forgotten(name)
                self._next()

    def _next(self) -> None:
        if self._over:
            return
        if self._renewals:
            name, path = self._renewals.popleft()
            asked = self._service.ask(messages.SetCheckpointTtl(path, self._ttl), block=False)
            self._host.run_when("renewed", asked, partial(self._renewed, name))
        elif self._deletes:
            name, path = self._deletes.popleft()
            gone = self._service.ask(messages.DeleteCheckpoint(path), block=False)
            self._host.run_when("deleted", gone, partial(self._deleted, name, path))
        else:
            self._done()

    def _renewed(self, name: str, result: Result[CheckpointTtl]) -> None:
        match result:
            case Err(error):
                self._warn(f"the checkpoint of {name} was not renewed: {error.message}", error)
                self._next()
            case Ok():
                expires = self._host.runtime.clock.time() + self._ttl if self._ttl is not None else None
                written = self._journal.ask(Renewed(name, expires), block=False)
                self._host.run_when("renewal written", written, lambda _result: self._next())

    def _deleted(self, name: str, path: str, result: Result[DeletedCheckpoint]) -> None:
        if isinstance(result, Err) and result.error.status not in _GONE:
            self._warn(f"{path} was not deleted: {result.error.message}", result.error)
            self._next()
            return
        with contextlib.suppress(pykka.ActorDeadError):  # a run whose journal has ended has failed of that already
            self._journal.tell(Note({"kind": "retired", "manifest": name, "path": path}))
        written = self._journal.ask(Deleted(name), block=False)
        self._host.run_when("delete written", written, lambda _result: self._next())

    def _done(self) -> None:
        self._busy = False
        if self._wanted:
            self._round()
        else:
            self._changed()

    def _warn(self, sentence: str, error: TinkexError) -> None:
        self._log.warning("checkpoint not kept in order", reason=sentence, kind=error.kind)
