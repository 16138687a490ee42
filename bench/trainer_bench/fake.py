"""A server that computes nothing and takes exactly as long as it is told: one lane, requests in their order.

It stands in the place of the network, on the client's own io loop. A request begins when it has arrived and the one
before it has ended; so how long a run takes is plain arithmetic, unless the client lets the lane stand idle.
"""

import asyncio
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httpx
import msgspec

URL: Final = "http://127.0.0.1:1"
RESULTS: Final = 256
"""Results that are kept; none is asked for so late."""

_JSON: Final = {"content-type": "application/json"}


class Body(msgspec.Struct):
    """What the server reads of a request; data are passed over."""

    model_id: str = ""
    seq_id: int = 0
    session_id: str = ""
    model_seq_id: int = 0
    request_id: str = ""
    path: str = ""


@dataclass(frozen=True)
class Service:
    """How long the server takes, in seconds."""

    of_pass: float = 0.0
    of_step: float = 0.0
    of_save: float = 0.0

    @property
    def of_update(self) -> float:
        """One pass and one optimizer step."""
        return self.of_pass + self.of_step


@dataclass
class Marks:
    """When each update's step ended in the lane, and the CPU seconds of the process when it arrived."""

    ends: "array[float]" = field(default_factory=lambda: array("d"))
    cpu: "array[float]" = field(default_factory=lambda: array("d"))

    def note(self, _update: int, end: float) -> None:
        self.ends.append(end)
        self.cpu.append(time.process_time())

    def wall(self, first: int, last: int) -> float:
        """Seconds from the end of step ``first`` to that of ``last``, counted from 1."""
        return self.ends[last - 1] - self.ends[first - 1]

    def busy(self, first: int, last: int) -> float:
        """CPU seconds of all threads from the arrival of step ``first`` to that of ``last``."""
        return self.cpu[last - 1] - self.cpu[first - 1]


class FakeServer(httpx.AsyncBaseTransport):
    """Answers what a trainer asks; ``stepped`` is told of each optimizer step and when it ends.

    Args:
        service: how long it takes.
        rows: of each pass, ``tokens`` long each, which its results have.
        tokens: of each row.
        stepped: called on the io loop with the number of the step and the monotonic seconds at which it ends.
    """

    def __init__(self, service: Service, rows: int, tokens: int, stepped: Callable[[int, float], None]) -> None:
        self.steps = 0
        self.checkpoints: dict[str, None] = {}
        self.deleted = 0
        self.disorder: list[str] = []
        """What came out of its order."""
        self._service = service
        self._stepped = stepped
        self._free_at = 0.0
        self._next: dict[str, int] = {}
        self._made = 0
        self._results: dict[str, tuple[float, bytes]] = {}
        self.loss = 0.5 * tokens * rows
        """What each pass is answered."""
        output = {"logprobs": {"data": [-0.5] * tokens, "shape": [tokens], "dtype": "float32"}}
        told = {"loss_fn_output_type": "t", "loss_fn_outputs": [output] * rows, "metrics": {"loss:sum": self.loss}}
        self._pass = msgspec.json.encode(told)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        content = await request.aread()
        body = msgspec.json.decode(content, type=Body) if content else Body()
        if path == "/retrieve_future":
            end, result = self._results[body.request_id]
            left = end - time.monotonic()
            if left > 0.0:
                await asyncio.sleep(left)
            return httpx.Response(200, content=result, headers=_JSON)
        answer = self._numbered(path, body) if body.seq_id else self._other(request.method, path, body)
        return httpx.Response(200, content=answer, headers=_JSON)

    def _numbered(self, path: str, body: Body) -> bytes:
        expected = self._next.get(body.model_id, 1)
        if body.seq_id != expected:
            self.disorder.append(f"{path} {body.seq_id} came where {expected} was due")
        self._next[body.model_id] = body.seq_id + 1
        now = time.monotonic()
        begin = max(now, self._free_at)
        if path == "/forward_backward":
            self._free_at = begin + self._service.of_pass
            return self._receipt(self._pass)
        if path == "/optim_step":
            self._free_at = begin + self._service.of_step
            self.steps += 1
            self._stepped(self.steps, self._free_at)
            return self._receipt(b'{"metrics":{"grad_norm":1.5}}')
        if path == "/save_weights":
            self._free_at = begin + self._service.of_save
            saved = f"tinker://{body.model_id}/weights/{body.path}"
            self.checkpoints[saved] = None
            return self._receipt(msgspec.json.encode({"path": saved}))
        self.disorder.append(f"{path} is none of a trainer's")
        return self._receipt(b"{}")

    def _receipt(self, result: bytes) -> bytes:
        self._made += 1
        request_id = f"f{self._made}"
        self._results[request_id] = self._free_at, result
        if len(self._results) > RESULTS:
            del self._results[next(iter(self._results))]
        return b'{"request_id":"' + request_id.encode() + b'"}'

    def _other(self, method: str, path: str, body: Body) -> bytes:
        if path == "/get_server_capabilities":
            return b'{"supported_models":[{"model_name":"m"}]}'
        if path == "/create_session":
            self._made += 1
            return b'{"session_id":"s' + str(self._made).encode() + b'"}'
        if path == "/create_model":
            return self._receipt(msgspec.json.encode({"model_id": f"{body.session_id}:train:{body.model_seq_id}"}))
        if path == "/unload_model":
            return self._receipt(msgspec.json.encode({"model_id": body.model_id}))
        if path == "/weights_info":
            return b'{"base_model":"m","is_lora":true,"lora_rank":4}'
        parts = path.split("/")
        if method == "DELETE":
            self.deleted += 1
            self.checkpoints.pop(f"tinker://{parts[2]}/{'/'.join(parts[4:])}", None)
        elif parts[1] == "training_runs":
            return self._run(parts[2], listed=parts[-1] == "checkpoints")
        return b"{}"

    def _run(self, run: str, *, listed: bool) -> bytes:
        if listed:
            return msgspec.json.encode({"checkpoints": [_entry(path) for path in self.checkpoints]})
        about = {"training_run_id": run, "base_model": "m", "model_owner": "me", "is_lora": True}
        return msgspec.json.encode({**about, "last_request_time": "2027-01-15T08:00:00Z", "corrupted": False})


def _entry(path: str) -> dict[str, str]:
    name = path.split("/", 3)[3]
    time_of = "2027-01-15T08:00:00Z"
    return {"checkpoint_id": name, "checkpoint_type": "training", "time": time_of, "tinker_path": path}
