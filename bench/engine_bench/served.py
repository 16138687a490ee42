"""An engine in a process of its own, and a client that adds as little as it can."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from engine_bench.shapes import RANK, Shape
from tinkex.protocol import Datum, ModelInput, TensorData, wire
from tinkex.protocol.wire.protobuf import encode_pass

PROTOBUF = "application/x-protobuf"


class Engine:
    """``tinkex serve``, from its start on."""

    def __init__(self, root: Path, models: Path) -> None:
        self.begin = time.perf_counter()
        command = [sys.executable, "-m", "tinkex.cli", "serve", "--port", "0", "--root", str(root)]
        self.process = subprocess.Popen([*command, "--models", str(models)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        url = re.search(r"http://\S+", self.process.stdout.readline())
        assert url is not None
        self.url = url[0]

    def rss(self) -> int:
        """Return the resident set in bytes."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def cpu(self) -> float:
        """Return the seconds of CPU so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@contextmanager
def engine(root: Path, models: Path) -> Generator[Engine]:
    served = Engine(root, models)
    try:
        yield served
    finally:
        served.stop()


class User:
    """One session with one model over plain HTTP."""

    def __init__(self, url: str, base: str, shape: Shape, *, rank: int = RANK, key: str = "tml-bench") -> None:
        self.http = httpx.Client(base_url=f"{url}/api/v1/", headers={"x-api-key": key}, timeout=120)
        self.shape = shape
        session = self.post("create_session", {"tags": [], "user_metadata": {}, "sdk_version": "bench"})
        self.session_id: str = session["session_id"]
        self.base, self.rank, self.models = base, rank, 0
        self.model_id = ""
        self.numbers: dict[str, int] = {}
        self.data = [
            Datum(
                ModelInput.from_ints(row[:-1]),
                {"target_tokens": TensorData(row[1:], "int64"), "weights": TensorData([1.0] * shape.length, "float32")},
            )
            for row in shape.data()
        ]

    def create(self) -> str:
        body = {
            "session_id": self.session_id,
            "model_seq_id": self.models,
            "base_model": self.base,
            "lora_config": {"rank": self.rank, "seed": 1},
        }
        self.models += 1
        self.model_id = self.ask("create_model", body)["model_id"]
        return self.model_id

    def post(self, place: str, body: Any) -> Any:
        response = self.http.post(place, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def ask(self, place: str, body: Any) -> Any:
        return self.wait(self.post(place, body)["request_id"])

    def wait(self, request_id: str, *, accept: str = "application/json") -> Any:
        while True:
            response = self.http.post("retrieve_future", json={"request_id": request_id}, headers={"accept": accept})
            if response.headers["content-type"] == PROTOBUF:
                return response.content
            answer = response.json()
            assert "error" not in answer, answer
            if answer.get("type") != "try_again":
                return answer

    def number(self) -> int:
        self.numbers[self.model_id] = self.numbers.get(self.model_id, 0) + 1
        return self.numbers[self.model_id]

    def forward_backward(self) -> bytes:
        """Send all rows, as protobuf; wait for the result, as protobuf."""
        work = wire.ForwardBackwardInput(self.data, "cross_entropy")
        body = encode_pass(wire.ForwardBackwardRequest(work, self.model_id, self.number()))
        response = self.http.post("forward_backward", content=body, headers={"content-type": PROTOBUF})
        assert response.status_code == 200, response.text
        result: bytes = self.wait(response.json()["request_id"], accept=PROTOBUF)
        return result

    def optim_step(self) -> None:
        adam = {"learning_rate": 1e-3}
        self.ask("optim_step", {"model_id": self.model_id, "seq_id": self.number(), "adam_params": adam})

    def save(self, name: str) -> str:
        body = {"model_id": self.model_id, "seq_id": self.number(), "path": name}
        path: str = self.ask("save_weights", body)["path"]
        return path

    def restore(self, path: str) -> str:
        body = {"session_id": self.session_id, "model_seq_id": self.models, "path": path, "optimizer": True}
        self.models += 1
        model_id: str = self.ask("load_weights", body)["model_id"]
        return model_id

    def sample(self, sampler_id: str, number: int, prompt: list[int], tokens: int) -> None:
        body: dict[str, Any] = {
            "sampling_session_id": sampler_id,
            "seq_id": number,
            "prompt": {"chunks": [{"tokens": prompt, "type": "encoded_text"}]},
            "sampling_params": {"max_tokens": tokens, "seed": 1, "stop": []},
        }
        self.ask("asample", body)
