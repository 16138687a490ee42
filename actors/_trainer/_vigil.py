"""The vigil over one epoch: whether it is stuck, and whether the server still has its weights."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from tinkex.actors._genserver._client import ClientActor
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._trainer._meter import Meter
from tinkex.actors._trainer._training import Training
from tinkex.actors._trainer._watchdog import Watchdog
from tinkex.protocol import Err, Result, TinkexError, messages
from tinkex.protocol.replies import ActorStatus, TrainingRunInfo

CORRUPTED_SECONDS: Final = 30.0
"""Between two questions whether the server still has the run's weights."""


class Subject(NamedTuple):
    """What is watched."""

    client: GenRef[Any]
    service: GenRef[Any]
    model_id: str
    meter: Meter
    training: Training


class Vigil:
    """Looks after one epoch at a steady pace, and tells once why it must be rebuilt. Used in its actor's thread only.

    Args:
        host: whose thread this runs in.
        subject: the epoch.
        watchdog: knows what is slow; it outlives the epoch.
        stuck: told once, with an error and a sentence.
        slow_program: told a sentence while the program itself is what takes so long: a rebuild would not mend that.
        log: for what could not be asked.
    """

    def __init__(
        self,
        host: ClientActor[Any],
        subject: Subject,
        watchdog: Watchdog,
        *,
        stuck: Callable[[TinkexError, str], None],
        slow_program: Callable[[str | None], None],
        log: Any,
    ) -> None:
        """Begin to look."""
        self._host = host
        self._subject = subject
        self._watchdog = watchdog
        self._stuck = stuck
        self._slow_program = slow_program
        self._log = log
        self._over = False
        self._asked_at: float | None = None
        self._slow: str | None = None
        self._timers: dict[str, Timer] = {}
        self._again("look", watchdog.policy.look_seconds, self._look)
        self._again("ask for weights", CORRUPTED_SECONDS, self._ask)

    def close(self) -> None:
        """Look no more."""
        self._over = True
        for timer in self._timers.values():
            timer.cancel()

    def _again(self, label: str, seconds: float, then: Callable[[], None]) -> None:
        self._timers[label] = self._host.run_after(label, seconds, then)

    # Progress

    def _look(self) -> None:
        if self._over:
            return
        self._again("look", self._watchdog.policy.look_seconds, self._look)
        now = self._host.runtime.clock.monotonic()
        if self._asked_at is not None:
            waited = now - self._asked_at
            if self._watchdog.policy.enabled and waited > self._watchdog.policy.least_seconds:
                self._tell(f"the training client has not answered for {waited:.0f} s")
            return
        self._asked_at = now
        asked = self._subject.client.ask(messages.Status(), block=False)
        self._host.run_when("looked", asked, self._looked)

    def _looked(self, result: Result[ActorStatus]) -> None:
        self._asked_at = None
        subject = self._subject
        if self._over or isinstance(result, Err) or subject.meter.paused:
            return
        busy = subject.training.busy
        # One that sends no further update makes no progress once those on their way are done; its save still may hang.
        waits = subject.training.held and not busy
        seconds = 0.0 if waits else subject.meter.since_progress(self._host.runtime.clock.monotonic())
        stall = self._watchdog.judge(subject.training.phase, seconds, result.value.operations)
        slow = stall.why if stall is not None and stall.phase == "batch" else None
        if slow != self._slow:
            self._slow = slow
            self._slow_program(slow)
        if stall is not None and stall.phase != "batch":
            self._tell(stall.why)

    def _tell(self, why: str) -> None:
        self.close()
        self._stuck(stalled(why), why)

    # The weights on the server

    def _ask(self) -> None:
        if self._over:
            return
        self._again("ask for weights", CORRUPTED_SECONDS, self._ask)
        question = messages.GetTrainingRun(self._subject.model_id, await_timeout=CORRUPTED_SECONDS)
        self._host.run_when("weights", self._subject.service.ask(question, block=False), partial(self._heard))

    def _heard(self, result: Result[TrainingRunInfo]) -> None:
        if self._over:
            return
        if isinstance(result, Err):
            self._log.info("the server does not say how the run is", error=result.error.message)
        elif result.value.corrupted:
            self.close()
            self._stuck(corrupted(self._subject.model_id), "the server has lost the weights of the run")


def stalled(why: str) -> TinkexError:
    """Build the error of an epoch that makes no progress."""
    return TinkexError(
        f"the run is stuck: {why}", kind="client_suspect", category="unknown", data={"outcome": "unknown"}
    )


def corrupted(model_id: str) -> TinkexError:
    """Build the error of an epoch whose weights are lost."""
    return TinkexError(
        f"the server says that it has lost the weights of {model_id}",
        kind="session_lost",
        category="server",
        data={"model_id": model_id},
    )
