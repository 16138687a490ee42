"""Why a run is as it is, in one sentence for a human. Pure."""

import math
import shlex
import unicodedata
from typing import Final

from tinkex.protocol._run_status import RunStatus

STALE_SECONDS: Final = 60.0
"""A status that is older says how old it is, where nobody knows whether its process lives."""

LONG_WAIT_SECONDS: Final = 60.0
"""A wait of the oldest request is worth a word from here on."""

_ENDS: Final = frozenset({"finished", "stopped", "failed"})
_PAUSES: Final = {
    "paused_capacity": "paused by the server for capacity",
    "paused_rate_limit": "paused by the server for its rate limit",
    "paused_billing": "paused by the server for billing",
}
_WAITS: Final = {
    "queued": "its oldest request waits for its turn",
    "sending": "its oldest request is on its way to the server",
    "running": "its oldest request waits for its result",
    "backing_off": "its oldest request failed and is to be repeated",
    "circuit_open": "the server has failed too often to be asked",
    "program": "it waits for the training program",
    "suspect": "it is not known what became of its oldest request",
}
_PLAIN: Final = {"idle": "not started", "restoring": "restoring", "training": "training", "stopping": "stopping"}
_MOST: Final = 300
"""Characters of a text that was given, such as an error's."""


def explain(status: RunStatus, now: float, alive: bool | None) -> str:
    """Say in one sentence what the run does, since when, what is durable, and what work is at risk.

    Args:
        status: of the run.
        now: epoch seconds.
        alive: whether its process lives; None where nobody knows, as on another host.
    """
    if status.state in _ENDS:
        parts = [_ended(status, now), *_way_on(status)]
    elif alive is False and status.state != "idle":
        parts = [_gone(status, now), *_way_on(status), *_at_risk(status, "must be done again")]
    else:
        parts = [_doing(status, now), *_waiting(status, now), *_durable(status), *_at_risk(status, "at risk")]
        if alive is None and now - status.written > STALE_SECONDS and status.written > 0.0:
            parts.append(f"last heard of {_span(now - status.written)} ago")
    return "; ".join(parts)


def _doing(status: RunStatus, now: float) -> str:
    pause = _PAUSES.get(status.waiting or "") if status.state in {"training", "restoring", "stopping"} else None
    if pause is not None:
        since = status.since if status.waiting_since is None else status.waiting_since
        return f"{pause}{_for(now, since)}{_at(status)}{_because(status.reason)}"
    if status.state == "paused":
        return f"paused on request{_for(now, status.since)}{_at(status)}{_because(status.reason)}"
    if status.state == "training":
        return f"training{_at(status)}{_pace(status)}{_because(status.reason)}"
    if status.state == "restoring" and status.durable_update is not None:
        return f"restoring update {_count(status.durable_update)}{_for(now, status.since)}{_because(status.reason)}"
    plain = _PLAIN.get(status.state, _clean(status.state))
    return f"{plain}{_for(now, status.since)}{_at(status)}{_because(status.reason)}"


def _ended(status: RunStatus, now: float) -> str:
    told = f"{_clean(status.state)}{_ago(now, status.since)}{_at(status)}"
    if status.state == "failed":
        message = (status.error or {}).get("message")
        return f"{told}{_because(message if isinstance(message, str) else status.reason)}"
    return f"{told}{_because(status.reason)}"


def _gone(status: RunStatus, now: float) -> str:
    who = [] if status.pid is None else [f"pid {status.pid}"]
    if status.host:
        who.append(f"on {_clean(status.host)}")
    named = f" ({' '.join(who)})" if who else ""
    doing = _PLAIN.get(status.state, _clean(status.state))
    heard = f", last heard of {_span(now - status.written)} ago" if status.written > 0.0 else ""
    return f"its process{named} is gone{heard}, {doing}{_at(status)}"


def _way_on(status: RunStatus) -> list[str]:
    if status.state == "finished":
        return _durable(status)
    command = f"`tinkex resume {shlex.quote(_clean(status.run))}`"
    if status.durable_update is None:
        return [f"nothing is durable: {command} begins it again"]
    return [f"{command} goes on from update {_count(status.durable_update)}"]


def _waiting(status: RunStatus, now: float) -> list[str]:
    wait = _WAITS.get(status.waiting or "")
    if wait is None or status.waiting_since is None or not now - status.waiting_since >= LONG_WAIT_SECONDS:
        return []
    return [f"{wait}, for {_span(now - status.waiting_since)}"]


def _durable(status: RunStatus) -> list[str]:
    if status.durable_update is not None:
        return [f"last durable update {_count(status.durable_update)}"]
    return ["nothing is durable yet"] if status.update > 0 else []


def _at_risk(status: RunStatus, risk: str) -> list[str]:
    if status.at_risk_updates <= 0:
        return []
    noun = "update" if status.at_risk_updates == 1 else "updates"
    spent = f" ({_span(status.at_risk_seconds)})" if status.at_risk_seconds > 0.0 else ""
    return [f"{_count(status.at_risk_updates)} {noun}{spent} {risk}"]


def _pace(status: RunStatus) -> str:
    left = status.eta_seconds
    return "" if left is None or not math.isfinite(left) or left <= 0.0 else f", about {_span(left)} left"


def _at(status: RunStatus) -> str:
    if status.update <= 0 and status.state in {"idle", "restoring"}:
        return ""
    of = "" if status.updates is None else f" of {_count(status.updates)}"
    return f" at update {_count(status.update)}{of}"


def _for(now: float, since: float) -> str:
    return f" for {_span(now - since)}" if since > 0.0 else ""


def _ago(now: float, since: float) -> str:
    return f" {_span(now - since)} ago" if since > 0.0 else ""


def _because(reason: str | None) -> str:
    cleaned = _clean(reason or "")
    return f": {cleaned}" if cleaned else ""


def _count(number: int) -> str:
    return f"{number:,}"


def _span(seconds: float) -> str:
    """Write a span in its largest unit, with the next one where the first is below ten."""
    if not seconds < _UNKNOWN:  # nor is what is no number
        return "an unknown time"
    seconds = max(seconds, 0.0)
    for name, size, next_name, next_size in _UNITS:
        if seconds >= size:
            first = int(seconds // size)
            second = int((seconds - first * size) // next_size)
            return f"{first:,} {name}" if second == 0 or first >= _TEN else f"{first} {name} {second} {next_name}"
    return f"{seconds:.0f} s" if seconds >= 1.0 else "less than 1 s"


_TEN: Final = 10
_UNKNOWN: Final = 1e10
"""Seconds from which on a span is no span, but a clock that was never set."""

_UNITS: Final = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


def _clean(text: str) -> str:
    """Return ``text`` in one line without control characters, shortened."""
    shown = "".join(" " if unicodedata.category(letter)[0] in "CZ" else letter for letter in text)
    words = " ".join(shown.split())
    return words if len(words) <= _MOST else f"{words[: _MOST - 1]}…"
