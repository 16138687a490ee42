"""The wire's promises in a few lines, for seeded worlds, where a real server has no place: it never fails or delays."""

import asyncio
import json
import threading
from typing import Any

import httpx


class PlainServer(httpx.AsyncBaseTransport):
    """Answers at once, each number once; faults are ``support_clients.Faults``' to add.

    ``immediate`` gives the result of a numbered request in place of a receipt for it.
    """

    def __init__(self, *, immediate: bool = False) -> None:
        self.executed: dict[str, list[int]] = {}
        self._immediate = immediate
        self.models: set[str] = set()
        self.sessions: dict[str, str] = {}
        self._futures: dict[str, dict[str, Any]] = {}
        self._known: dict[tuple[str, int], str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body: Any = json.loads(await request.aread() or b"{}")
        return httpx.Response(200, json=self._answer(request.url.path.removeprefix("/api/v1"), body, request.headers))

    def _answer(self, path: str, body: Any, headers: httpx.Headers) -> dict[str, Any]:
        if path == "/get_server_capabilities":
            return {"supported_models": [{"model_name": "m"}]}
        if path == "/weights_info":
            return {"base_model": "m", "is_lora": True, "lora_rank": 4}
        if path == "/create_session":
            session_id = f"session-{len(self.sessions)}"
            return {"session_id": self.sessions.setdefault(headers["x-idempotency-key"], session_id)}
        if path == "/create_model":
            model_id = f"{body['session_id']}:train:{body['model_seq_id']}"
            self.models.add(model_id)
            return {"request_id": self._store({"model_id": model_id}), "model_id": model_id}
        if path == "/unload_model":
            self.models.discard(body["model_id"])
            return {"request_id": self._store({"model_id": body["model_id"]})}
        if path == "/retrieve_future":
            return self._futures[body["request_id"]]
        if path.endswith("/finish"):
            self.models = {model for model in self.models if model.split(":")[0] != path.split("/")[2]}
            return {}
        return self._training(path, body) if "seq_id" in body else {"type": "session_heartbeat"}

    def _training(self, path: str, body: Any) -> dict[str, Any]:
        key = (body["model_id"], body["seq_id"])
        if key not in self._known:
            result: dict[str, Any] = {"metrics": {}, "path": f"tinker://{body['model_id']}{path}"}
            if path in {"/forward", "/forward_backward"}:
                result |= {"loss_fn_output_type": "t", "loss_fn_outputs": [{}] * len(body[f"{path[1:]}_input"]["data"])}
            self.executed.setdefault(body["model_id"], []).append(body["seq_id"])
            self._known[key] = self._store(result)
        return self._futures[self._known[key]] if self._immediate else {"request_id": self._known[key]}

    def _store(self, result: dict[str, Any]) -> str:
        request_id = f"r{len(self._futures)}"
        self._futures[request_id] = result
        return request_id


class Gate(httpx.AsyncBaseTransport):
    """A server behind a gate: while it is shut, requests with a number wait in front of it."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self._open = threading.Event()
        self._open.set()
        self._waiting: list[asyncio.Future[None]] = []
        self.reached = threading.Event()

    def shut(self) -> None:
        """Let no numbered request pass from now on."""
        self._open.clear()

    def open(self) -> None:
        """Let those pass that wait, and all others. Any thread."""
        self._open.set()
        for waiting in tuple(self._waiting):
            waiting.get_loop().call_soon_threadsafe(_pass, waiting)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if b'"seq_id"' in await request.aread() and not self._open.is_set():
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiting)
            self.reached.set()
            if not self._open.is_set():  # else nobody may have seen that it waits
                await waiting
        return await self._inner.handle_async_request(request)


def _pass(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)
