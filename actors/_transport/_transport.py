"""The one way to a server: sends, polls and plain calls, on the io loop."""

import copy
import random
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import msgspec

from tinkex.actors._runtime._clock import Clock
from tinkex.actors._runtime._log import debugging, log
from tinkex.actors._runtime._waiting import PAUSES, tell
from tinkex.actors._transport._answers import Done, Failed, Pending, Polling, ResultLost, read_inline
from tinkex.actors._transport._attempt import Attempt, HttpReply
from tinkex.actors._transport._backoff import epoch_of, full_jitter, poll_pause
from tinkex.actors._transport._courtesy import Courtesy, Lane, Observe, Turn
from tinkex.actors._transport._departure import Departure
from tinkex.actors._transport._faults import not_in_time
from tinkex.actors._transport._http import Http
from tinkex.actors._transport._profile import ServerProfile
from tinkex.actors._transport._sending import Accepted, Again, Exists, Refused, Sending, Unknown
from tinkex.protocol import ApiKey, TinkexError, wire

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Exchange = Callable[[], Coroutine[Any, Any, Attempt]]

SEND_READ_SECONDS: Final = 60.0
POLL_READ_SECONDS: Final = 45.0
LONG_POLL_SECONDS: Final = 1.0
_ACQUIRES: Final = frozenset({"create_session", "create_model", "load_weights", "weights_info"})
"""What makes models, or is asked for it: any number of restores may hang in these, and hold up nothing else."""

