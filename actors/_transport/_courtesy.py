"""How all clients of one server behave towards it: one circuit, one retry budget, one queue, whatever their number."""

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from math import inf
from typing import Any, Final, Literal

import msgspec

from tinkex.actors._runtime._clock import Clock
from tinkex.actors._runtime._log import log
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._transport._attempt import Attempt, HttpReply, Lost, NotSent
from tinkex.actors._transport._circuit import CircuitBreaker, Permit, Phase
from tinkex.actors._transport._departure import Departure
from tinkex.actors._transport._fair_gate import FairGate, Place
from tinkex.actors._transport._retry_budget import RetryBudget
from tinkex.protocol import ApiKey

Lane = Literal["send", "acquire", "question", "poll", "express"]
Observe = Callable[[str, str | None], None]

MAX_IN_FLIGHT: Final = 64
MAX_BYTES_IN_FLIGHT: Final = 50_000_000
MAX_POLLS: Final = 512
"""Polls that are open at once. They have places of their own: a server may hold each for most of a minute."""


class Limits(msgspec.Struct, frozen=True):
    """What one client wants to have on its way at most."""

    max_in_flight: int = MAX_IN_FLIGHT
    max_bytes_in_flight: int = MAX_BYTES_IN_FLIGHT


class Turn(msgspec.Struct):
    """One request's way through the courtesy, attempt after attempt.

    Args:
        lane: ``send`` for training, ``acquire`` for what makes models, ``question`` for what is answered at once,
            ``poll`` for results: each waits for places of its own, so that none holds up the others, and for the
            circuit. ``express`` waits for nothing.
        observe: told ``queued`` or ``circuit_open`` while it waits, and ``resumed`` when it goes on.
        resumed: the state to which a wait returns.
        size: bytes of the body.
        until: monotonic seconds up to which the next attempt waits for the circuit; None waits as long as it takes.
        last_try: whether it then goes out all the same, instead of being told that nothing was sent.
        departure: claimed before the first attempt goes out; where it was claimed before, nothing does. None for a
            request that nobody calls back.
    """

    lane: Lane
    observe: Observe
    resumed: str
    size: int = 0
    until: float | None = None
    last_try: bool = False
    departure: Departure | None = None
    queued: float = 0.0
    """Seconds that it waited for a place so far: the server is not to blame for them."""

    begun: bool = False


