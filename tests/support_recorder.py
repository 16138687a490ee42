"""An engine that remembers which endpoints it was asked for."""

import re
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from tinkex.engine import EngineConfig, app

_PLACES = (
    (re.compile(r"(/checkpoints)/[^/]+/[^/]+"), r"\1/{kind}/{name}"),
    (re.compile(r"(/training_runs)/[^/]+"), r"\1/{run}"),
    (re.compile(r"(/sessions)/(?!search)[^/]+"), r"\1/{session}"),
    (re.compile(r"(/samplers)/[^/]+"), r"\1/{sampler}"),
    (re.compile(r"(/download)/[^/]+/[^/]+"), r"\1/{token}/{file}"),
)


class Recorder:
    """An ASGI app around the engine's."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.asked: set[str] = set()
        """Such as ``POST /api/v1/create_model``."""
        self.broken: list[str] = []
        """What was answered with a 5xx."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        asked = f"{scope['method']} {place(scope['path'])}"

        async def noticing(message: Any) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 500:
                    self.broken.append(f"{asked}: {status}")
                if status not in {404, 405}:
                    self.asked.add(asked)
            await send(message)

        await self._inner(scope, receive, noticing)


def place(path: str) -> str:
    """Return the endpoint behind a path."""
    for pattern, name in _PLACES:
        path = pattern.sub(name, path)
    return path


@contextmanager
def recording_engine(root: Path, **options: Any) -> Generator[tuple[str, Recorder]]:
    """Serve an engine of its own while the block runs; give its URL and what it was asked for."""
    recorder = Recorder(app(EngineConfig(root, **options)))
    settings = uvicorn.Config(recorder, lifespan="on", log_config=None, access_log=False)
    server = uvicorn.Server(settings)
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", recorder
        finally:
            server.should_exit = True
            thread.join()
