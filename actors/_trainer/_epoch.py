"""One epoch of a run: its client and service, and all that trains, saves, keeps and watches with them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Pending
from tinkex.actors._trainer._config import TrainerConfig
from tinkex.actors._trainer._keeping import Keeping
from tinkex.actors._trainer._meter import Meter
from tinkex.actors._trainer._opening import Opened
from tinkex.actors._trainer._saves import Saves
from tinkex.actors._trainer._training import Completed, Tidings, Training
from tinkex.actors._trainer._vigil import Subject, Vigil
from tinkex.actors._trainer._watchdog import Watchdog
from tinkex.protocol import Manifest, QueueStateChange, TinkexError


class Ears(NamedTuple):
    """Whom an epoch tells of what happens, in its trainer's thread."""

    completed: Callable[[Completed], bool]
    committed: Callable[[Manifest, float], None]
    failed: Callable[[TinkexError, str], None]
    stuck: Callable[[TinkexError, str], None]
    slow_program: Callable[[str | None], None]
    settled: Callable[[], None]


class Epoch:
    """What trains between two restores. Used in its actor's thread only.

    Args:
        host: the trainer.
        opened: the client, and where it begins.
        service: whose client it is.
        journal: of the run.
        feeder: of the program.
        config: of the run.
        watchdog: of the run.
        tell: of what happens.
        log: for what went wrong.
    """

    def __init__(
        self,
        host: ClientActor[Any],
        opened: Opened,
        service: GenRef[Any],
        journal: GenRef[Any],
        feeder: GenRef[Any],
        config: TrainerConfig,
        watchdog: Watchdog,
        *,
        tell: Ears,
        log: Any,
    ) -> None:
        """Begin with nothing sent; ``go_on`` sets out."""
        begin = opened.begin
        self.number: Final = opened.terms.epoch
        self.meter: Final = Meter(begin.tokens, begin.train_seconds, host.runtime.clock.monotonic())
        self.lineage: Final = list(opened.lineage)
        """Names of the manifests that the run can go back to, newest first."""
        self._host = host
        self._client = opened.client
        self._service = service
        self._config = config
        self._watchdog = watchdog
        self._tell = tell
        self._pauses: set[tuple[str, int | None]] = set()
        """Requests that the server pauses."""
        self.saves: Final = Saves(
            host,
            opened.client,
            service,
            journal,
            opened.terms,
            begin,
            config.checkpoints,
            verdicts=lambda: self.training.verdicts(),  # noqa: PLW0108 - it is made below
            committed=self._committed,
            failed=tell.failed,
            changed=self.go_on,
            log=log,
        )
        self.training: Final = Training(
            host,
            opened.client,
            feeder,
            opened.outline,
            begin,
            self.saves,
            self.meter,
            depth=config.depth,
            lr_scale=opened.terms.lr_scale,
            save_at_end=config.checkpoints.on_stop,
            tell=Tidings(self._completed, tell.failed, self._settled),
        )
        self._keeping = Keeping(
            host,
            service,
            journal,
            config.checkpoints,
            config.retention,
            forgotten=self._forget,
            changed=self.go_on,
            log=log,
        )
        if begin.manifest is not None and begin.path is not None:
            self._keeping.begin(begin.manifest, begin.path)
        subject = Subject(opened.client, service, opened.model_id, self.meter, self.training)
        self._vigil = Vigil(host, subject, watchdog, stuck=tell.stuck, slow_program=tell.slow_program, log=log)

    def go_on(self) -> None:
        """Send what may be sent."""
        self.training.go_on()

    def hold(self) -> None:
        """Send no further update; ``settled`` is told when those on their way are done."""
        self.training.held = True
        self.training.go_on()

    def release(self) -> None:
        """Go on after ``hold``."""
        self.training.held = False
        if not self._pauses:
            self.meter.go_on(self._host.runtime.clock.monotonic())
        self.training.go_on()

    def end(self) -> None:
        """Save what was sent, whatever the policy, and settle."""
        self.training.ending = True
        self.saves.ending = True
        self.hold()

    def queue_changed(self, change: QueueStateChange, *, held: bool) -> bool:
        """Take a pause by the server for what it is, and for a reason to save; return whether it pauses any request.

        ``held`` is whether the user's own pause goes on whatever the server does.
        """
        now = self._host.runtime.clock.monotonic()
        request = change.operation, change.seq_id
        if change.state == "active":
            self._pauses.discard(request)
            if not self._pauses and not held:
                self.meter.go_on(now)
            return bool(self._pauses)
        self._pauses.add(request)
        self.meter.pause(now)
        if self._config.checkpoints.on_pause:
            self.saves.due.demand(self.training.course.sent)
            self.go_on()
        return True

    def close(self, error: TinkexError) -> Pending[bool]:
        """End it at once; return the end of its service, which gives back what was held on the server."""
        self._vigil.close()
        self._keeping.close()
        self.training.close()
        self.saves.close(error)
        self._client.kill()
        return self._service.stop(block=False, reason="shutdown")

    def _completed(self, completed: Completed) -> bool:
        self._watchdog.observe("update", completed.seconds)
        return self._tell.completed(completed)

    def _committed(self, manifest: Manifest, seconds: float) -> None:
        self._watchdog.observe("checkpoint", seconds)
        self.meter.durable(manifest.train_seconds)
        self.lineage.insert(0, manifest.name)
        self._tell.committed(manifest, seconds)
        self._keeping.committed(manifest.name, manifest.path)

    def _forget(self, manifest: str) -> None:
        if manifest in self.lineage:
            self.lineage.remove(manifest)

    def _settled(self) -> None:
        if self.training.ending or not self.training.course.over or self._keeping.idle:
            self._tell.settled()
