"""Which children of a supervisor are being started again, and how far that has come."""

from collections.abc import Callable
from typing import Final, Protocol

from tinkex.actors._runtime._clock import Timer
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._supervision._child import Child
from tinkex.actors._supervision._events import Events
from tinkex.actors._supervision._policy import Intensity, Strategy, affected, delay
from tinkex.actors._supervision._roster import Roster
from tinkex.protocol import TinkexError


class Doing(Protocol):
    """What a supervisor does for its restarts, in its thread."""

    def launch(self, child: Child) -> TinkexError | None:
        """Start a child; return what its init failed with."""
        ...

    def end_child(self, child: Child) -> None:
        """Begin to stop a child."""
        ...

    def exhausted(self, child: Child) -> None:
        """Give up: ``child`` needed more restarts than are allowed."""
        ...

    def run_after(self, label: str, seconds: float, then: Callable[[], None]) -> Timer:
        """Call ``then`` in the supervisor's thread after ``seconds``."""
        ...


class Restarts:
    """Children that are to be started again, once those among them that run are stopped and a wait is over.

    Args:
        doing: what acts on its behalf.
        roster: the children.
        events: the supervisor's log.
        strategy: who goes with a child that failed.
        intensity: how often is too often.
        runtime: its clock, and its randomness for the jitter.
    """

    def __init__(
        self,
        doing: Doing,
        roster: Roster,
        events: Events,
        strategy: Strategy,
        intensity: Intensity,
        runtime: Runtime,
    ) -> None:
        """Begin with nothing to do."""
        self._doing: Final = doing
        self._roster: Final = roster
        self._events: Final = events
        self._strategy: Final[Strategy] = strategy
        self._intensity: Final = intensity
        self._clock: Final = runtime.clock
        self._random: Final = runtime.new_random()
        self._plan: Final[set[str]] = set()
        self._pause: Timer | None = None

    def __contains__(self, child: Child) -> bool:
        return child.spec.id in self._plan

    def __bool__(self) -> bool:
        return bool(self._plan)

    @property
    def pausing(self) -> bool:
        """Whether they wait for the back-off."""
        return self._pause is not None

    def discard(self, child: Child) -> None:
        """Leave a child out."""
        self._plan.discard(child.spec.id)

    def forget(self) -> None:
        """Start nobody more."""
        self._plan.clear()
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def begin(self, failed: Child) -> None:
        """Have a child that failed started again, and those that go with it, unless that was too often."""
        if not self._intensity.allows(self._clock.monotonic()):
            self._doing.exhausted(failed)
            return
        self._plan.update(affected(self._strategy, [child.spec.id for child in self._roster], failed.spec.id))
        self.go_on()

    def go_on(self) -> None:
        """Stop the youngest of those that run and must be started again; once none does, start them, after a wait."""
        running = [child for child in self._roster.running() if child in self]
        if running:
            self._doing.end_child(running[-1])
        elif self._pause is None:
            wait = delay(self._intensity.recent, self._random)
            self._events.restart_scheduled(self._plan, wait)
            if wait:
                self._pause = self._doing.run_after("restart", wait, self._start)
            else:
                self._start()

    def _start(self) -> None:
        self._pause = None
        for child in self._roster:
            if child not in self or child.ref is not None:
                continue
            if self._doing.launch(child) is not None:
                if self._intensity.allows(self._clock.monotonic()):
                    self.go_on()
                else:
                    self._doing.exhausted(child)
                return
            self._plan.discard(child.spec.id)
            child.restarts += 1
            self._events.child_restarted(child)
        self._plan.clear()
