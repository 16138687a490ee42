"""A server of a few lines for tests of recovery: sessions that can be lost, runs that can be corrupted, checkpoints.

It keeps the wire's promises that recovery leans on; the same laws are tested over the real engine elsewhere.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

Rule = Callable[[str, Any, int], "httpx.Response | str | None"]
"""From a path, its body and how often it was asked to what happens: a response in the server's place, ``hang``, or
None for the ordinary course. A load may also be told ``user`` or ``server``: it fails, and that is whose fault it was.
"""


class Runs(httpx.AsyncBaseTransport):
    """Answers in memory; a load takes ``load_seconds`` of the clock that its event loop has."""

    def __init__(self, rule: Rule | None = None, load_seconds: float = 0.0) -> None:
        self.rule = rule
        self.load_seconds = load_seconds
        self.sessions: set[str] = set()
        self.models: set[str] = set()
        self.corrupted: set[str] = set()
        self.checkpoints: dict[str, list[str]] = {}
        """From a run to its paths, oldest first."""
        self.loads: list[tuple[str, str, bool]] = []
        """Of each load that was asked for: model, path and whether with the optimizer."""
        self.polled: list[str] = []
        """The runs that were asked about, in order."""
        self.loading = 0
        self.most_loading = 0
        self.steps: list[tuple[str, str]] = []
        self._counts: dict[str, int] = {}
        self._sessions_made = 0
        self._futures: dict[str, dict[str, Any]] = {}

    def lose_sessions(self) -> None:
        """End every session, as a server does that heard no heartbeat."""
        self.sessions.clear()
        self.models.clear()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        body: Any = json.loads(await request.aread() or b"{}")
        count = self._counts[path] = self._counts.get(path, 0) + 1
        if path != "/load_weights":
            fate = self.rule(path, body, count) if self.rule is not None else None
            return await self._answer_as(fate, path, body, request)
        self.loads.append((body["model_id"], body["path"], body["optimizer"]))
        self.loading += 1
        self.most_loading = max(self.most_loading, self.loading)
        try:
            await asyncio.sleep(self.load_seconds)
            return await self._answer_as(
                self.rule(path, body, count) if self.rule is not None else None, path, body, request
            )
        finally:
            self.loading -= 1

    async def _answer_as(
        self, fate: httpx.Response | str | None, path: str, body: Any, request: httpx.Request
    ) -> httpx.Response:
        if isinstance(fate, httpx.Response):
            return fate
        if fate == "hang":
            await asyncio.Event().wait()
        if fate is not None:
            return self._future({"error": "the load failed", "category": fate})
        if request.method == "GET":
            return self._describe(path)
        return self._act(path, body)

    def _describe(self, path: str) -> httpx.Response:
        parts = path.split("/")
        run = parts[2]
        if parts[-1] == "checkpoints":
            listed = [self._checkpoint(name) for name in reversed(self.checkpoints.get(run, []))]
            return httpx.Response(200, json={"checkpoints": listed})
        self.polled.append(run)
        own = self.checkpoints.get(run, [])
        return httpx.Response(
            200,
            json={
                "training_run_id": run,
                "base_model": "m",
                "model_owner": "me",
                "is_lora": True,
                "last_request_time": "2026-01-01T00:00:00Z",
                "corrupted": run in self.corrupted,
                "last_checkpoint": self._checkpoint(own[-1]) if own else None,
            },
        )

    def _checkpoint(self, path: str) -> dict[str, Any]:
        run, kind, name = path.removeprefix("tinker://").split("/")
        age = self.checkpoints[run].index(path)
        return {
            "checkpoint_id": f"{kind}/{name}",
            "checkpoint_type": "training",
            "time": f"2026-01-01T00:00:{age:02}Z",
            "tinker_path": path,
        }

    def _act(self, path: str, body: Any) -> httpx.Response:
        if path == "/create_session":
            self._sessions_made += 1
            session_id = f"s{self._sessions_made}"
            self.sessions.add(session_id)
            return httpx.Response(200, json={"session_id": session_id})
        if path == "/session_heartbeat":
            alive = body["session_id"] in self.sessions
            return httpx.Response(200, json={}) if alive else httpx.Response(404, json={"detail": "no such session"})
        if path.endswith("/finish"):
            session_id = path.split("/")[2]
            self.sessions.discard(session_id)
            self.models = {model for model in self.models if model.split(":")[0] != session_id}
            return httpx.Response(200, json={})
        if path == "/create_model":
            model_id = f"{body['session_id']}:train:{body['model_seq_id']}"
            self.models.add(model_id)
            return self._future({"model_id": model_id})
        if path == "/unload_model":
            self.models.discard(body["model_id"])
            return self._future({"model_id": body["model_id"]})
        if path == "/weights_info":
            return httpx.Response(200, json={"base_model": "m", "is_lora": True, "lora_rank": 4})
        if path == "/retrieve_future":
            return httpx.Response(200, json=self._futures[body["request_id"]])
        return self._train(path, body)

    def _train(self, path: str, body: Any) -> httpx.Response:
        model_id = body["model_id"]
        if model_id not in self.models:
            return httpx.Response(404, json={"detail": "no such model"})
        self.steps.append((model_id, path))
        if path == "/load_weights" and body["path"] not in [item for own in self.checkpoints.values() for item in own]:
            return self._future({"error": "no such checkpoint", "category": "user"})
        result: dict[str, Any] = {"metrics": {}, "path": body.get("path"), "loss_fn_output_type": "t"}
        if path == "/save_weights":
            result["path"] = f"tinker://{model_id}/weights/{body['path']}"
            self.checkpoints.setdefault(model_id, []).append(result["path"])
        if path == "/forward_backward":
            result["loss_fn_outputs"] = [{}] * len(body["forward_backward_input"]["data"])
        return self._future(result)

    def _future(self, result: dict[str, Any]) -> httpx.Response:
        request_id = f"r{len(self._futures)}"
        self._futures[request_id] = result
        return httpx.Response(200, json={"request_id": request_id})
