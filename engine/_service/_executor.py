"""The one thread that computes: fair between models, in order within one."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from tinkex.engine._base._errors import OperationFailed, told

if TYPE_CHECKING:
    from tinkex.engine._compute._compute import Compute
    from tinkex.engine._service._samplers import Sampler

log = structlog.get_logger("tinkex.engine")

Outcome = msgspec.Struct | OperationFailed | None


class Unfinished:
    """What a piece of work returns that wants another turn."""


UNFINISHED: Final = Unfinished()


@dataclass(frozen=True)
class Job:
    """One piece of work for the compute thread."""

    request_id: str
    """Empty where nobody waits for it."""
    work: "Callable[[Compute], msgspec.Struct | Unfinished | None]"
    """Called again, in turn with the other lanes, for as long as it says that it is unfinished."""
    model_id: str
    label: str
    """What it is, for errors: ``forward_backward (number 3)``."""
    poisons: bool = False
    """Whether its failure leaves a model that must not be stepped or saved any more."""
    unloads: bool = False
    """Whether the model is gone afterwards."""
    saves: str | None = None
    """The path that it writes."""
    opens: "Sampler | None" = None
    """The sampler that it makes."""


class Executor:
    """Runs jobs in one thread, which first loads the compute part.

    Each model has a lane; the lanes take turns, one job each. Thread-safe.

    Args:
        load: builds the compute part, in the thread.
        settle: told the outcome of every job, in the thread.
        loaded: told, in the thread, that the compute part is loaded, or cannot be.
    """

    def __init__(
        self,
        load: "Callable[[], Compute]",
        settle: Callable[[Job, Outcome], None],
        loaded: Callable[[], None] = lambda: None,
    ) -> None:
        self._load: Final = load
        self._settle: Final = settle
        self._loaded: Final = loaded
        self._lanes: dict[str, deque[Job]] = {}
        self._turns: deque[str] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._running: Job | None = None
        self._thread = threading.Thread(target=self._main, name="tinkex-compute", daemon=True)
        self.compute: Compute | None = None
        """The compute part once it is loaded; only its counters may be read from other threads."""
        self.failure: str | None = None
        """Why it could not be loaded."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the running job end, run no other, and wait for the thread."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def put(self, job: Job) -> None:
        """Queue a job behind all others of its model."""
        with self._wake:
            self._lane(job).append(job)
            self._wake.notify()

    def drop(self, model_id: str) -> list[Job]:
        """Take back the queued jobs of a model, but for its unloading; the running one is not touched."""
        with self._wake:
            lane = self._lanes.get(model_id, deque())
            dropped = [job for job in lane if not job.unloads]
            kept = [job for job in lane if job.unloads]
            lane.clear()
            lane.extend(kept)
            return dropped

    def runs(self, model_id: str) -> bool:
        """Whether a job of the model is running; its outcome is settled after this has turned false, never before."""
        with self._wake:
            return self._running is not None and self._running.model_id == model_id

    def _lane(self, job: Job) -> deque[Job]:
        lane = self._lanes.get(job.model_id)
        if lane is None:
            lane = self._lanes[job.model_id] = deque()
            self._turns.append(job.model_id)
        return lane

    def _main(self) -> None:
        try:
            self.compute = self._load()
        except Exception as error:  # noqa: BLE001 - told to every asker
            log.error(  # noqa: TRY400 - its traceback would show values
                "the compute part cannot be loaded", traceback=told(error)
            )
            self.failure = f"the engine cannot compute: {type(error).__name__}: {error}"
        self._loaded()
        while (job := self._take()) is not None:
            self._run(job)

    def _take(self) -> Job | None:
        with self._wake:
            while True:
                if self._stopping:
                    return None
                if self._turns:
                    model_id = self._turns.popleft()
                    lane = self._lanes[model_id]
                    if lane:
                        self._turns.append(model_id)
                        self._running = lane.popleft()
                        return self._running
                    del self._lanes[model_id]
                else:
                    self._wake.wait()

    def _run(self, job: Job) -> None:
        compute = self.compute
        if compute is None:
            self._end(job, OperationFailed(self.failure or "", "server"))
            return
        outcome: Outcome
        try:
            done = job.work(compute)
            if isinstance(done, Unfinished):
                with self._wake:
                    self._running = None
                    self._lane(job).appendleft(job)
                return
            outcome = done
        except OperationFailed as failed:
            outcome = failed
        except Exception as error:  # noqa: BLE001
            # A fault of the engine: the thread serves other models too, so it is told to the asker and lived through.
            log.error(  # noqa: TRY400 - its traceback would show values
                "operation broke", model_id=job.model_id, operation=job.label, traceback=told(error)
            )
            outcome = OperationFailed(f"{job.label} broke in the engine: {type(error).__name__}: {error}", "server")
        if job.poisons and isinstance(outcome, OperationFailed):
            compute.poison(job.model_id, f"{job.label} failed: {outcome.message}")
        self._end(job, outcome)

    def _end(self, job: Job, outcome: Outcome) -> None:
        with self._wake:
            self._running = None
        self._settle(job, outcome)
