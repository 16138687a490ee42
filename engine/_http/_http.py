"""Between HTTP and the engine: the one place that reads and writes bodies."""

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar, cast

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from tinkex.engine._base._config import owner_of
from tinkex.engine._base._errors import Refusal, told
from tinkex.engine._http._bodies import JSON, PROTOBUF, inflate, takes_protobuf
from tinkex.engine._service._engine import Engine
from tinkex.protocol import TinkexError, wire

log = structlog.get_logger("tinkex.engine")

Http: TypeAlias = Request[Any, Any, Any]
Reply: TypeAlias = Response[bytes]
T = TypeVar("T")

PREFIX: Final = "/api/v1"
MAX_PAGE: Final = 1000
MAX_OFFSET: Final = 10**9
_PASSING: Final = frozenset({425, 503})


def engine_of(request: Http) -> Engine:
    """Return the engine that serves a request."""
    return cast("Engine", request.app.state.engine)


@dataclass(frozen=True)
class WireTypes:
    """What a route reads and answers, for the description of the interface."""

    answer: type | None
    """Of its JSON; None for no JSON."""
    body: type | None = None
    """Of the JSON that it reads; None for no body."""
    protobuf: bool = False
    """Whether it reads protobuf, too."""
    statuses: tuple[int, ...] = (200,)
    """Those of its success."""
    query: Mapping[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """The schemas of what may stand in its query."""


def wire_types(answer: type | None, body: type | None = None, **more: Any) -> dict[str, Any]:
    """Say as a route's ``opt`` what it reads and answers; the arguments are those of ``WireTypes``."""
    return {"wire": WireTypes(answer, body, **more)}


def paging(default: int) -> dict[str, dict[str, Any]]:
    """Return the schemas of ``limit`` and ``offset``."""
    return {
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": default},
        "offset": {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "default": 0},
    }


def page_of(request: Http, default: int) -> tuple[int, int]:
    """Read ``limit`` and ``offset``.

    Raises:
        Refusal: 400.
    """
    return whole_number(request, "limit", default, 1, MAX_PAGE), whole_number(request, "offset", 0, 0, MAX_OFFSET)


def owner_in(request: Http) -> str:
    """Return the owner whose key a request carries."""
    return owner_of(request.headers.get("x-api-key", ""))


async def read(request: Http, into: type[T]) -> tuple[T, bytes]:
    """Read a request's JSON body; return it and the digest of path and body that recognises a repeat.

    Raises:
        Refusal: 400 that says where the body is wrong.
    """
    raw, digest = await body_of(request)
    try:
        return wire.decode(raw, into), digest
    except TinkexError as error:
        raise Refusal(400, error.message) from error


async def body_of(request: Http) -> tuple[bytes, bytes]:
    """Return a request's body, inflated, and the digest of path and body.

    Raises:
        Refusal: 400 or 413.
    """
    raw = await request.body()
    limit = engine_of(request).config.max_body_bytes
    raw = inflate(raw, request.headers.get("content-encoding", "identity"), limit)
    return raw, hashlib.sha256(request.scope["path"].encode() + b"\0" + raw).digest()


def reply(body: object, status: int = 200) -> Reply:
    """Write a body; statuses that pass say when to come again."""
    headers = {"retry-after": "1"} if status in _PASSING else {}
    return Response(wire.encode(body), media_type=JSON, status_code=status, headers=headers)


def reply_result(request: Http, result: object) -> Reply:
    """Write a future's answer: what was computed or drawn in protobuf, to those who take it; all else in JSON."""
    if not takes_protobuf(request.headers.get("accept", "")):
        return reply(result)
    # Both are imported with the first client that takes them.
    if isinstance(result, wire.ForwardBackwardResult):
        from tinkex.protocol.wire.protobuf import encode_result  # noqa: PLC0415

        return Response(encode_result(result), media_type=PROTOBUF, status_code=200)
    if isinstance(result, wire.SampleResult):
        from tinkex.protocol.wire.protobuf_sample import encode_sample  # noqa: PLC0415

        return Response(encode_sample(result), media_type=PROTOBUF, status_code=200)
    return reply(result)


def segment(request: Http, name: str) -> str:
    """Return a segment of the request's path."""
    return cast("str", request.path_params[name])


def whole_number(request: Http, name: str, default: int, low: int, high: int) -> int:
    """Read a number of the query.

    Raises:
        Refusal: 400.
    """
    text = cast("str", request.query_params.get(name, str(default)))
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high):
        raise Refusal(400, f"{name} must be {low} to {high}, not {text[:32]!r}")
    return int(text)


async def gone_away(request: Http) -> None:
    """Return once the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def first_of(work: "asyncio.Task[T]", hang_up: "asyncio.Task[None]") -> T | None:
    """Return the result of ``work``, or None if the client hangs up first; both tasks have ended then."""
    try:
        await asyncio.wait((work, hang_up), return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, hang_up):
            task.cancel()
        await asyncio.gather(work, hang_up, return_exceptions=True)


def _refused(_request: Http, refusal: Refusal) -> Reply:
    return reply(wire.ErrorReply(refusal.detail), refusal.status)


def _http_error(_request: Http, error: HTTPException) -> Reply:
    return reply(wire.ErrorReply(error.detail), error.status_code)


def _broke(request: Http, error: Exception) -> Reply:
    log.error("request broke", path=request.scope["path"], traceback=told(error))
    return reply(wire.ErrorReply("internal error; the server's log tells more"), 500)


EXCEPTION_HANDLERS: Final[dict[int | type[Exception], Any]] = {
    Refusal: _refused,
    HTTPException: _http_error,
    Exception: _broke,
}


class Empty(msgspec.Struct, frozen=True):
    """A body of which nothing is read, or an empty answer."""
