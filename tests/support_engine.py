"""A client of the engine that speaks plain JSON, so that tests see the wire and nothing between."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import structlog
from structlog.testing import capture_logs

from tinkex.engine import BUILTIN_MODEL, Engine, EngineConfig, app
from tinkex.engine._service._executor import Job

Body = dict[str, Any]
ADDRESS = "http://127.0.0.1"


class Clock:
    """Time that tests move."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """One session on an engine."""

    def __init__(self, http: httpx.AsyncClient, engine: Engine | None = None) -> None:
        self.http = http
        self._engine = engine
        self.session_id = ""
        self._models = 0

    @property
    def engine(self) -> Engine:
        assert self._engine is not None
        return self._engine

    async def send(self, path: str, body: object, **headers: str) -> httpx.Response:
        return await self.http.post(f"/api/v1/{path}", json=body, headers=headers)

    async def post(self, path: str, body: object) -> Body:
        response = await self.send(path, body)
        assert response.status_code == 200, response.text
        answer: Body = response.json()
        return answer

    async def refused(self, path: str, body: object, status: int = 400) -> str:
        """Return the sentence of a refusal."""
        response = await self.send(path, body)
        assert response.status_code == status, (response.status_code, response.text)
        detail = response.json()["detail"]
        assert isinstance(detail, str)
        return detail

    async def get(self, path: str) -> Body:
        response = await self.http.get(f"/api/v1/{path}")
        assert response.status_code == 200, response.text
        answer: Body = response.json()
        return answer

    async def result(self, future: Body) -> Body:
        """Poll until a future has ended."""
        while True:
            answer = await self.post("retrieve_future", {"request_id": future["request_id"]})
            if answer.get("type") != "try_again":
                return answer

    async def ok(self, path: str, body: object) -> Body:
        """Send, wait, and expect success."""
        answer = await self.result(await self.post(path, body))
        assert "error" not in answer, answer
        return answer

    async def failure(self, path: str, body: object) -> Body:
        """Send, wait, and expect the failure that all clients can read; return its error."""
        answer = await self.result(await self.post(path, body))
        assert answer["status"] == "failed", answer
        assert answer["category"] == answer["error"]["category"]
        error: Body = answer["error"]
        return error

    async def until(self, key: str, count: int) -> None:
        """Wait until health counts so many."""
        async with asyncio.timeout(20):
            while (await self.get("healthz"))[key] != count:  # noqa: ASYNC110 - the wire has no event for it
                await asyncio.sleep(0.002)  # a loop that spins would keep the compute thread from its turn

    async def until_ended(self, session_id: str) -> None:
        """Wait until the server takes the session for ended."""
        async with asyncio.timeout(20):
            while (await self.send("session_heartbeat", {"session_id": session_id})).status_code != 410:  # noqa: ASYNC110
                await asyncio.sleep(0.002)  # the server's tasks live in this loop, and want their turn

    async def begin(self) -> str:
        answer = await self.post("create_session", {"tags": [], "user_metadata": {}, "sdk_version": "0.1"})
        self.session_id = answer["session_id"]
        return self.session_id

    async def model(self, seed: int | None = 7, **lora: Any) -> "Model":
        """Make a model of this session."""
        if not self.session_id:
            await self.begin()
        number, self._models = self._models, self._models + 1
        answer = await self.ok("create_model", create_model(self.session_id, number, seed=seed, **lora))
        return Model(self, answer["model_id"])


class Model:
    """One model and its numbers."""

    def __init__(self, client: Client, model_id: str, seq_id: int = 0) -> None:
        self.client = client
        self.model_id = model_id
        self.seq_id = seq_id

    def body(self, **fields: Any) -> Body:
        self.seq_id += 1
        return {"model_id": self.model_id, "seq_id": self.seq_id, **fields}

    def pass_body(self, data: Sequence[Body], loss_fn: str = "cross_entropy", config: Body | None = None) -> Body:
        return self.body(forward_backward_input=pass_input(data, loss_fn, config))

    async def forward_backward(self, data: Sequence[Body], loss_fn: str = "cross_entropy", **config: float) -> Body:
        return await self.client.ok("forward_backward", self.pass_body(data, loss_fn, config))

    async def forward(self, data: Sequence[Body]) -> Body:
        return await self.client.ok("forward", self.body(forward_input=pass_input(data)))

    async def step(self, **adam: float) -> Body:
        return await self.client.ok("optim_step", self.body(adam_params={"learning_rate": 1e-2, **adam}))

    async def save(self, name: str, **fields: Any) -> str:
        answer = await self.client.ok("save_weights", self.body(path=name, **fields))
        path: str = answer["path"]
        return path

    async def load(self, path: str, *, optimizer: bool) -> Body:
        return await self.client.ok("load_weights", self.body(path=path, optimizer=optimizer))

    async def train(self, data: Sequence[Body], steps: int) -> None:
        for _ in range(steps):
            await self.forward_backward(data)
            await self.step()


def create_model(session_id: str, number: int = 0, base_model: str = BUILTIN_MODEL, **lora: Any) -> Body:
    config = {key: value for key, value in {"rank": 4, **lora}.items() if value is not None}
    return {"session_id": session_id, "model_seq_id": number, "base_model": base_model, "lora_config": config}


def pass_input(data: Sequence[Body], loss_fn: str = "cross_entropy", config: Body | None = None) -> Body:
    return {"data": list(data), "loss_fn": loss_fn, **({"loss_fn_config": config} if config else {})}


def datum(text: str = "the quick brown fox", **inputs: list[float]) -> Body:
    """Return a datum that predicts each next byte, all with weight 1 unless ``inputs`` are given."""
    tokens = list(text.encode())
    floats = inputs or {"weights": [1.0] * (len(tokens) - 1)}
    return {
        "model_input": {"chunks": [{"tokens": tokens[:-1], "type": "encoded_text"}]},
        "loss_fn_inputs": {
            "target_tokens": {"data": tokens[1:], "dtype": "int64"},
            **{name: {"data": values, "dtype": "float32"} for name, values in floats.items()},
        },
    }


@contextmanager
def logged() -> Generator[list[Any]]:
    """Give what is logged while the block runs."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(0))
    try:
        with capture_logs() as log:
            yield cast("list[Any]", log)
    finally:
        structlog.configure(**before)


