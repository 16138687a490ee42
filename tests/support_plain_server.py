"""The wire's promises in a few lines, for seeded worlds, where a real server has no place: it never fails or delays."""

import json
from typing import Any

import httpx


class PlainServer(httpx.AsyncBaseTransport):
    """Answers at once, each number once; faults are ``support_clients.Faults``' to add."""

    def __init__(self) -> None:
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
            self._known[key] = self._store(result)
        return {"request_id": self._known[key]}

    def _store(self, result: dict[str, Any]) -> str:
        request_id = f"r{len(self._futures)}"
        self._futures[request_id] = result
        return request_id
