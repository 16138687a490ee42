"""What became of a request that changes something: the pure rules for repeats.

A request is repeated with the same body and number until it is known to be accepted, known to be refused, or until
nothing can be known any more. The rules never guess: a refusal after an attempt that may have run is *unknown*.
"""

from typing import Final, Literal

import msgspec

from tinkex.actors._transport._attempt import Attempt, HttpReply, Lost, NotSent
from tinkex.actors._transport._backoff import retry_after
from tinkex.actors._transport._faults import conflict, network_error, own_words, status_error
from tinkex.protocol import TinkexError

BILLING_PAUSE_SECONDS: Final = 5.0
BILLING_LIMIT_SECONDS: Final = 3600.0
_OK = range(200, 300)
_CLIENT_ERRORS = range(400, 500)

WaitState = Literal["backing_off", "paused_billing", "paused_rate_limit", "paused_capacity", "queued", "circuit_open"]


class Accepted(msgspec.Struct, frozen=True):
    """The server took the request; ``body`` is its answer.

    ``ambiguous`` says that an earlier attempt may have been taken too: the server then answers for both.
    """

    body: bytes
    ambiguous: bool


class Refused(msgspec.Struct, frozen=True):
    """No attempt ran: the number of the request may be used again."""

    error: TinkexError


class Unknown(msgspec.Struct, frozen=True):
    """An attempt may have run and none was accepted."""

    error: TinkexError


class Exists(msgspec.Struct, frozen=True):
    """A save was told that its name is taken, after an attempt that may have been the one that took it."""

    error: TinkexError


class Again(msgspec.Struct, frozen=True):
    """Repeat the same request; ``delay`` is None where the jittered back-off applies."""

    delay: float | None
    state: WaitState
    reason: str | None = None
    """The server's own words, or what the network did."""


Verdict = Accepted | Refused | Unknown | Exists | Again


class Sending(msgspec.Struct):
    """The history of one request's attempts. Pure: times come in, verdicts go out.

    Args:
        what: how errors name the request, such as ``"save_weights"``.
        started: monotonic seconds of the first attempt.
        send_timeout: seconds of repeating, pauses for billing and queueing not counted; None repeats for ever.
        save: whether a 409 means that the name of a checkpoint is taken.
    """

    what: str
    started: float
    send_timeout: float | None
    save: bool = False
    ambiguous: bool = False
    failures: int = 0
    billing_since: float | None = None
    paused: float = 0.0
    queued: float = 0.0
    """Seconds that it waited for its turn among our own requests; they do not count against ``send_timeout``."""

    def deadline(self, now: float) -> float | None:
        """Return the monotonic seconds at which the repeats end as far as is known ``now``; None for never."""
        if self.send_timeout is None:
            return None
        billed = 0.0 if self.billing_since is None else now - self.billing_since
        return self.started + self.send_timeout + self.paused + self.queued + billed

    def judge(self, attempt: Attempt, now: float, wall: float) -> Verdict:
        """Return what the latest ``attempt`` means; ``now`` is monotonic, ``wall`` epoch seconds."""
        if isinstance(attempt, HttpReply):
            return self._judge_reply(attempt, now, wall)
        self._bill(now, refused=False)
        self.failures += 1
        if isinstance(attempt, Lost):
            self.ambiguous = True
        if not self._expired(now):
            return Again(None, "backing_off", network_error(self.what, attempt).message)
        return self._give_up(network_error(self.what, attempt))

    def _judge_reply(self, reply: HttpReply, now: float, wall: float) -> Verdict:
        billed_for = self._bill(now, refused=reply.status == 402)
        if reply.status in _OK:
            return Accepted(reply.body, self.ambiguous)
        error = status_error(self.what, reply, wall)
        if reply.status == 402:
            if billed_for < BILLING_LIMIT_SECONDS:
                return Again(BILLING_PAUSE_SECONDS, "paused_billing", own_words(reply))
            return self._give_up(error)
        if reply.status in (425, 429):
            return self._wait_out(reply, error, now, wall)
        if reply.status == 501 and own_words(reply) is not None:
            return self._give_up(error)  # it does not know the request, so it did not run
        if reply.status == 408 or reply.status >= 500:
            self.ambiguous = True
            self.failures += 1
            if not self._expired(now):
                return Again(_positive(retry_after(reply.headers, wall)), "backing_off", own_words(reply))
            return self._give_up(error)
        return self._judge_refusal(reply, error)

    def _wait_out(self, reply: HttpReply, error: TinkexError, now: float, wall: float) -> Verdict:
        self.failures += 1
        if self._expired(now):
            return self._give_up(error)
        state: WaitState = "paused_rate_limit" if reply.status == 429 else "paused_capacity"
        return Again(_positive(retry_after(reply.headers, wall)), state, own_words(reply))

    def _judge_refusal(self, reply: HttpReply, error: TinkexError) -> Verdict:
        own = own_words(reply) is not None
        if reply.status == 409:
            if not (self.save and own):
                return Unknown(error)
            taken = conflict(self.what)
            return Exists(taken) if self.ambiguous else Refused(taken)
        if own and reply.status in _CLIENT_ERRORS:
            return self._give_up(error)
        return Unknown(error)

    def _give_up(self, error: TinkexError) -> Refused | Unknown:
        return Unknown(error) if self.ambiguous else Refused(error)

    def _bill(self, now: float, *, refused: bool) -> float:
        """Keep account of the pause for billing; return for how long it lasts already."""
        since = self.billing_since
        self.billing_since = (now if since is None else since) if refused else None
        if since is None:
            return 0.0
        if not refused:
            self.paused += now - since
        return now - since

    def _expired(self, now: float) -> bool:
        deadline = self.deadline(now)
        return deadline is not None and now >= deadline


def _positive(delay: float | None) -> float | None:
    return delay or None


__all__ = [
    "Accepted",
    "Again",
    "Exists",
    "Lost",
    "NotSent",
    "Refused",
    "Sending",
    "Unknown",
    "Verdict",
    "WaitState",
]