@contextmanager
def paused(engine: Engine) -> Generator[None]:
    """Hold the compute thread while the block runs."""
    entered, gate = threading.Event(), threading.Event()

    def work(_compute: object) -> None:
        entered.set()
        assert gate.wait(20)

    engine.executor.put(Job("", work, "pause", "pause"))
    assert entered.wait(20)
    try:
        yield
    finally:
        gate.set()


TEXTS = ("the quick brown fox", "jumps over", "the lazy dog, and then again", "x = 1", "lorem ipsum dolor sit amet")
DATA = [datum(text) for text in TEXTS]


@asynccontextmanager
async def serving(
    root: Path, clock: Clock | None = None, wall: Clock | None = None, **settings: Any
) -> AsyncGenerator[Client]:
    """Serve an engine within this event loop; with ``clock`` time stands still until the test moves it."""
    defaults: dict[str, Any] = {"long_poll": 20.0, "sweep_interval": 3600.0 if clock else 0.02}
    config = EngineConfig(root, **(defaults | settings))
    engine = Engine(config)
    if clock is not None:
        engine = Engine(config, clock=clock, wall=wall or clock)
    served = app(config, engine)
    transport = httpx.ASGITransport(cast("Any", served))  # Litestar's ASGI types are stricter than httpx's
    lifespan = served.lifespan()
    await lifespan.__aenter__()
    try:
        async with httpx.AsyncClient(transport=transport, base_url=ADDRESS) as http:
            yield Client(http, engine)
    finally:
        await lifespan.__aexit__(None, None, None)  # a failed test's error does not go through it, which would wrap it
