"""Taking turns: of all threads of a seeded world, one runs; a seeded choice says which runs next."""

import random
import threading
from collections.abc import Callable
from math import inf
from typing import Final

from tinkex.actors._runtime._clock import VirtualClock
from tinkex.actors._runtime._park import LockParker

_TAIL: Final = 25


class WorldEnded(BaseException):
    """Raised in a thread that still waits when its world ends. Let it pass."""


class DeadlockError(RuntimeError):
    """Nobody can run, no timer is pending, and the controlling thread waits; the message ends with the trace's tail."""


class Player:
    """A thread that takes turns."""

    __slots__ = ("evicted", "fault", "gate", "horizon", "name", "over", "parked")

    def __init__(self, name: str) -> None:
        """Be ready to run, not yet chosen."""
        self.name = name
        self.gate = LockParker()
        self.parked = False
        self.evicted = False
        self.over = False
        self.fault: BaseException | None = None
        self.horizon = inf
        """While the controlling thread waits: up to when time may move for it."""


class Turns:
    """Who runs. A thread runs on until it parks, offers its turn or ends; time moves when all are parked.

    Args:
        seed: decides every choice.
        clock: moved by whoever finds that nobody is ready.
        max_turns: turns without one of the controlling thread, after which a runaway is reported to it.
        patience: real seconds after which it is told that a thread keeps its turn.
    """

    def __init__(self, seed: int, clock: VirtualClock, max_turns: int, patience: float) -> None:
        """Begin with no players."""
        self.trace: list[str] = []
        self.controller = Player("main")
        self.running = self.controller
        self.ended = False
        self._clock = clock
        self._choices = random.Random(f"turns {seed}")  # noqa: S311 - repeatable is what it must be
        self._lock = threading.RLock()
        self._ready: list[Player] = []
        self._players: dict[int, Player] = {}
        self._firing = False
        self._max_turns = max_turns
        self._patience = patience
        self._turns = 0

    def control(self) -> None:
        """Make the calling thread the controlling one; it has the turn."""
        self._players[threading.get_ident()] = self.controller

    def add(self, name: str) -> Player:
        """Return a new player that is ready."""
        player = Player(name)
        with self._lock:
            self._ready.append(player)
        return player

    def current(self) -> Player:
        """Return the calling thread's player.

        Raises:
            RuntimeError: it has none, or is calling a timer.
        """
        if self._firing:
            raise RuntimeError("a timer of a seeded world waits: timers must be quick")
        player = self._players.get(threading.get_ident())
        if player is None:
            raise RuntimeError(
                "a thread waits in a seeded world that does not know it: start it with the world's start_thread"
            )
        return player

    def note(self, event: str) -> None:
        """Add ``event`` of the calling thread to the trace."""
        player = self._players.get(threading.get_ident())
        name = player.name if player is not None else "outside"
        self._write("clock" if self._firing else name, event)

    def play(self, player: Player, run: list[Callable[[], object]]) -> None:
        """Run the one item of ``run`` on the calling thread as ``player``, from its first turn to its end.

        It is taken out of the list, so that what it held is freed, and finalized, while the player has the turn.
        """
        ident = threading.get_ident()
        player.gate.park()
        self._players[ident] = player
        try:
            if not player.evicted:
                run.pop()()
        finally:
            if not player.evicted:
                self.note("ends")
            del self._players[ident]
            player.over = True

    def leave(self, player: Player) -> None:
        """Give away the turn of ``player``, which is over."""
        if not player.evicted:
            self._next().gate.unpark()

    def offer(self) -> None:
        """Let the choice decide anew who runs, the calling thread included."""
        me = self.current()
        with self._lock:
            if not me.evicted:
                self._ready.append(me)
        self._switch(me)

    def wait(self, player: Player, unless: Callable[[], bool]) -> None:
        """Park the calling thread, which is ``player``, until somebody calls ``ready`` with it.

        ``unless`` is asked once, when ``ready`` works already: if it says yes, there is nothing to wait for.

        Raises:
            DeadlockError: in the controlling thread.
            RuntimeError: in the controlling thread, for a runaway or a thread that keeps its turn.
            WorldEnded: in any other, when the world ends.
        """
        with self._lock:
            player.parked = waits = not (unless() or player.evicted)
        if waits or player.evicted:
            self._switch(player)

    def ready(self, player: Player) -> None:
        """Let ``player`` be chosen, if it is parked. Any thread."""
        with self._lock:
            if player.parked:
                player.parked = False
                self._ready.append(player)

    def evict(self, player: Player) -> None:
        """Take ``player`` out: where it waits, or would, it gets ``WorldEnded``, and unwinds without taking turns."""
        with self._lock:
            player.evicted, player.parked = True, False
            player.fault = WorldEnded()
            if player in self._ready:
                self._ready.remove(player)
        player.gate.unpark()

    def _switch(self, me: Player) -> None:
        if me.evicted:
            raise WorldEnded
        if self.ended and me is self.controller:
            raise RuntimeError("this seeded world has ended")
        chosen = self._next()
        if chosen is not me:
            chosen.gate.unpark()
            if me is self.controller:
                try:
                    self._await_control(me)
                except BaseException:
                    self.ended = True  # another thread has the turn, and keeps it
                    raise
            else:
                me.gate.park()
        fault, me.fault = me.fault, None
        if fault is not None:
            raise fault

    def _await_control(self, me: Player) -> None:
        seen = -1
        while not me.gate.park(self._patience):
            if seen == self._turns:
                raise RuntimeError(
                    f"{self.running.name} has kept its turn for {self._patience:g} real seconds: it never ends, "
                    f"or waits for something outside of the seeded world{self.tail()}"
                )
            seen = self._turns

    def _next(self) -> Player:
        while (chosen := self._choose()) is None:
            self._move_time()
        if chosen is not self.running:
            self.running = chosen
            self._write(chosen.name, "runs")
        return chosen

    def _choose(self) -> Player | None:
        with self._lock:
            if not self._ready:
                return None
            self._turns += 1
            if self._turns > self._max_turns:
                self._wake_controller(RuntimeError(f"{self._max_turns} turns and no end: a runaway{self.tail()}"))
                at = self._ready.index(self.controller)
            else:
                at = int(self._choices.random() * len(self._ready))
            chosen = self._ready.pop(at)
            if chosen is self.controller:
                self._turns = 0
            return chosen

    def _move_time(self) -> None:
        due = self._clock.next_due()
        if due is not None and due <= self.controller.horizon:
            self._firing = True
            try:
                self._clock.advance(max(due - self._clock.monotonic(), 0.0))
            except BaseException as error:  # noqa: BLE001 - a timer's bug belongs to whoever drives the world
                self._wake_controller(error)
            finally:
                self._firing = False
        elif self.controller.horizon < inf:
            self._wake_controller(None)
        else:
            self._wake_controller(DeadlockError(f"all wait, and no timer is pending{self.tail()}"))

    def _wake_controller(self, fault: BaseException | None) -> None:
        self.controller.fault = fault
        self.ready(self.controller)

    def tail(self) -> str:
        """The end of the trace, for messages."""
        return "\n  ".join(["; the trace ends:", *self.trace[-_TAIL:]])

    def _write(self, name: str, event: str) -> None:
        self.trace.append(f"{self._clock.monotonic():.6f} {name}: {event}")
