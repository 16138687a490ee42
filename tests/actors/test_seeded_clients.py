"""Clients in a seeded world: whatever the interleaving and the faults, nothing is trained twice or left unanswered.

The server here is a few lines that keep the wire's promise (a repeated number runs once), because real sockets and a
real engine have no place in a world where one thread runs at a time; elsewhere the same laws are tested over it.
"""

import json
import random
from typing import Any

import httpx
import pykka
import pytest

from support_clients import data
from tinkex.actors import ServiceClient
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import AdamParams, Err, Ok, messages


class Server(httpx.AsyncBaseTransport):
    """Runs each number once and notes it; loses, refuses and delays as its seed says."""

    def __init__(self, seed: int, faults: float) -> None:
        self.rng = random.Random(seed)
        self.faults = faults
        self.executed: dict[str, list[int]] = {}
        self.futures: dict[str, dict[str, Any]] = {}
        self.known: dict[tuple[str, int], str] = {}
        self.models: set[str] = set()
        self.sessions: set[str] = set()
        self.keys: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        fate = self.rng.random()
        if fate < self.faults / 3:
            raise httpx.ConnectError("down")
        if fate < self.faults / 2:
            return httpx.Response(503, json={"detail": "busy"})
        path = request.url.path.removeprefix("/api/v1")
        raw = await request.aread()
        body: Any = json.loads(raw or b"{}")
        response = self.answer(path, body, request.headers)
        if fate < self.faults:
            raise httpx.ReadError("lost")
        return response

    def answer(self, path: str, body: Any, headers: httpx.Headers) -> httpx.Response:
        if path == "/create_session":
            key = headers["x-idempotency-key"]
            self.keys.setdefault(key, f"session-{len(self.keys)}")
            self.sessions.add(self.keys[key])
            return httpx.Response(200, json={"session_id": self.keys[key]})
        if path == "/create_model":
            model_id = f"{body['session_id']}:train:{body['model_seq_id']}"
            self.models.add(model_id)
            return self.future({"model_id": model_id}, model_id)
        if path == "/unload_model":
            self.models.discard(body["model_id"])
            return self.future({"model_id": body["model_id"]})
        if path == "/retrieve_future":
            return httpx.Response(200, json=self.futures[body["request_id"]])
        if path.endswith("/finish"):
            self.sessions.discard(path.split("/")[2])
            self.models = {model for model in self.models if model.split(":")[0] in self.sessions}
            return httpx.Response(200, json={})
        if path == "/weights_info":
            return httpx.Response(200, json={"base_model": "m", "is_lora": True, "lora_rank": 4})
        if "seq_id" in body:
            return self.training(path, body)
        return httpx.Response(200, json={"type": "session_heartbeat"})

    def training(self, path: str, body: Any) -> httpx.Response:
        key = (body["model_id"], body["seq_id"])
        if key not in self.known:
            done = self.executed.setdefault(body["model_id"], [])
            assert body["seq_id"] == len(done) + 1, "out of order"
            done.append(body["seq_id"])
            result: dict[str, Any] = {"metrics": {}, "path": "tinker://run/weights/x", "loss_fn_output_type": "t"}
            if path == "/load_weights" and body["path"].endswith("broken"):
                result = {"error": "a tensor is missing", "category": "user"}
            if path == "/forward_backward":
                result["loss_fn_outputs"] = [{}] * len(body["forward_backward_input"]["data"])
            self.known[key] = self.store(result)
        return httpx.Response(200, json={"request_id": self.known[key]})

    def future(self, result: dict[str, Any], model_id: str | None = None) -> httpx.Response:
        return httpx.Response(200, json={"request_id": self.store(result), "model_id": model_id})

    def store(self, result: dict[str, Any]) -> str:
        request_id = f"r{len(self.futures)}"
        self.futures[request_id] = result
        return request_id


def run(seed: int, faults: float) -> tuple[Server, list[str]]:
    server = Server(seed, faults)
    with SeededScheduler(seed, http_transport=server) as world:
        service = ServiceClient.start(base_url="http://127.0.0.1:1")
        training = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        replies: list[Any] = []
        for index in range(6):
            replies.append(training.ask(messages.ForwardBackward(data()), block=False))
            replies.append(training.ask(messages.OptimStep(AdamParams()), block=False))
            replies.append(training.ask(messages.SaveState(f"bad name {index}"), block=False))
        replies.append(training.ask(messages.SaveState("good"), block=False))
        path = "tinker://run/weights/broken"
        failing = [service.ask(messages.CreateTrainingClientFromState(path), block=False) for _ in range(3)]
        results = [reply.get() for reply in replies]
        assert sum(isinstance(result, Ok) for result in results) == 13
        assert all(isinstance(reply.get(), Err) for reply in failing)
        world.run_for(60.0)
        service.stop()
        assert pykka.ActorRegistry.get_all() == []
        return server, list(world.trace)


@pytest.mark.parametrize("seed", range(60))
def test_every_interleaving_and_every_fault_trains_once_in_order_and_leaves_nothing(seed: int) -> None:
    server, _ = run(seed, faults=0.3 if seed % 5 else 0.0)
    for numbers in server.executed.values():
        assert numbers == list(range(1, len(numbers) + 1))
    assert max(len(numbers) for numbers in server.executed.values()) == 13
    assert server.models == set()
    assert server.sessions == set()


def test_the_same_seed_gives_the_same_trace_and_another_one_another() -> None:
    first, again, other = run(3, 0.3)[1], run(3, 0.3)[1], run(4, 0.3)[1]
    assert first == again
    assert first != other
