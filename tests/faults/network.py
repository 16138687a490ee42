"""The network between clients and the scripted server: does what the plan says to each delivery, and notes it."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple, NoReturn, cast

import httpx
import msgspec

from faults.plan import ATTEMPT_FAULTS, LOCAL_FAULTS, RESULT_FAULTS, SERVER_FAULTS, Fault
from faults.server import Answer, Doom, Server, digest

PREFIX: Final = "/api/v1"
POLL_SECONDS: Final = 20.0
"""How long the server holds a poll whose result is not there."""

DELAY_SECONDS: Final = 7.0
GHOST_SECONDS: Final = 20.0
"""When a request that its sender has given up arrives after all."""

HTML: Final = b"<html><body><h1>Gateway</h1></body></html>"

PROXY: Final = {"proxy_403": 403, "proxy_404": 404, "proxy_502": 502, "portal_html": 200}
REFUSALS: Final = {
    "server_400": 400,
    "server_401": 401,
    "server_404": 404,
    "server_409": 409,
    "server_410": 410,
    "pay_402": 402,
    "timeout_408": 408,
    "early_425": 425,
    "busy_429": 429,
    "error_500": 500,
    "down_503": 503,
}


class Delivery(NamedTuple):
    """An attempt, as it left the client."""

    time: float
    label: str
    nth: int
    model_id: str | None
    seq_id: int | None
    digest: str


class Network(httpx.AsyncBaseTransport):
    """Deliveries are counted by label; a fault strikes by label and count, and by nothing else.

    Args:
        server: answers.
        plan: what goes wrong.
    """

    def __init__(self, server: Server, plan: Sequence[Fault]) -> None:
        self.server = server
        self.plan = plan
        self.log: list[Delivery] = []
        self.hits: list[tuple[str, str]] = []
        self.healed = False
        self.act: Callable[[str, Delivery], object] = lambda _kind, _delivery: None
        """Does what strikes the client's own process."""
        self.note: Callable[[str], object] = lambda _event: None
        self._counts: Counter[str] = Counter()

    def heal(self) -> None:
        """Let nothing more go wrong."""
        self.healed = True

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        now = asyncio.get_running_loop().time()
        path = request.url.path.removeprefix(PREFIX)
        content = await request.aread()
        body: dict[str, Any] = msgspec.json.decode(content) if content else {}
        label = self.server.label(path, body)
        self._counts[label] += 1
        delivery = Delivery(now, label, self._counts[label], body.get("model_id"), body.get("seq_id"), digest(body))
        self.log.append(delivery)
        struck = [] if self.healed else [fault for fault in self.plan if fault.strikes(label, delivery.nth)]
        self.note(f"{label}#{delivery.nth} {body.get('seq_id', '')} {' '.join(fault.kind for fault in struck)}")
        for fault in struck:
            self.hits.append((fault.kind, label))
            if fault.kind in LOCAL_FAULTS or fault.kind in SERVER_FAULTS:
                self.act(fault.kind, delivery)
        doom = next((fault.kind for fault in struck if fault.kind in RESULT_FAULTS), None)
        exchange = _Exchange(self, request, path, body, cast("Doom | None", doom))
        attempts = [fault.kind for fault in struck if fault.kind in ATTEMPT_FAULTS]
        response = await (exchange.suffer(attempts[0]) if attempts else exchange.serve())
        self.note(f"{label}#{delivery.nth} is answered {response.status_code}")
        return response


