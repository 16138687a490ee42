"""Loads in place: another model behind the same client, and a barrier for what is asked meanwhile."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol, TypeVar

from tinkex.actors._genserver._client import Call, ClientActor
from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._leases._acquire import release
from tinkex.actors._runtime._waiting import waiting_as
from tinkex.actors._training._checkpoint import get_checkpoint_info, lora_like, not_lora
from tinkex.actors._training._hold import Hold
from tinkex.actors._training._holder import Holder
from tinkex.actors._training._loading import (
    Behind,
    Loading,
    behind_failed_load,
    load_given_up,
    not_loaded,
    replaced,
    without_model,
)
from tinkex.actors._training._restore import Source
from tinkex.actors._training._restoring import Restoring, refused_after_unknown
from tinkex.actors._training._steps import at_step
from tinkex.actors._transport import Transport
from tinkex.protocol import Err, Ok, Request, Result, TinkexError
from tinkex.protocol.messages import LoadState
from tinkex.protocol.replies import CheckpointInfo, LoadedState

T = TypeVar("T")


class Host(Protocol):
    """What a training client is to its loads."""

    @property
    def refusal(self) -> TinkexError | None:
        """Why it takes no requests, None while it does."""
        ...

    @property
    def takes_no_load(self) -> TinkexError | None:
        """Why it takes no load, None while it does."""
        ...

    def take(self, hold: Hold) -> None:
        """Go on with ``hold``."""
        ...

    def be_without_model(self, why: TinkexError) -> None:
        """Take no requests until a load succeeds."""
        ...

    def load_ended(self) -> None:
        """Hear that nothing waits for a load any more."""
        ...


class Loads:
    """The loads of one training client, one after another. Used in its actor's thread only.

    A load waits until what was asked before it is answered, unless its client is suspect or its session lost. Then a
    new model, in a session of its own, gets the checkpoint, and takes the place of the old one only when it has it;
    a client that was never used loads into the model that it has. What is asked meanwhile waits behind.
    """

    def __init__(self, actor: ClientActor[Any], host: Host, holder: Holder, transport: Transport, log: Any) -> None:
        """Begin without a load."""
        self._actor = actor
        self._host = host
        self._holder = holder
        self._transport = transport
        self._log = log
        self._loading: Loading | None = None

    @property
    def open(self) -> bool:
        """Whether a load is under way: what is asked now goes behind it."""
        return self._loading is not None

    def begin(self, message: LoadState) -> Deferred[LoadedState]:
        """Load, once what was asked before is answered."""
        if self._loading is not None:
            return self.wait_behind("load_state", message, partial(self._begin, message))
        call = self._actor.begin_call("load_state", message)
        self._begin(message, call)
        return call.deferred

    def wait_behind(self, name: str, message: Request[Any], resume: Callable[[Call], None]) -> Deferred[Any]:
        """Keep a request until the load has succeeded; ``resume`` is given its call then."""
        assert self._loading is not None
        call = self._actor.begin_call(name, message)
        self._loading.behind.append(Behind(call, resume))
        return call.deferred

    def go_on(self) -> None:
        """Begin the load that waits, if it need not wait any longer."""
        loading, hold = self._loading, self._holder.hold
        if loading is None or loading.begun or hold is None:
            return
        works = self._host.refusal is None and hold.suspicion is None
        if works and not hold.idle:
            return
        loading.begun, loading.worked = True, works
        loading.call.waiting.heard("running")
        if works and hold.pipeline is not None and hold.pipeline.sequence.unused:
            loading.in_place = True
            hold.load(loading.message, partial(self._loaded_in_place, loading))
        elif loading.message.release_first and not hold.closed:
            loading.gave_back = True
            hold.close(replaced(loading.message.path))
            work = release(self._transport, hold.lease)
            self._run(loading, "release", work, partial(self._gave_back, loading, hold))
        else:
            self._ask_checkpoint(loading)

    def lost(self, hold: Hold, error: TinkexError) -> bool:
        """Hear that the session of ``hold`` is gone; return whether it was one that a load was making."""
        restoring = None if self._loading is None else self._loading.restoring
        if restoring is None or restoring.hold is not hold:
            return False
        restoring.fail(at_step(error, "heartbeat"))
        return True

    def call_ended(self, call: Call, result: Result[Any]) -> None:
        """Give up the load whose caller waits no more."""
        loading = self._loading
        if loading is None or loading.call is not call or not isinstance(result, Err):
            return
        self._loading = None
        if loading.restoring is not None:
            loading.restoring.abandon(result.error)
        hold = self._holder.hold
        if loading.in_place and hold is not None and hold.pipeline is not None:
            hold.pipeline.abort(load_given_up(loading.message.path))
        self._fail(loading, result.error)

    def _begin(self, message: LoadState, call: Call) -> None:
        if call.deferred.settled:
            return
        refusal = self._host.takes_no_load
        if refusal is not None:
            self._actor.end_call(call, Err(refusal))
            return
        self._loading = Loading(call, message)
        self.go_on()

    # Into the model that is there

    def _loaded_in_place(self, loading: Loading, result: Result[LoadedState]) -> None:
        if self._loading is not loading:
            return
        loading.in_place = False
        if isinstance(result, Err) and refused_after_unknown(result.error):
            self._ask_checkpoint(loading)
        else:
            self._end(loading, result)

    # Into another model

    def _gave_back(self, loading: Loading, hold: Hold, result: Result[bool]) -> None:
        if isinstance(result, Err):
            self._log.warning("old model not given back", error=result.error.message)
        self._holder.let_go(hold, replaced(loading.message.path))
        if self._loading is loading:
            self._ask_checkpoint(loading)

    def _ask_checkpoint(self, loading: Loading) -> None:
        work = get_checkpoint_info(self._transport, loading.message.path)
        self._run(loading, "checkpoint_info", work, partial(self._checkpoint_known, loading))

    def _run(
        self, loading: Loading, step: str, work: Coroutine[Any, Any, T], then: Callable[[Result[T]], None]
    ) -> None:
        loading.call.waiting.step = step
        with waiting_as(loading.call.waiting):
            self._actor.run_io(step, work, then)

    def _checkpoint_known(self, loading: Loading, result: Result[CheckpointInfo]) -> None:
        if self._loading is not loading:
            return
        match result:
            case Err(error):
                self._fail(loading, at_step(error, "checkpoint_info"))
            case Ok(info) if not info.is_lora:
                self._fail(loading, not_lora(info.path))
            case Ok(info):
                another = partial(self._holder.another, info.base_model, lora_like(info))
                loading.restoring = Restoring(
                    Source(loading.message.path, loading.message.optimizer),
                    hold=partial(self._holder.make, waiting=loading.call.waiting),
                    another=another,
                    let_go=self._holder.let_go,
                    then=partial(self._restored, loading),
                )
                loading.restoring.begin(another())

    def _restored(self, loading: Loading, result: Result[Hold]) -> None:
        match result:
            case Err(error):
                self._fail(loading, error)
            case Ok(hold):
                path, old = loading.message.path, self._holder.hold
                self._host.take(hold)
                if old is not None:
                    self._holder.let_go(old, replaced(path))
                self._log.info("checkpoint in place", path=path, model_id=hold.lease.model_id)
                self._end(loading, Ok(LoadedState(path=path, model_id=hold.lease.model_id or "")))

    # The end

    def _fail(self, loading: Loading, error: TinkexError) -> None:
        if loading.gave_back:
            self._host.be_without_model(without_model(loading.message.path))
        self._end(loading, Err(not_loaded(loading, error)))

    def _end(self, loading: Loading, result: Result[LoadedState]) -> None:
        self._loading = None
        self._actor.end_call(loading.call, result)
        while loading.behind:
            behind = loading.behind.popleft()
            if isinstance(result, Err):
                self._actor.end_call(behind.call, Err(behind_failed_load(loading.message.path)))
            else:
                behind.resume(behind.call)
            if self._loading is not None:  # it was a load itself, and the rest waits for that
                self._loading.behind.extend(loading.behind)
                return
        self._host.load_ended()
