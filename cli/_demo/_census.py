"""What is there: actors and threads in this process, polls and models on the server."""

import threading
import time
from typing import Final, NamedTuple

import httpx
import pykka

SETTLE_SECONDS: Final = 10.0
_PAUSE: Final = 0.02


class Census(NamedTuple):
    """Counts at one moment; what a server does not tell is None."""

    actors: int
    threads: int
    polls: int | None
    models: int | None

    def since(self, before: "Census") -> "Census":
        """Return how much more there is than ``before``."""
        return Census(
            self.actors - before.actors,
            self.threads - before.threads,
            _less(self.polls, before.polls),
            _less(self.models, before.models),
        )

    @property
    def clean(self) -> bool:
        """Whether nothing that can be seen is more than before."""
        return all(not count for count in self)


def count(base_url: str) -> Census:
    """Count now."""
    health = _health(base_url)
    return Census(
        actors=len(pykka.ActorRegistry.get_all()),
        threads=threading.active_count(),
        polls=health.get("polls"),
        models=health.get("models"),
    )


def settle(base_url: str, before: Census) -> Census:
    """Count until there is no more than ``before``, or for ten seconds; return the difference."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        difference = count(base_url).since(before)
        if difference.clean or time.monotonic() >= deadline:
            return difference
        time.sleep(_PAUSE)


def _less(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else now - before


def _health(base_url: str) -> dict[str, int]:
    try:
        reply = httpx.get(f"{base_url}/api/v1/healthz", timeout=5.0, trust_env=False)
        body = reply.json()
    except (httpx.HTTPError, ValueError):
        return {}
    return {name: body[name] for name in ("polls", "models") if isinstance(body.get(name), int)}