class _Exchange:
    """One request and its answer."""

    def __init__(
        self, network: Network, request: httpx.Request, path: str, body: dict[str, Any], doom: Doom | None
    ) -> None:
        self._server = network.server
        self._request = request
        self._path = path
        self._body = body
        self._doom: Doom | None = doom

    async def serve(self) -> httpx.Response:
        """Let the server answer, a poll when its result is there or its time is over."""
        if self._path == "/retrieve_future":
            loop = asyncio.get_running_loop()
            pending = self._server.pending(str(self._body.get("request_id")), loop.time())
            if pending > 0.0:
                await asyncio.sleep(min(pending, POLL_SECONDS))
        return respond(self._arrive())

    def _arrive(self) -> Answer:
        now = asyncio.get_running_loop().time()
        key = self._request.headers.get("x-idempotency-key")
        return self._server.answer(self._path, self._body, key, now, self._doom)

    async def suffer(self, kind: str) -> httpx.Response:
        """Let ``kind`` happen to it."""
        if kind in PROXY:
            return httpx.Response(PROXY[kind], content=HTML, headers={"content-type": "text/html"})
        if kind in REFUSALS:
            headers = {"retry-after": "2"} if kind == "busy_429" else {}
            return respond(Answer(REFUSALS[kind], {"detail": f"{kind} was to come"}), headers)
        return await _SUFFERINGS[kind](self)

    async def refuse(self) -> NoReturn:
        """Nobody is there."""
        raise httpx.ConnectError("refused on request")

    async def lose_request(self) -> NoReturn:
        """It is cut on its way to the server."""
        raise httpx.ReadError("lost on request")

    async def lose_reply(self) -> NoReturn:
        """It runs, and the answer is cut."""
        self._arrive()
        raise httpx.ReadError("lost on request")

    async def ghost(self) -> NoReturn:
        """It seems lost, and arrives much later."""
        asyncio.get_running_loop().call_later(GHOST_SECONDS, self._arrive)
        raise httpx.ReadError("lost on request")

    async def hang_request(self) -> NoReturn:
        """It never arrives, and nobody says so."""
        await self._hang()

    async def hang_reply(self) -> NoReturn:
        """It runs, and the answer never comes."""
        self._arrive()
        await self._hang()

    async def delay(self) -> httpx.Response:
        """It is long on its way to the server."""
        await asyncio.sleep(DELAY_SECONDS)
        return await self.serve()

    async def slow_reply(self) -> httpx.Response:
        """Its answer is long on its way."""
        response = await self.serve()
        await asyncio.sleep(DELAY_SECONDS)
        return response

    async def duplicate(self) -> httpx.Response:
        """It arrives twice."""
        self._arrive()
        return await self.serve()

    async def ran_500(self) -> httpx.Response:
        """It runs, and the server fails at answering."""
        self._arrive()
        return respond(Answer(500, {"detail": "ran_500 was to come"}))

    async def ran_408(self) -> httpx.Response:
        """It runs, and the server gives the answer up."""
        self._arrive()
        return respond(Answer(408, {"detail": "ran_408 was to come"}))

    async def portal_json(self) -> httpx.Response:
        """Somebody else says 200 in JSON, and the server sees nothing."""
        return respond(Answer(200, {"welcome": "please sign in"}))

    async def empty(self) -> httpx.Response:
        """It runs, and the answer has no body."""
        self._arrive()
        return httpx.Response(200, content=b"")

    async def truncated(self) -> httpx.Response:
        """It runs, and half of the answer's body comes."""
        content = msgspec.json.encode(self._arrive().body)
        return httpx.Response(200, content=content[: len(content) // 2])

    async def garbled(self) -> httpx.Response:
        """It runs, and the answer is JSON of another shape."""
        self._arrive()
        return httpx.Response(200, content=b"[1, 2, 3]")

    async def _hang(self) -> NoReturn:
        timeout: dict[str, float] = self._request.extensions["timeout"]
        await asyncio.sleep(timeout["read"])
        raise httpx.ReadTimeout("no answer, on request")


_SUFFERINGS: Final[dict[str, Callable[[_Exchange], Coroutine[Any, Any, httpx.Response]]]] = {
    "refuse": _Exchange.refuse,
    "lose_request": _Exchange.lose_request,
    "lose_reply": _Exchange.lose_reply,
    "ghost": _Exchange.ghost,
    "hang_request": _Exchange.hang_request,
    "hang_reply": _Exchange.hang_reply,
    "delay": _Exchange.delay,
    "slow_reply": _Exchange.slow_reply,
    "duplicate": _Exchange.duplicate,
    "ran_500": _Exchange.ran_500,
    "ran_408": _Exchange.ran_408,
    "portal_json": _Exchange.portal_json,
    "empty": _Exchange.empty,
    "truncated": _Exchange.truncated,
    "garbled": _Exchange.garbled,
}


def respond(answer: Answer, headers: dict[str, str] | None = None) -> httpx.Response:
    """Write ``answer`` down as HTTP."""
    return httpx.Response(answer.status, content=msgspec.json.encode(answer.body), headers=headers)
