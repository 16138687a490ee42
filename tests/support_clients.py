"""Clients under test: faults on the way to a real engine, and small data."""

import json
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pykka

from support_engine_url import health
from tinkex.actors import GenRef, ServiceClient, ServiceClientRef, TrainingClient, TrainingClientRef
from tinkex.actors.testing import Clock, runtime
from tinkex.protocol import Datum, ModelInput, messages

Rule = Callable[[httpx.Request, int], "str | httpx.Response | None"]
"""From a request, and how often its path was seen, to what happens.

``lose`` runs it and loses the reply, ``refuse`` is a connection that fails before a byte, ``hold`` never answers, a
response is given in the server's place, None lets it pass.
"""


class Faults(httpx.AsyncBaseTransport):
    """The network between clients and the engine, with faults on request and a record of what was sent."""

    def __init__(self, rule: Rule | None = None, inner: httpx.AsyncBaseTransport | None = None) -> None:
        self.rule = rule
        self.seen: list[tuple[str, Any]] = []
        self.held = threading.Event()
        self._counts: dict[str, int] = {}
        self._given = inner
        self._inner: httpx.AsyncBaseTransport | None = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        import asyncio

        path = request.url.path.removeprefix("/api/v1")
        body = await request.aread()
        self.seen.append((path, json.loads(body) if body else None))
        count = self._counts[path] = self._counts.get(path, 0) + 1
        action = self.rule(request, count) if self.rule is not None else None
        if action == "refuse":
            raise httpx.ConnectError("refused on request")
        if action == "hold":
            self.held.set()
            await asyncio.Event().wait()
        if isinstance(action, httpx.Response):
            return action
        if self._inner is None:
            self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None))
        response = await self._inner.handle_async_request(request)
        if action == "lose":
            await response.aread()
            await response.aclose()
            raise httpx.ReadError("lost on request")
        return response

    async def aclose(self) -> None:
        inner = self._inner
        if inner is not None and self._given is None:
            self._inner = None  # first: another client's request must not open a connection in a pool that is closing
            await inner.aclose()

    def sent(self, *paths: str) -> list[Any]:
        """Return the bodies that went to ``paths``, in order of arrival."""
        return [body for path, body in self.seen if path in paths]

    def seq_ids(self) -> list[int]:
        """Return the numbers in order of arrival."""
        return [body["seq_id"] for _, body in self.seen if isinstance(body, dict) and "seq_id" in body]


@contextmanager
def service(
    url: str, rule: Rule | None = None, *, clock: Clock | None = None, faults: Faults | None = None, **options: Any
) -> Generator[tuple[ServiceClientRef, Faults]]:
    """Give a service client behind ``Faults``; afterwards no actor of it may be left."""
    before = set(pykka.ActorRegistry.get_all())
    faults = faults if faults is not None else Faults(rule)
    with runtime(clock=clock, http_transport=faults):
        ref = ServiceClient.start(base_url=url, **options)
        try:
            yield ref, faults
        finally:
            ref.stop()
        assert set(pykka.ActorRegistry.get_all()) <= before


def data(text: str = "to be or not to be", rows: int = 1) -> list[Datum]:
    tokens = list(text.encode())
    datum = Datum(
        ModelInput.from_ints(tokens[:-1]), {"target_tokens": tokens[1:], "weights": [1.0] * (len(tokens) - 1)}
    )
    return [datum] * rows


def create(ref: ServiceClientRef, **options: Any) -> TrainingClientRef:
    options = {"rank": 4, "seed": 3, **options}
    return ref.ask(messages.CreateLoraTrainingClient(base_model(ref), **options)).unwrap()


def base_model(ref: GenRef[Any]) -> str:
    return ref.ask(messages.GetServerCapabilities()).unwrap().supported_models[0].model_name


def eventually(condition: Callable[[], Any], timeout: float = 20.0) -> Any:
    """Wait until ``condition`` holds, on a beat of the event that never comes."""
    beat = threading.Event()
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, "it never came"
        beat.wait(0.01)
    return value


def hold(path: str) -> Rule:
    def rule(request: httpx.Request, _count: int) -> str | None:
        return "hold" if request.url.path == f"/api/v1{path}" else None

    return rule


def census(url: str) -> tuple[int, int, int, int]:
    """Count training clients here, and polls, sessions and models on the server."""
    counts = health(url)
    actors = pykka.ActorRegistry.get_by_class(TrainingClient)
    return len(actors), counts["polls"], counts["sessions"], counts["models"]


def nothing_left(url: str) -> None:
    eventually(lambda: census(url) == (0, 0, 0, 0))