class Courtesy:
    """Shared by the transports to one server with one key. Coroutines run on the io loop; it delays, never decides."""

    def __init__(self, base_url: str, clock: Clock, rng: random.Random) -> None:
        """Begin with a closed circuit and the default limits."""
        self.circuit = CircuitBreaker(rng, self._changed)
        self.gates: Final[Mapping[Lane, FairGate]] = {
            "send": FairGate(MAX_IN_FLIGHT, MAX_BYTES_IN_FLIGHT),
            "acquire": FairGate(MAX_IN_FLIGHT),
            "question": FairGate(MAX_IN_FLIGHT),
            "poll": FairGate(MAX_POLLS),
        }
        self._base_url = base_url
        self._clock = clock
        self._budget = RetryBudget()
        self._waiting = dict[asyncio.Future[None], None]()
        self._lock = threading.Lock()
        self._limits = list[Limits]()

    def limit(self, limits: Limits) -> Callable[[], None]:
        """Keep to ``limits`` too, until the returned function is called; of several, the smallest hold. Any thread."""
        with self._lock:
            self._limits.append(limits)
            self._apply()
        return partial(self._unlimit, limits)

    def delay_of_repeat(self) -> float:
        """Take a repeat from the budget; return the seconds that it waits longer than its back-off."""
        return self._budget.withdraw(self._clock.monotonic())

    async def attempt(self, turn: Turn, exchange: Callable[[], Coroutine[Any, Any, Attempt]]) -> Attempt:
        """Run ``exchange`` when it is its turn, and learn from what comes of it; ``NotSent`` after ``turn.until``.

        A cancelled wait leaves the queue at once, and a cancelled exchange gives back what it held.
        """
        if turn.lane == "express":
            return await self._learn(turn, self.circuit.bypass(), exchange)
        if not turn.begun:
            turn.begun = True
            self._budget.deposit()
        gate = self.gates[turn.lane]
        while True:
            if self.circuit.phase != "closed" and not await self._circuit_is_ready(turn):
                if turn.last_try:
                    turn.observe(turn.resumed, None)
                    return await self._learn(turn, self.circuit.bypass(), exchange)
                return NotSent(f"not tried: {self._why()}")
            place = gate.ask(turn.size)
            if not place.entered:
                await self._enter(gate, place, turn)
            try:
                permit = self.circuit.admit(self._clock.monotonic(), patient=turn.lane == "poll")
                if permit is not None:
                    return await self._learn(turn, permit, exchange)
            finally:
                gate.give_back(place)

    async def _learn(self, turn: Turn, permit: Permit, exchange: Callable[[], Coroutine[Any, Any, Attempt]]) -> Attempt:
        learnt = False
        try:
            if turn.departure is not None:
                if not turn.departure.claim():
                    return NotSent("it was called back")
                turn.departure = None
            attempt = await exchange()
            learnt = self._note(turn, permit, attempt)
        finally:
            if not learnt:
                self.circuit.forget(permit)
                self._wake_all()
        return attempt

    def _note(self, turn: Turn, permit: Permit, attempt: Attempt) -> bool:
        if isinstance(attempt, HttpReply) and attempt.status < 500:
            self.circuit.succeed(permit)
        elif isinstance(attempt, Lost) and attempt.timed_out and turn.lane == "poll":
            return False  # some servers hold a poll for longer than we do
        else:
            cause = f"it answered {attempt.status}" if isinstance(attempt, HttpReply) else attempt.cause
            self.circuit.fail(permit, self._clock.monotonic(), cause)
        return True

    # Waiting

    async def _circuit_is_ready(self, turn: Turn) -> bool:
        """Wait for the circuit; return False where ``turn.until`` came first."""
        until = inf if turn.until is None else turn.until
        waited = False
        while (at := self.circuit.next_chance(now := self._clock.monotonic(), patient=turn.lane == "poll")) > now:
            if now >= until:
                return False
            waited = True
            turn.observe("circuit_open", self._why())
            await self._sleep(min(at, until) - now)
        if waited:
            turn.observe(turn.resumed, None)
        return True

    async def _sleep(self, seconds: float) -> None:
        """Wait ``seconds``, or until the circuit says anything new."""
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        self._waiting[woken] = None
        timer = self._clock.call_later(seconds, partial(_wake_from_any_thread, loop, woken))
        try:
            await woken
        finally:
            timer.cancel()
            self._waiting.pop(woken, None)

    async def _enter(self, gate: FairGate, place: Place, turn: Turn) -> None:
        """Wait for a ``place``; where the wait is cancelled, it is given back."""
        if turn.lane != "poll":
            turn.observe("queued", None)
        begun = self._clock.monotonic()
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place.wake = partial(_wake, woken)
        kept = False
        try:
            await woken
            kept = True
        finally:
            if not kept:
                gate.give_back(place)
        waited = self._clock.monotonic() - begun
        turn.queued += waited
        if turn.until is not None and turn.lane != "poll":
            turn.until += waited
        if turn.lane != "poll":
            turn.observe(turn.resumed, None)

    def _wake_all(self) -> None:
        for woken in self._waiting:
            _wake(woken)

    # What is told

    def _changed(self, phase: Phase) -> None:
        self._wake_all()
        event = log(base_url=self._base_url)
        if phase == "open":
            circuit = self.circuit
            event.warning("circuit opened", failures=circuit.failures, cause=circuit.cause, seconds=circuit.seconds)
        else:
            event.info("circuit half open" if phase == "half_open" else "circuit closed")

    def _why(self) -> str:
        return f"the server failed {self.circuit.failures} times in a row ({self.circuit.cause})"

    # Limits

    def _unlimit(self, limits: Limits) -> None:
        with self._lock:
            self._limits.remove(limits)
            self._apply()

    def _apply(self) -> None:
        if self._limits:
            for lane in ("send", "acquire", "question"):
                self.gates[lane].places = min(limits.max_in_flight for limits in self._limits)
            self.gates["send"].size = min(limits.max_bytes_in_flight for limits in self._limits)


def share_courtesy(
    runtime: Runtime, base_url: str, api_key: ApiKey, limits: Limits
) -> tuple[Courtesy, Callable[[], None]]:
    """Return the courtesy towards ``base_url`` with ``api_key`` in ``runtime``, and what ends its use by the caller."""
    name = (Courtesy, base_url, api_key)
    courtesy = runtime.shared.join(name, lambda: Courtesy(base_url, runtime.clock, runtime.new_random()))
    unlimit = courtesy.limit(limits)

    def leave() -> None:
        unlimit()
        runtime.shared.leave(name, courtesy)

    return courtesy, leave


def _wake(woken: "asyncio.Future[None]") -> None:
    if not woken.done():
        woken.set_result(None)


def _wake_from_any_thread(loop: asyncio.AbstractEventLoop, woken: "asyncio.Future[None]") -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
        loop.call_soon_threadsafe(_wake, woken)
