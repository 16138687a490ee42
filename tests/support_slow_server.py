"""A network on which chosen requests wait until a test lets them go on."""

import asyncio
import threading
from collections.abc import Callable

import httpx

from support_clients import Faults


class SlowServer(Faults):
    """Holds what ``held`` says, by path and how often that was asked, until ``open`` is set.

    Unlike a request that ``Faults`` holds, it reaches the server then.
    """

    def __init__(self, held: Callable[[str, int], bool]) -> None:
        super().__init__()
        self.open = threading.Event()
        self.waits = threading.Event()
        """Set once a request is held."""
        self._held = held
        self._asked: dict[str, int] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        count = self._asked[path] = self._asked.get(path, 0) + 1
        if self._held(path, count):
            self.waits.set()
            await asyncio.to_thread(self.open.wait, 60.0)
        return await super().handle_async_request(request)
