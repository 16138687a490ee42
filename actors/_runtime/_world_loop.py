"""An event loop that lives in a seeded world: it waits by parking and tells the world's time."""

import asyncio
import contextvars
import selectors
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeVarTuple

from tinkex.actors._runtime._clock import Clock
from tinkex.actors._runtime._loop import IoLoop
from tinkex.actors._runtime._park import Parker
from tinkex.actors._runtime._turns import WorldEnded

_LAST_ROUNDS: Final = 1_000

Ts = TypeVarTuple("Ts")


class LoopWorld(Protocol):
    """What the loop needs of its world."""

    @property
    def clock(self) -> Clock:
        """The world's time."""
        ...

    def new_parker(self) -> Parker:
        """Return what the loop waits on."""
        ...

    def offer(self) -> None:
        """Offer the turn to others."""
        ...


class ParkingSelector(selectors.BaseSelector):
    """A selector whose ``select`` parks. It watches the loop's own wake-up socket and refuses all others."""

    def __init__(self, world: LoopWorld, end: Callable[[], object]) -> None:
        """Watch nothing yet; call ``end`` when the world ends around this selector."""
        self._world = world
        self._end = end
        self._rounds_left: int | None = None
        self._real = selectors.DefaultSelector()
        self._parker = world.new_parker()

    def wake(self) -> None:
        """End the current or the next ``select``. Any thread."""
        self._parker.unpark()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready now, else park up to ``timeout`` of the world's seconds first.

        When the world ends, what the loop has to do at once is still done.

        Raises:
            WorldEnded: the world ended, and there is nothing left to do.
        """
        ready = self._real.select(0)
        busy = bool(ready) or (timeout is not None and timeout <= 0)
        if self._rounds_left is not None:
            self._rounds_left -= 1
            if not busy or self._rounds_left < 0:
                raise WorldEnded
            return ready
        try:
            if busy:
                self._parker.park(0)
                self._world.offer()
                return ready
            self._parker.park(timeout)
        except WorldEnded:
            self._rounds_left = _LAST_ROUNDS
            self._end()
        return self._real.select(0)

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Watch the wake-up socket.

        Raises:
            RuntimeError: for any socket after it.
        """
        if self._real.get_map():
            raise RuntimeError("a seeded world has no real sockets: give its runtime an http_transport in this process")
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See ``selectors``."""
        return self._real.unregister(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See ``selectors``."""
        return self._real.get_map()

    def close(self) -> None:
        """See ``selectors``."""
        self._real.close()


class WorldLoop(IoLoop):
    """An event loop for one thread of a seeded world."""

    def __init__(self, world: LoopWorld) -> None:
        """Wait in ``world``."""
        self._world = world
        self._parking = ParkingSelector(world, self._cancel_all)
        super().__init__(self._parking)

    def time(self) -> float:
        """The world's seconds."""
        return self._world.clock.monotonic()

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """See ``asyncio``."""
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        self._parking.wake()
        return handle

    def _cancel_all(self) -> None:
        for task in asyncio.all_tasks(self):
            task.cancel()
