"""One engine: its state, its opening and its closing."""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from tinkex import __version__
from tinkex.engine._base._catalogue import Catalogue
from tinkex.engine._base._config import EngineConfig
from tinkex.engine._base._errors import Category, OperationFailed, Refusal
from tinkex.engine._base._folders import scan
from tinkex.engine._service._downloads import Downloads
from tinkex.engine._service._executor import Executor, Job, Outcome
from tinkex.engine._service._futures import Futures
from tinkex.engine._service._registry import Model, Models, gone
from tinkex.engine._service._samplers import Sampler, Samplers
from tinkex.engine._service._sessions import Sessions
from tinkex.engine._store._root import Root
from tinkex.engine._store._store import Store

if TYPE_CHECKING:
    from tinkex.engine._compute._compute import Compute

log = structlog.get_logger("tinkex.engine")


class Health(msgspec.Struct, frozen=True):
    """``GET /api/v1/healthz``."""

    ready: bool
    """Whether the compute part is loaded."""
    models: int
    sessions: int
    polls: int
    """Open waits for results."""
    samplers: int
    adapter_bytes: int
    """Of weights, gradients and moments of all models."""
    sampler_bytes: int
    """Of the weights that samplers read."""
    status: str = "ok"


class Engine:
    """The service behind the HTTP face. Lives on one event loop; only its executor and store leave it.

    ``open`` takes the root, ``start`` begins to compute, ``close`` ends both.

    Args:
        config: the settings.
        clock: monotonic seconds.
        wall: wall-clock seconds.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.config: Final = config
        self.clock: Final = clock
        self.wall: Final = wall
        self.catalogue: Final = Catalogue(() if config.models is None else scan(config.models))
        self.futures: Final = Futures(clock, config.result_retention)
        self.sessions: Final = Sessions(clock, config.session_timeout)
        self.models: Final = Models()
        self.samplers: Final = Samplers(config.max_samplers, self._sampler_ended)
        self.downloads: Final = Downloads(clock, config.download_time)
        self.executor: Final = Executor(self._load, self._settled_elsewhere, self._loaded_elsewhere)
        self.saving: Final[dict[str, int]] = {}
        """Paths of accepted saves that have not ended, with how many."""
        self.sampling: Final[dict[str, Callable[[], None]]] = {}
        """What ends a request to sample early, by the ids of those that have not ended."""
        self.draining = False
        self._build: dict[str, str] | None = None
        self._loaded: Final = asyncio.Event()
        self._resting: Final[dict[str, list[asyncio.Future[None]]]] = {}
        self._opened: tuple[Root, Store] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def root(self) -> Root:
        """The folder, once opened."""
        return self._open()[0]

    @property
    def store(self) -> Store:
        """The database, once opened."""
        return self._open()[1]

    def open(self) -> None:
        """Take the root and put it in order. Blocking.

        Raises:
            EngineError: where that cannot be done.
        """
        if self._opened is not None:
            return
        if self.config.device == "cuda":
            from tinkex.engine._compute._base_models import choose_device  # noqa: PLC0415 - torch, a second before its time

            choose_device("cuda")
        root = Root(self.config.root)
        try:
            store = Store(root.database)
        except BaseException:
            root.close()
            raise
        self._opened = root, store
        store.end_former_process()
        lost = store.checkpoints.keep_only({entry.name for entry in root.checkpoints.iterdir()})
        swept = root.sweep(store.checkpoints.folders())
        if lost or swept:
            log.warning("root put in order", checkpoints_without_files=lost, leftovers_removed=len(swept))

    def start(self) -> None:
        """Start the compute thread, whose outcomes come to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self.executor.start()

    def drain(self) -> None:
        """Accept nothing more and end all waits; the process is about to end."""
        self.draining = True
        self._loaded.set()
        self.futures.release()

    async def close(self) -> None:
        """Let the running operation end, and give the root back."""
        self.drain()
        await asyncio.to_thread(self.executor.stop)
        if self._opened is not None:
            root, store = self._opened
            for model in self.models.all():
                store.touch_model(model.model_id, "live", model.last_request)
            store.close()
            root.close()
            self._opened = None

    async def build(self) -> dict[str, str] | None:
        """Say what the bits of results depend on, once the compute part is loaded; None where it cannot be."""
        await self._loaded.wait()
        return self._build

    def health(self) -> Health:
        """Count what lives."""
        compute = self.executor.compute
        return Health(
            ready=compute is not None,
            models=len(self.models),
            sessions=len(self.sessions),
            polls=self.futures.polls,
            samplers=len(self.samplers),
            adapter_bytes=0 if compute is None else compute.adapter_bytes,
            sampler_bytes=0 if compute is None else compute.samplers.nbytes,
        )

    async def model(self, model_id: str, owner: str) -> Model:
        """Return an owner's model of this process, closing ones too.

        Raises:
            Refusal: 404 or 410, saying what became of it.
        """
        model = self.models.find(model_id)
        if model is not None and model.owner != owner:
            raise gone(model_id, None, None)
        if model is None:
            row = await asyncio.to_thread(self.store.model, model_id)
            if row is not None and row.owner != owner:
                row = None
            last = await asyncio.to_thread(self.store.checkpoints.last, model_id, "weights", self.wall())
            raise gone(model_id, row, None if last is None else last.path)
        return model

    def touch(self, model: Model) -> None:
        """Take a request to a model for a sign of life."""
        model.last_request = self.wall()
        self.show_life(model.session_id)

    def show_life(self, session_id: str) -> None:
        """Take this for a sign of a session's life."""
        session = self.sessions.find(session_id)
        if session is not None:
            session.last_sign = self.clock()

    def check_open(self) -> None:
        """Refuse new work once the engine is about to end, or has too much of it."""
        if self.draining:
            raise Refusal(503, "the server is stopping")
        if self.futures.pending >= self.config.max_pending:
            raise Refusal(429, f"{self.futures.pending} requests wait for their results; wait for some of them first")

    async def rest(self, model_id: str) -> None:
        """Wait for the end of the job that a model is running, if it is; not for those that are queued."""
        if self.executor.runs(model_id):
            resting = asyncio.get_running_loop().create_future()
            self._resting.setdefault(model_id, []).append(resting)
            await resting

    def fail(self, jobs: list[Job], reason: str, category: Category = "user") -> None:
        """Answer jobs that will not run, for a reason that is somebody's fault."""
        for job in jobs:
            self._settled(job, OperationFailed(f"{job.label} did not run: {reason}", category))

    def _loaded_elsewhere(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._loaded.set)

    def _settled_elsewhere(self, job: Job, outcome: Outcome) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._ran, job, outcome)

    def _ran(self, job: Job, outcome: Outcome) -> None:
        for resting in self._resting.pop(job.model_id, ()):
            if not resting.done():
                resting.set_result(None)
        self._settled(job, outcome)

    def _settled(self, job: Job, outcome: Outcome) -> None:
        if job.saves is not None:
            self.save_ended(job.saves)
        if job.unloads:
            self.models.remove(job.model_id)
        self.sampling.pop(job.request_id, None)
        if job.opens is not None:
            self._sampler_opened(job.opens)
        if job.request_id and outcome is not None:
            self.futures.settle(job.request_id, outcome)

    def _sampler_opened(self, sampler: Sampler) -> None:
        """Know a sampler that a save has made, unless its session has ended meanwhile."""
        self.samplers.add(sampler)
        if self.sessions.find(sampler.session_id) is None:
            self.samplers.end(sampler)

    def _sampler_ended(self, sampler: Sampler) -> None:
        """Let nothing run that a sampler has queued, and free its weights."""
        sampler_id = sampler.sampler_id
        self.fail(self.executor.drop(sampler_id), f"sampling session {sampler_id} ended")
        self.executor.put(Job("", lambda compute: compute.samplers.drop(sampler_id), sampler_id, "end_sampler"))

    def save_ended(self, path: str) -> None:
        """Note that a checkpoint is written, or will not be."""
        left = self.saving[path] - 1
        if left:
            self.saving[path] = left
        else:
            del self.saving[path]

    def _open(self) -> tuple[Root, Store]:
        assert self._opened is not None, "the engine is not open"
        return self._opened

    def _load(self) -> "Compute":
        # Torch, in the compute thread only.
        from tinkex.engine._compute._base_models import choose_device  # noqa: PLC0415
        from tinkex.engine._compute._compute import Compute  # noqa: PLC0415

        device = choose_device(self.config.device)
        compute = Compute(self.root, self.store, device, self.config.threads, self.config.faults)
        compute.warm_up(next(iter(self.catalogue)))
        made = compute.conditions
        self._build = {
            "engine": f"tinkex {__version__}",
            "torch": made.torch_version,
            "threads": str(made.threads),
            "device": made.device,
            "cpu": made.cpu,
        }
        log.info("ready", device=device, threads=self.config.threads)
        return compute
