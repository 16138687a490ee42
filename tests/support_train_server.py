"""A scripted server that trains: what its models hold tells which rows trained them, in which order and how often.

It keeps the wire's promises (a repeated number or key is answered once, a finished session trains no more, a save holds
what was asked before it) and breaks the rest on request. For seeded worlds: time is that of its event loop.
"""

import asyncio
import json
import random
import zlib
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Weights:
    """What a model holds: of each step its rows and its rate; gradients that no step has used."""

    steps: tuple[Any, ...] = ()
    pending: tuple[int, ...] = ()
    optimizer: bool = True


@dataclass
class Faults:
    """How often what goes wrong, for each request; and spans of time in which the server is down."""

    seed: int = 0
    lose: float = 0.0
    busy: float = 0.0
    end_session: float = 0.0
    fail: float = 0.0
    hang: float = 0.0
    down: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    most: int = 40
    """After so many the server behaves."""


class TrainServer(httpx.AsyncBaseTransport):
    """Answers in memory; each pass, step and save takes ``seconds`` of the loop's clock."""

    def __init__(self, faults: Faults | None = None, seconds: float = 0.05) -> None:
        self.faults = faults or Faults()
        self.seconds = seconds
        self.sessions: set[str] = set()
        self.models: dict[str, Weights] = {}
        self.checkpoints: dict[str, Weights] = {}
        self.ttls: dict[str, int | None] = {}
        self.deleted: list[str] = []
        self.renewed: list[str] = []
        self.struck: list[str] = []
        self.paused_until = 0.0
        self.late_steps = 0.0
        """Seconds by which the result of a step is later than that of what came behind it."""
        self._random = random.Random(self.faults.seed)
        self._made = 0
        self._free = 0.0
        self._keyed: dict[str, httpx.Response] = {}
        self._answers: dict[tuple[str, int], str] = {}
        self._futures: dict[str, tuple[float, dict[str, Any]]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        body: Any = json.loads(await request.aread() or b"{}")
        now = asyncio.get_running_loop().time()
        if any(begin <= now < end for begin, end in self.faults.down):
            raise httpx.ConnectError("the server is down")
        fault = self._fault(path)
        if fault == "busy":
            return httpx.Response(503, json={"detail": "too much to do"})
        if fault == "hang":
            await asyncio.Event().wait()
        if fault == "end_session" and "model_id" in body:
            self._end(body["model_id"].split(":")[0])
        if path == "/retrieve_future":
            response = await self._result(body["request_id"])
        else:
            key = request.headers.get("x-idempotency-key", "")
            response = self._keyed.get(key) or self._act(request.method, path, body, now, fail=fault == "fail")
            if key:
                self._keyed[key] = response
        if fault == "lose":
            raise httpx.ReadError("the reply is lost")
        return response

    def _fault(self, path: str) -> str | None:
        if len(self.struck) >= self.faults.most or path.endswith("/finish"):
            return None
        drawn = self._random.random()
        for name in ("lose", "busy", "end_session", "fail", "hang"):
            rate = getattr(self.faults, name)
            if drawn < rate:
                self.struck.append(f"{name} {path}")
                return name
            drawn -= rate
        return None

    def _end(self, session_id: str) -> None:
        self.sessions.discard(session_id)
        for model_id in [item for item in self.models if item.split(":")[0] == session_id]:
            del self.models[model_id]

    def _act(self, method: str, path: str, body: Any, now: float, *, fail: bool) -> httpx.Response:
        if path == "/create_session":
            self._made += 1
            self.sessions.add(f"s{self._made}")
            return _ok({"session_id": f"s{self._made}"})
        if path == "/session_heartbeat":
            return _ok({}) if body["session_id"] in self.sessions else _gone("session")
        if path.endswith("/finish"):
            self._end(path.split("/")[2])
            return _ok({})
        if path == "/get_server_capabilities":
            return _ok({"supported_models": [{"model_name": "m"}]})
        if path.startswith("/training_runs/"):
            return self._run(method, path, body)
        if path == "/weights_info":
            known = body["tinker_path"] in self.checkpoints
            return _ok({"base_model": "m", "is_lora": True, "lora_rank": 4}) if known else _gone("checkpoint")
        if path == "/create_model":
            model_id = f"{body['session_id']}:train:{body['model_seq_id']}"
            if body["session_id"] not in self.sessions:
                return _gone("session")
            self.models.setdefault(model_id, Weights())
            return self._future({"model_id": model_id}, now)
        if path == "/unload_model":
            self.models.pop(body["model_id"], None)
            return self._future({"model_id": body["model_id"]}, now)
        return self._train(path, body, now, fail=fail)

    def _run(self, method: str, path: str, body: Any) -> httpx.Response:
        parts = path.split("/")
        run = parts[2]
        if len(parts) == 3:
            told = {"training_run_id": run, "base_model": "m", "model_owner": "me", "is_lora": True}
            return _ok({**told, "last_request_time": "2026-01-01T00:00:00Z", "corrupted": False})
        if len(parts) == 4:
            return _ok({"checkpoints": [_listed(item) for item in self.checkpoints if f"//{run}/" in item]})
        address = f"tinker://{run}/{parts[4]}/{parts[5]}"
        if address not in self.checkpoints:
            return _gone("checkpoint")
        if method == "DELETE":
            del self.checkpoints[address]
            self.deleted.append(address)
        else:
            self.ttls[address] = body["ttl_seconds"]
            self.renewed.append(address)
        return httpx.Response(204)

    def _train(self, path: str, body: Any, now: float, *, fail: bool) -> httpx.Response:
        model_id = body["model_id"]
        known = self._answers.get((model_id, body["seq_id"]))
        if known is not None:
            return _ok({"request_id": known})
        if model_id not in self.models:
            return _gone("model")
        if fail:
            response = self._future({"error": "out of memory", "category": "server"}, now)
        else:
            late = self.late_steps if path == "/optim_step" else 0.0
            response = self._future(self._do(path, body, self.models[model_id]), now, late)
        self._answers[model_id, body["seq_id"]] = response.json()["request_id"]
        return response

    def _do(self, path: str, body: Any, model: Weights) -> dict[str, Any]:
        if path == "/load_weights":
            found = self.checkpoints.get(body["path"])
            if found is None:
                return {"error": "no such checkpoint", "category": "user"}
            model.steps, model.pending, model.optimizer = found.steps, found.pending, bool(body["optimizer"])
            return {"path": body["path"]}
        if path == "/save_weights":
            address = f"tinker://{body['model_id']}/weights/{body['path']}"
            self.checkpoints[address] = Weights(model.steps, model.pending, model.optimizer)
            self.ttls[address] = body.get("ttl_seconds")
            return {"path": address}
        if path == "/optim_step":
            model.steps = (*model.steps, (model.pending, body["adam_params"]["learning_rate"]))
            model.pending = ()
            return {"metrics": {}}
        data = body["forward_backward_input"]["data"]
        rows = tuple(int(bytes(item["model_input"]["chunks"][0]["tokens"]).split()[1]) for item in data)
        loss = 1.0 + zlib.crc32(repr((model.steps, model.pending, rows)).encode()) / 2**32
        model.pending = (*model.pending, *rows)
        return {"metrics": {"loss:sum": loss}, "loss_fn_output_type": "t", "loss_fn_outputs": [{}] * len(data)}

    def _future(self, result: dict[str, Any], now: float, late: float = 0.0) -> httpx.Response:
        request_id = f"r{len(self._futures)}"
        self._free = max(now, self._free) + self.seconds
        self._futures[request_id] = (self._free + late, result)
        return _ok({"request_id": request_id})

    async def _result(self, request_id: str) -> httpx.Response:
        loop = asyncio.get_running_loop()
        due, result = self._futures[request_id]
        paused = loop.time() < self.paused_until
        await asyncio.sleep(min(max(due, self.paused_until) - loop.time(), 5.0 if paused else 30.0))
        if loop.time() >= max(due, self.paused_until):
            return _ok(result)
        state = {"queue_state": "paused_capacity", "queue_state_reason": "no room"} if paused else {}
        return _ok({"type": "try_again", "request_id": request_id, "queue_state": "active", **state})


def _ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)


def _gone(what: str) -> httpx.Response:
    return httpx.Response(404, json={"detail": f"there is no such {what}"})


def _listed(address: str) -> dict[str, Any]:
    _run, kind, name = address.removeprefix("tinker://").split("/")
    fields = {"checkpoint_id": f"{kind}/{name}", "checkpoint_type": "training", "time": "2026-01-01T00:00:00Z"}
    return {**fields, "tinker_path": address}