_RETRIEVE: Final = "/api/v1/retrieve_future"
_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Transport:
    """Requests to one server with one key. Coroutines run on the io loop; the object may be shared by actors.

    Args:
        base_url: the server, without a trailing slash; its path prefix is kept.
        api_key: goes to that origin only.
        clock: every pause and deadline.
        send_timeout: seconds for which a request is repeated, None for ever.
        rng: the jitter's source.
        courtesy: shared with the other transports to this server with this key; one of its own where None.
        http_transport: where bytes go instead of the network, for tests.
        profile: what was found out about the server, shared by all who ask it; None to find out anew.
    """

    def __init__(
        self,
        base_url: str,
        api_key: ApiKey,
        clock: Clock,
        *,
        send_timeout: float | None,
        rng: random.Random,
        courtesy: Courtesy | None = None,
        http_transport: "httpx.AsyncBaseTransport | None" = None,
        profile: ServerProfile | None = None,
    ) -> None:
        """Keep what is needed; nothing is sent."""
        self.base_url = base_url
        self.profile = profile if profile is not None else ServerProfile()
        self.send_timeout = send_timeout
        self._http = Http(base_url, api_key, http_transport)
        self._clock = clock
        self._rng = rng
        self._courtesy = courtesy if courtesy is not None else Courtesy(base_url, clock, rng)
        self._express = False
        self._log = log().bind()

    @property
    def server_time(self) -> float | None:
        """The latest ``Date`` that this server sent, in epoch seconds; None where it sent none that can be read."""
        try:
            return epoch_of(self._http.date) if self._http.date is not None else None
        except (ValueError, OverflowError):
            return None

    @property
    def local(self) -> bool:
        """Whether the server is on this machine."""
        return self._http.local

    @property
    def express(self) -> Self:
        """This transport for requests that wait for no place and no circuit: what ends a lease must get through."""
        urgent = copy.copy(self)
        urgent._express = True  # noqa: SLF001 - it is of this class
        return urgent

    async def send(
        self,
        path: str,
        body: bytes,
        *,
        what: str,
        observe: Observe,
        save: bool = False,
        headers: Mapping[str, str] = _NO_HEADERS,
        departure: Departure | None = None,
    ) -> Accepted | Refused | Unknown | Exists:
        """Post ``body`` until its fate is known or cannot be known; see ``Sending``.

        Whoever claims ``departure`` before the first attempt goes out may cancel this and knows that nothing was sent.
        """
        turn = Turn(self._lane(_lane_of(what, "send")), observe, "sending", len(body), departure=departure)
        exchange = partial(self._http.post, path, body, read_seconds=SEND_READ_SECONDS, headers=headers)
        return await self._settle(path, exchange, turn, what=what, save=save)

    async def poll(
        self,
        request_id: str,
        *,
        what: str,
        observe: Observe,
        patience: float | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Done | Failed | ResultLost:
        """Ask for the result of ``request_id`` until there is one; at most one poll is open at a time.

        After ``patience`` seconds it counts as lost, with kind ``api_timeout``; None asks for as long as it takes.
        """
        started = self._clock.monotonic()
        body = msgspec.json.encode({"request_id": request_id, "allow_metadata_only": False})
        until = None if patience is None else started + patience
        turn = Turn(self._lane("poll"), observe, "running", until=until)
        exchange = partial(self._http.post, _RETRIEVE, body, read_seconds=POLL_READ_SECONDS, headers=headers)
        misses = 0
        polling = Polling(what)
        while True:
            begun = self._clock.monotonic()
            attempt = await self._attempt(_RETRIEVE, exchange, turn)
            answer = polling.read(attempt, self._clock.monotonic(), self._clock.time())
            if not isinstance(answer, Pending):
                return answer
            if patience is not None and self._clock.monotonic() - started >= patience:
                return ResultLost(not_in_time(what, patience))
            observe(answer.state, answer.reason)
            held = answer.answered and self._clock.monotonic() - begun >= LONG_POLL_SECONDS
            misses = 0 if held else misses + 1
            pause = answer.delay or 0.0
            if not held:
                pause = poll_pause(misses, answer.delay, self._rng, answered=answer.answered)
            if not answer.answered:
                pause += self._courtesy.delay_of_repeat()
            await self._clock.sleep(pause)

    async def result(
        self, accepted: bytes, *, what: str, observe: Observe, patience: float | None = None
    ) -> Done | Failed | ResultLost:
        """Return the result of a request that was answered ``accepted``: polled for, or in that answer itself.

        Raises:
            TinkexError: kind ``protocol``, where the answer cannot be read.
        """
        request_id = future_of(accepted, what)
        if request_id is None:
            return read_inline(what, accepted)
        return await self.poll(request_id, what=what, observe=observe, patience=patience)

    async def call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        reply: type[T],
        *,
        what: str,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> T:
        """Make a request that answers at once and may be repeated freely.

        Raises:
            TinkexError: the server's refusal, or what kept it from answering within ``send_timeout``.
        """
        raw = await self.command(method, path, body, what=what, headers=headers)
        return wire.decode(raw, reply)

    async def command(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        what: str,
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> bytes:
        """Like ``call``, for answers whose content does not matter; returns the raw body."""
        exchange = partial(self._http.exchange, method, path, body, read_seconds=SEND_READ_SECONDS, headers=headers)
        return await self._command(path, exchange, len(body or b""), what)

    async def post(self, path: str, body: bytes, *, what: str) -> bytes:
        """Like ``command`` with ``POST``, for what makes or ends a lease: it goes the way of the sends between.

        So neither a restore nor the end of a program, which has a deadline, begins with loading another way there.
        """
        exchange = partial(self._http.post, path, body, read_seconds=SEND_READ_SECONDS)
        return await self._command(path, exchange, len(body), what)

    async def beat(self, path: str, body: bytes, *, read_seconds: float) -> Attempt:
        """Post once, with no repeat: for heartbeats, whose next beat is the repeat."""
        turn = Turn("express", tell, "sending")
        return await self._attempt(path, partial(self._http.post, path, body, read_seconds=read_seconds), turn)

    async def close(self) -> None:
        """Close the connections once nothing is under way; a later request opens and closes its own."""
        await self._http.close()

    async def _command(self, path: str, exchange: Exchange, size: int, what: str) -> bytes:
        turn = Turn(self._lane(_lane_of(what, "question")), tell, "running", size)
        verdict = await self._settle(path, exchange, turn, what=what, save=False)
        if isinstance(verdict, Accepted):
            return verdict.body
        raise verdict.error

    async def _settle(
        self,
        path: str,
        exchange: Exchange,
        turn: Turn,
        *,
        what: str,
        save: bool,
    ) -> Accepted | Refused | Unknown | Exists:
        sending = Sending(what, self._clock.monotonic(), self.send_timeout, save=save)
        while True:
            turn.until, turn.last_try = sending.deadline(self._clock.monotonic()), sending.ambiguous
            attempt = await self._attempt(path, exchange, turn)
            sending.queued = turn.queued
            verdict = sending.judge(attempt, self._clock.monotonic(), self._clock.time())
            if not isinstance(verdict, Again):
                return verdict
            turn.observe(verdict.state, verdict.reason)
            delay = verdict.delay if verdict.delay is not None else full_jitter(sending.failures, self._rng)
            await self._clock.sleep(delay + (0.0 if self._express else self._courtesy.delay_of_repeat()))
            if verdict.state not in PAUSES:
                turn.observe("sending", None)

    def _lane(self, lane: Lane) -> Lane:
        return "express" if self._express else lane

    async def _attempt(self, path: str, exchange: Exchange, turn: Turn) -> Attempt:
        if not debugging():
            attempt = await self._courtesy.attempt(turn, exchange)
        else:
            begun = self._clock.monotonic()
            attempt = await self._courtesy.attempt(turn, exchange)
            outcome: Any = attempt.status if isinstance(attempt, HttpReply) else attempt.cause
            self._log.debug("http", path=path, outcome=outcome, seconds=self._clock.monotonic() - begun)
        if isinstance(attempt, HttpReply):
            self._http.date = attempt.headers.get("date", self._http.date)
        return attempt


def _lane_of(what: str, otherwise: Lane) -> Lane:
    return "acquire" if what in _ACQUIRES else otherwise


def future_of(body: bytes, what: str) -> str | None:
    """Return the request_id in an accepted request's answer, or None where the answer is the result itself.

    Raises:
        TinkexError: kind ``protocol``, where the answer is neither.
    """
    fields = wire.decode(body, dict[str, Any])
    request_id = fields.get("request_id")
    if request_id is None:
        return None
    if not isinstance(request_id, str):
        raise TinkexError(
            f"{what} was answered with a request_id that is no string", kind="protocol", category="server"
        )
    return request_id
