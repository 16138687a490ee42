"""Servers that differ as real ones do: what each takes, has and answers, in a few lines; none of them computes.

A model here is a count of steps: its loss tells what was loaded into it. Every number runs once and in order, or the
server says so; what a client sends twice, or sends in a form that the server does not take, is refused and noted.
"""

import json
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, ClassVar

import httpx
import pykka

from tinkex.actors import ServiceClient, ServiceClientRef
from tinkex.actors.testing import runtime
from tinkex.protocol import TensorData, wire

PROTOBUF = "application/x-protobuf"
URL = "http://127.0.0.1:1"
NOW = 1_800_000_000


@dataclass
class Model:
    session_id: str
    steps: int = 0
    moments: int = 0
    fresh: bool = True
    ran: list[int] = field(default_factory=list[int])
    known: dict[int, tuple[bytes, str]] = field(default_factory=dict[int, tuple[bytes, str]])


class Scripted(httpx.AsyncBaseTransport):
    """A server that has every route and takes every form; the others are what they lack."""

    takes: ClassVar[frozenset[str]] = frozenset({"application/json", PROTOBUF})
    missing: ClassVar[tuple[str, ...]] = ()
    three_step: ClassVar[bool] = True
    one_request: ClassVar[bool] = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.sessions: set[str] = set()
        self.models: dict[str, Model] = {}
        self.checkpoints: dict[str, tuple[int, int]] = {}
        self.futures: dict[str, httpx.Response] = {}
        self.pending: Counter[str] = Counter()
        self.lose: set[str] = set()
        """Paths whose next request is handled and whose reply is lost."""

    def asked(self, path: str) -> int:
        """How often ``path`` was asked, by its end."""
        return sum(seen.endswith(path) for seen, _ in self.seen)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raw = await request.aread()
        path, media = request.url.path.removeprefix("/api/v1"), request.headers.get("content-type", "")
        self.seen.append((path, media))
        response = self.handle(request, path, media, raw)
        response.headers["date"] = formatdate(NOW, usegmt=True)
        if path in self.lose:
            self.lose.remove(path)
            raise httpx.ReadError("lost on request")
        return response

    def handle(self, request: httpx.Request, path: str, media: str, raw: bytes) -> httpx.Response:
        if any(path.endswith(name) for name in self.missing):
            return self.no_route(path)
        if path in ("/forward", "/forward_backward"):
            return self.run_pass(path, media, raw)
        if request.method == "GET":
            return self.listed(path)
        if path.endswith("/finish"):
            return self.finish(path.split("/")[2])
        body: Any = json.loads(raw)
        route = getattr(self, path.removeprefix("/"))
        answer: httpx.Response = route(body, request.headers) if path == "/retrieve_future" else route(body)
        return answer

    # What differs

    def no_route(self, path: str) -> httpx.Response:
        return reply(404, {"detail": "Not Found"})

    def wrong_format(self, media: str) -> httpx.Response:
        return reply(415, {"detail": f"{media} is not supported"})

    def accept(self, request_id: str, model_id: str) -> httpx.Response:
        return reply(200, {"request_id": request_id, "model_id": model_id})

    def failure(self, message: str) -> httpx.Response:
        return reply(200, {"error": message, "category": "user"})

    def model_id(self, session_id: str, number: int) -> str:
        return f"{session_id}:train:{number}"

    # Sessions and models

    def create_session(self, body: Any) -> httpx.Response:
        session_id = f"s{len(self.sessions)}-{len(self.seen)}"
        self.sessions.add(session_id)
        return reply(200, {"session_id": session_id, "type": "create_session"})

    def session_heartbeat(self, body: Any) -> httpx.Response:
        return reply(200, {"type": "session_heartbeat"})

    def finish(self, session_id: str) -> httpx.Response:
        self.sessions.discard(session_id)
        self.models = {name: model for name, model in self.models.items() if model.session_id != session_id}
        return httpx.Response(204)

    def create_model(self, body: Any) -> httpx.Response:
        model_id = self.model_id(body["session_id"], body["model_seq_id"])
        self.models[model_id] = Model(body["session_id"])
        return self.accept(self.store(reply(200, {"model_id": model_id, "type": "create_model"})), model_id)

    def unload_model(self, body: Any) -> httpx.Response:
        if self.models.pop(body["model_id"], None) is None:
            return reply(404, {"detail": f"unknown model {body['model_id']}"})
        result = reply(200, {"model_id": body["model_id"], "type": "unload_model"})
        return self.accept(self.store(result), body["model_id"])

    def get_info(self, body: Any) -> httpx.Response:
        return reply(200, {"model_id": body["model_id"], "model_data": {"model_name": "m"}, "lora_rank": 4})

    def weights_info(self, body: Any) -> httpx.Response:
        if body["tinker_path"] not in self.checkpoints:
            return reply(404, {"detail": "unknown checkpoint"})
        return reply(200, {"base_model": "m", "is_lora": True, "lora_rank": 4})

    def listed(self, path: str) -> httpx.Response:
        if path == "/get_server_capabilities":
            return reply(200, {"supported_models": [{"model_name": "m"}]})
        found = [self.entry(name) for name in self.checkpoints]
        return reply(200, {"checkpoints": found})

    def entry(self, path: str) -> dict[str, Any]:
        name = path.split("/", 3)[3]
        return {
            "checkpoint_id": name,
            "checkpoint_type": "training",
            "tinker_path": path,
            "time": "2027-01-15T08:00:01Z",
        }

    # Numbered requests

    def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
        if media not in self.takes:
            return self.wrong_format(media)
        if media == PROTOBUF:
            from tinkex.protocol.wire.protobuf import decode_pass

            request: wire.ForwardRequest | wire.ForwardBackwardRequest = decode_pass(raw)
        elif path == "/forward":
            request = wire.decode(raw, wire.ForwardRequest)
        else:
            request = wire.decode(raw, wire.ForwardBackwardRequest)
        body = request.forward_input if isinstance(request, wire.ForwardRequest) else request.forward_backward_input
        model = self.models[request.model_id]
        output = {"logprobs": TensorData([-0.5, -0.25], "float32")}
        result = wire.ForwardBackwardResult("TorchLossReturn", [output] * len(body.data), {"loss:sum": loss(model)})
        return self.numbered({"model_id": request.model_id, "seq_id": request.seq_id}, raw, as_result(result))

    def optim_step(self, body: Any) -> httpx.Response:
        model = self.models[body["model_id"]]
        if body["seq_id"] not in model.known:
            model.steps, model.moments = model.steps + 1, model.moments + 1
        return self.numbered(body, json.dumps(body).encode(), reply(200, {"metrics": {}}))

    def save_weights(self, body: Any) -> httpx.Response:
        model = self.models[body["model_id"]]
        path = f"tinker://{body['model_id']}/weights/{body['path']}"
        if body["path"] == "failing":
            result = self.failure("the disk is full")
        else:
            self.checkpoints[path] = (model.steps, model.moments)
            result = reply(200, {"path": path, "type": "save_weights"})
        return self.numbered(body, json.dumps(body).encode(), result)

    def load_weights(self, body: Any) -> httpx.Response:
        if "model_id" in body:
            if not self.three_step:
                return reply(400, {"detail": "load_weights takes session_id and model_seq_id"})
            model_id = body["model_id"]
            assert self.models[model_id].fresh, "a load is a model's first request"
        else:
            if not self.one_request:
                return reply(422, {"detail": [{"type": "missing", "loc": ["body", "model_id"], "msg": "required"}]})
            model_id = self.model_id(body["session_id"], body["model_seq_id"])
            self.models[model_id] = Model(body["session_id"])
        model, (steps, moments) = self.models[model_id], self.checkpoints[body["path"]]
        model.steps, model.moments = steps, moments if body["optimizer"] else 0
        result = reply(200, {"path": body["path"], "type": "load_weights"})
        if "model_id" in body:
            return self.numbered(body, json.dumps(body).encode(), result)
        return reply(200, {"request_id": self.store(result)})

    def numbered(self, body: Any, raw: bytes, result: httpx.Response) -> httpx.Response:
        """Run a number once; the same again is answered the same, another body under it is the client's error."""
        model_id, seq_id = body["model_id"], body["seq_id"]
        model = self.models[model_id]
        if seq_id in model.known:
            before, request_id = model.known[seq_id]
            assert before == raw, f"number {seq_id} carries two bodies"
            return self.accept(request_id, model_id)
        assert seq_id == len(model.ran) + 1, f"number {seq_id} after {model.ran}"
        model.ran.append(seq_id)
        model.fresh = False
        request_id = self.store(result)
        model.known[seq_id] = (raw, request_id)
        return self.accept(request_id, model_id)

    # Results

    def store(self, response: httpx.Response) -> str:
        request_id = f"r{len(self.futures)}"
        self.futures[request_id] = response
        return request_id

    def retrieve_future(self, body: Any, headers: httpx.Headers) -> httpx.Response:
        stored = self.futures[body["request_id"]]
        if stored.headers["content-type"] == PROTOBUF and PROTOBUF not in headers["accept"]:
            return self.in_json(stored)
        return httpx.Response(stored.status_code, content=stored.content, headers=dict(stored.headers))

    def in_json(self, stored: httpx.Response) -> httpx.Response:
        from tinkex.protocol.wire.protobuf import decode_result

        return httpx.Response(200, content=wire.encode(decode_result(stored.content)))


