"""Many clients on a server that fails, for a while: threads, files and memory must not grow. ``make soak MINUTES=5``.

64 training clients train, save, load in place, are thrown away and made again from checkpoints, over an engine in a
process of its own that fails at 5 % of all occasions (lost replies, 503 and 429 bursts, delays, capacity pauses, slow
bodies). Every few seconds this process is measured; the slopes are those of straight lines through the second half.
"""

import argparse
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import psutil
import pykka
import structlog

from tinkex.actors import ServiceClient, TrainingClientRef
from tinkex.protocol import AdamParams, Datum, Err, ModelInput, Result, messages

FAULTS = ("lost_reply", "error", "rate_limit", "delay", "capacity_pause", "slow_body")
SAMPLE_SECONDS = 2.0
LATE_SECONDS = 300.0
TOKENS = list(b"to be or not to be")
DATA = [Datum(ModelInput.from_ints(TOKENS[:-1]), {"target_tokens": TOKENS[1:], "weights": [1.0] * (len(TOKENS) - 1)})]


class Clients:
    """A number of clients, each driven by a thread of its own until ``over`` is set."""

    def __init__(self, service: Any, count: int, seed: int) -> None:
        self.over = threading.Event()
        self.answers: Counter[str] = Counter()
        self.hung: list[str] = []
        self._service = service
        self._model = service.ask(messages.GetServerCapabilities()).unwrap().supported_models[0].model_name
        self._threads = [threading.Thread(target=self._live, args=(seed + n,), daemon=True) for n in range(count)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(LATE_SECONDS)
            if thread.is_alive():
                self.hung.append(thread.name)

    def _live(self, seed: int) -> None:
        source = random.Random(seed)
        path: str | None = None
        while not self.over.is_set():
            client = self._create(path)
            for step in range(source.randrange(2, 8)):
                if client is None or self.over.is_set():
                    break
                path = self._train(client, source, f"s{step}", path)
            if client is not None:
                client.kill() if source.random() < 0.3 else client.stop()

    def _create(self, path: str | None) -> TrainingClientRef | None:
        message: Any = messages.CreateLoraTrainingClient(self._model, rank=4)
        if path is not None:
            message = messages.CreateTrainingClientFromState(path, optimizer=True)
        made = self._note("create", self._service.ask(message))
        return None if isinstance(made, Err) else made.value

    def _train(self, client: TrainingClientRef, source: random.Random, name: str, path: str | None) -> str | None:
        passed = client.ask(messages.ForwardBackward(DATA), block=False)
        stepped = client.ask(messages.OptimStep(AdamParams(learning_rate=1e-3)), block=False)
        saved = client.ask(messages.SaveState(name, overwrite=True), block=False)
        if source.random() < 0.1:
            stepped.cancel()
        self._note("forward_backward", passed.get(timeout=LATE_SECONDS))
        self._note("optim_step", stepped.get(timeout=LATE_SECONDS))
        kept = self._note("save_state", saved.get(timeout=LATE_SECONDS))
        newest = path if isinstance(kept, Err) else kept.value.path
        if newest is not None and (isinstance(kept, Err) or source.random() < 0.2):
            self._note("load_state", client.ask(messages.LoadState(newest, optimizer=True)))
        return newest

    def _note(self, name: str, result: Result[Any]) -> Result[Any]:
        self.answers[f"{name} {result.error.kind if isinstance(result, Err) else 'ok'}"] += 1
        return result


def serve(root: Path, rate: float, seed: int) -> tuple[subprocess.Popen[str], str]:
    """Start an engine that fails, and return its process and address."""
    faults = [word for kind in FAULTS for word in ("--fault", f"{kind}={rate}")]
    command = [sys.executable, "-m", "tinkex.cli", "serve", "--port", "0", "--root", str(root), *faults]
    process = subprocess.Popen(
        [*command, "--fault-seed", str(seed)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("tinkex engine: "):
            return process, line.removeprefix("tinkex engine: ").strip()
    raise SystemExit("the engine did not start")


def measure(me: psutil.Process) -> tuple[int, int, float]:
    """Return threads, open files and resident MB of this process."""
    return me.num_threads(), me.num_fds(), me.memory_info().rss / 1e6


def slope(times: list[float], values: list[float]) -> float:
    """Return the slope of the straight line through the points, in units a minute."""
    middle, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((t - middle) ** 2 for t in times)
    return 60.0 * sum((t - middle) * (v - mean) for t, v in zip(times, values, strict=True)) / (spread or 1.0)


def report(samples: list[tuple[float, int, int, float]]) -> None:
    """Print the slopes of the second half."""
    half = samples[len(samples) // 2 :]
    times = [sample[0] for sample in half]
    for place, name in enumerate(("threads", "open files", "resident MB"), start=1):
        values = [float(sample[place]) for sample in half]
        print(f"{name:12} {values[0]:8.1f} to {values[-1]:8.1f}, slope {slope(times, values):+8.2f} a minute")


def left_over(url: str, deadline: float) -> dict[str, int]:
    """Return what the server still holds, once it is nothing or the deadline has passed."""
    with httpx.Client(trust_env=False) as http:
        while True:
            counts = http.get(f"{url}/api/v1/healthz").json()
            left = {name: counts[name] for name in ("models", "sessions", "polls")}
            if not any(left.values()) or time.monotonic() > deadline:
                return left
            time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    me = psutil.Process(os.getpid())
    with tempfile.TemporaryDirectory() as folder:
        engine, url = serve(Path(folder), given.rate, given.seed)
        try:
            quiet = measure(me)
            service = ServiceClient.start(base_url=url)
            clients = Clients(service, given.clients, given.seed)
            begun, samples = time.monotonic(), list[tuple[float, int, int, float]]()
            clients.start()
            while time.monotonic() - begun < given.minutes * 60.0:
                time.sleep(SAMPLE_SECONDS)
                samples.append((time.monotonic() - begun, *measure(me)))
            clients.join()
            leaks = service.ask(messages.Leaks()).unwrap().leases
            service.stop()
            left = left_over(url, time.monotonic() + 30.0)
            after = measure(me)
        finally:
            engine.terminate()
            engine.wait()
    print(f"{given.clients} clients, {given.minutes:g} minutes, faults at {given.rate:.0%}, seed {given.seed}")
    for name, count in sorted(clients.answers.items()):
        print(f"  {count:7} {name}")
    report(samples)
    print(f"before and after: threads {quiet[0]} and {after[0]}, open files {quiet[1]} and {after[1]}")
    actors = len(pykka.ActorRegistry.get_all())
    print(
        f"left: {left} on the server, {len(leaks)} in Leaks(), {actors} actors, {len(clients.hung)} callers unanswered"
    )
    return 1 if any(left.values()) or actors or clients.hung else 0


if __name__ == "__main__":
    sys.exit(main())
