"""How long to wait before a repeat: the one retry arithmetic of the transport.

Ours, because tenacity and what stands on it (stamina) draw from the process's ``random`` and read ``time.monotonic``:
neither a seed nor a virtual clock reaches them.
"""

import random
from collections.abc import Mapping
from typing import Final

BASE_SECONDS: Final = 0.5
CAP_SECONDS: Final = 30.0
FLOOR_SECONDS: Final = 0.05
LONGEST_HINT_SECONDS: Final = 300.0
POLL_FLOOR_SECONDS: Final = 0.5
POLL_JITTER_SECONDS: Final = 0.25
PENDING_STEPS: Final = 4
"""How often the pause doubles at most before a server is asked again that answers, but at once and with no result."""


def full_jitter(failures: int, rng: random.Random) -> float:
    """Return seconds to wait after ``failures`` failures in a row, never zero.

    Full jitter spreads clients that failed together: uniform between a small floor and a doubling bound.
    """
    bound = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(max(failures - 1, 0), 16))
    return max(FLOOR_SECONDS, rng.uniform(0.0, bound))


def poll_pause(misses: int, hint: float | None, rng: random.Random, *, answered: bool) -> float:
    """Return seconds to wait between two polls for one result, of which the first was not held by the server.

    Never less than half a second, so that a server that answers at once, well or ill, is asked at most twice a second.

    Args:
        misses: how many polls in a row were not held; at least 1.
        hint: what the server asks for, None without a wish.
        rng: the jitter's source.
        answered: whether the server said that the result is pending; it is then never left alone for long.
    """
    wait = full_jitter(min(misses, PENDING_STEPS) if answered else misses, rng) if hint is None else hint
    return max(wait, POLL_FLOOR_SECONDS + rng.uniform(0.0, POLL_JITTER_SECONDS))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``Retry-After-Ms`` or ``Retry-After`` ask for, or None.

    ``now`` is epoch seconds, for the HTTP-date form. A hint that is no number, negative or longer than five minutes
    is cut to what a client may sensibly wait.
    """
    seconds = _milliseconds(headers.get("retry-after-ms"))
    if seconds is None:
        seconds = _seconds(headers.get("retry-after"), now)
    if seconds is None:
        return None
    return min(max(seconds, 0.0), LONGEST_HINT_SECONDS)


def epoch_of(date: str) -> float:
    """Return the epoch seconds of an HTTP date.

    Raises:
        ValueError: it is none, or one that no clock shows.
        OverflowError: the same.
    """
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import, and no part of connecting

    return parsedate_to_datetime(date).timestamp()


def _milliseconds(text: str | None) -> float | None:
    value = _number(text)
    return None if value is None else value / 1000.0


def _seconds(text: str | None, now: float) -> float | None:
    value = _number(text)
    if value is not None or text is None:
        return value
    try:
        return epoch_of(text) - now
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and value not in (float("inf"), float("-inf")) else None  # noqa: PLR0124 - NaN