class Hosted(Scripted):
    """As the hosted service speaks to today's clients: passes in protobuf, restores in one request, no unload."""

    takes = frozenset({PROTOBUF})
    missing = ("/unload_model", "/forward")
    three_step = False

    def in_json(self, stored: httpx.Response) -> httpx.Response:
        return stored  # whatever was asked for


class SkyRL(Scripted):
    """As SkyRL's server: three steps, no finish, ids of its own, saves that are not told apart, failures by status."""

    missing = ("/finish",)
    one_request = False

    def model_id(self, session_id: str, number: int) -> str:
        return f"model_{len(self.futures):08x}"

    def failure(self, message: str) -> httpx.Response:
        return reply(400, {"detail": message})

    def save_weights(self, body: Any) -> httpx.Response:
        path = f"tinker://{body['model_id']}/weights/{body['path']}"
        if path in self.checkpoints:
            return reply(409, {"detail": f"Checkpoint '{body['path']}' already exists for model '{body['model_id']}'"})
        return super().save_weights(body)


class TinkexEra(Scripted):
    """As older servers: JSON only, a model's id with the answer, results pending in capitals, failures with a map."""

    takes = frozenset({"application/json"})
    missing = ("/finish",)
    one_request = False

    def no_route(self, path: str) -> httpx.Response:
        return reply(405, {"message": "Method Not Allowed"})

    def create_model(self, body: Any) -> httpx.Response:
        super().create_model(body)
        return reply(200, {"model_id": self.model_id(body["session_id"], body["model_seq_id"]), "type": "create_model"})

    def unload_model(self, body: Any) -> httpx.Response:
        super().unload_model(body)
        return reply(200, {"model_id": body["model_id"], "type": "unload_model"})

    def failure(self, message: str) -> httpx.Response:
        return reply(200, {"status": "failed", "error": {"message": message, "category": "USER"}})

    def retrieve_future(self, body: Any, headers: httpx.Headers) -> httpx.Response:
        self.pending[body["request_id"]] += 1
        if self.pending[body["request_id"]] == 1:
            waiting = {"type": "try_again", "request_id": body["request_id"], "queue_state": "ACTIVE"}
            return reply(200, {**waiting, "retry_after_ms": 1})
        answer = super().retrieve_future(body, headers)
        if answer.status_code == 200 and b'"status"' not in answer.content:
            return reply(200, {"status": "completed", "result": answer.json()})
        return answer


def reply(status: int, body: Any) -> httpx.Response:
    return httpx.Response(status, json=body)


def as_result(result: wire.ForwardBackwardResult) -> httpx.Response:
    from tinkex.protocol.wire.protobuf import encode_result

    return httpx.Response(200, content=encode_result(result), headers={"content-type": PROTOBUF})


def loss(model: Model) -> float:
    """Return a loss that tells the weights and whether the optimizer's moments came along."""
    return 100.0 - model.steps - model.moments / 16.0


@contextmanager
def client(server: httpx.AsyncBaseTransport | None, url: str = URL, **options: Any) -> Generator[ServiceClientRef]:
    """Give a service client of ``server``; afterwards no actor of it may be left."""
    before = set(pykka.ActorRegistry.get_all())
    with runtime(http_transport=server):
        ref = ServiceClient.start(base_url=url, **options)
        try:
            yield ref
        finally:
            ref.stop()
        assert set(pykka.ActorRegistry.get_all()) <= before
