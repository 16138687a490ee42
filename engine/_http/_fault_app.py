"""Faults between the engine and its clients: around the handling of one HTTP request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from litestar.types import Message, Send

from tinkex.engine._base._errors import Refusal
from tinkex.engine._base._fault_plan import FaultPlan
from tinkex.engine._http._guard import answer

_SPARED: Final = "healthz"
_LONGEST_DELAY: Final = 1.0
"""Seconds."""
_PIECES: Final = 8
_PAUSE: Final = 0.02
"""Seconds between two pieces of a slow answer."""
_HINT: Final = {"retry-after-ms": "50"}


def place_of(path: str) -> str:
    """Return the word of a path that faults are counted by."""
    words = [word for word in path.split("/") if word not in ("", "api", "v1")]
    return words[0] if words else ""


async def handle(plan: FaultPlan, path: str, send: Send, handling: Callable[[Send], Awaitable[None]]) -> None:
    """Handle a request with the faults that ``plan`` has for it; ``handling`` answers through what it is given."""
    place = place_of(path)
    if place == _SPARED:
        await handling(send)
        return
    delay = plan.hit("delay", place)
    if delay is not None:
        await asyncio.sleep(_LONGEST_DELAY * plan.share(delay))
    if plan.hit("error", place):
        await answer(send, Refusal(503, "a fault on request: not handled"))
    elif plan.hit("rate_limit", place):
        await answer(send, Refusal(429, "a fault on request: too many requests"), _HINT)
    else:
        lost, slow = plan.hit("lost_reply", place), plan.hit("slow_body", place)
        await handling(_cut(send) if lost is not None else _slowed(send) if slow is not None else send)


def _cut(send: Send) -> Send:
    """Send the head of an answer and nothing behind it; the server then closes the connection."""

    async def cut(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)

    return cut


def _slowed(send: Send) -> Send:
    """Send an answer in pieces."""

    async def slowed(message: Message) -> None:
        body: Any = message.get("body", b"") if message["type"] == "http.response.body" else b""
        step = -(-len(body) // _PIECES)
        if len(body) <= _PIECES:
            await send(message)
            return
        more = bool(message.get("more_body", False))
        for begin in range(0, len(body), step):
            last = begin + step >= len(body)
            await send(
                {"type": "http.response.body", "body": body[begin : begin + step], "more_body": more or not last}
            )
            await asyncio.sleep(_PAUSE)

    return slowed
