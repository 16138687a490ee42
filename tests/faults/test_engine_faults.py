"""Short random programs on the real engine with its own faults: the same laws, as far as they are seen from outside."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support_clients import Faults, base_model, create, data, eventually, nothing_left, service
from support_engine_url import engine_url
from tinkex.actors import TrainingClientRef
from tinkex.actors._genserver._client import Continue
from tinkex.engine import FaultPlan
from tinkex.protocol import AdamParams, Err, messages

RATES = {"delay": 0.01, "error": 0.004, "rate_limit": 0.02, "lost_reply": 0.1, "slow_body": 0.1, "capacity_pause": 0.1}
VERBS = ("train", "train", "train", "save", "restore", "load", "fail", "crash", "cancel", "limit")


@dataclass
class Seen:
    """What a program saw: the losses, in order, and how its calls ended."""

    losses: list[float] = field(default_factory=list[float])
    answers: list[str] = field(default_factory=list[str])

    def note(self, verb: str, result: Any) -> Any:
        """Return the value of an ``Ok``, None for an ``Err``."""
        self.answers.append(f"{verb}: {'Ok' if result.is_ok else result.error.kind}")
        return result.value if result.is_ok else None


class User:
    """Runs the program of a seed."""

    def __init__(self, seed: int, ref: Any) -> None:
        self.rng = random.Random(f"engine program {seed}")
        self.ref = ref
        self.seen = Seen()
        self.client: TrainingClientRef = create(ref)
        self.saves: list[str] = []

    def run(self) -> Seen:
        for number in range(self.rng.randint(3, 5)):
            getattr(self, self.rng.choice(VERBS))(number)
        self.train(0)
        return self.seen

    def train(self, _number: int) -> None:
        passed = self.client.ask(messages.ForwardBackward(data(rows=2)), block=False)
        stepped = self.client.ask(messages.OptimStep(AdamParams(learning_rate=1e-2)), block=False)
        output = self.seen.note("train", passed.get(timeout=60))
        self.seen.note("step", stepped.get(timeout=60))
        if output is not None:
            self.seen.losses.append(output.metrics["loss:sum"])

    def save(self, number: int) -> None:
        saved = self.seen.note("save", self.client.ask(messages.SaveState(f"s{number}"), timeout=60))
        if saved is not None:
            self.saves.append(saved.path)

    def restore(self, _number: int) -> None:
        """Another client from the latest save; the old one is stopped."""
        if self.saves:
            message = messages.CreateTrainingClientFromState(self.saves[-1], optimizer=True)
            client = self.seen.note("restore", self.ref.ask(message, timeout=60))
            if client is not None:
                self.client.stop()
                self.client = client

    def load(self, _number: int) -> None:
        if self.saves:
            self.seen.note("load", self.client.ask(messages.LoadState(self.saves[-1], optimizer=True), timeout=60))

    def fail(self, _number: int) -> None:
        message = messages.CreateTrainingClientFromState("tinker://no-such-run/weights/x")
        assert self.seen.note("fail", self.ref.ask(message, timeout=60)) is None

    def crash(self, _number: int) -> None:
        """A bug ends the client; the program goes on with a new one, from the latest save if there is one."""
        self.client.tell(Continue("a bug", _crash))
        self.client.join(20)
        if self.saves:
            self.restore(0)
        else:
            self.client = create(self.ref)

    def cancel(self, _number: int) -> None:
        """A cancelled pass may have run or not, so what it left is dropped with its client."""
        reply = self.client.ask(messages.Forward(data()), block=False)
        reply.cancel()
        reply.get(timeout=60)

    def limit(self, _number: int) -> None:
        self.client.ask(messages.Forward(data(), await_timeout=0.01), timeout=60)


def _crash() -> None:
    raise RuntimeError("a bug, on request")


def numbers_are_sound(faults: Faults) -> None:
    """No number with two bodies, no gap, in any model."""
    bodies: dict[tuple[str, int], str] = {}
    for _, body in faults.seen:
        if body is not None and "seq_id" in body:
            text = json.dumps(body, sort_keys=True)
            assert bodies.setdefault((body["model_id"], body["seq_id"]), text) == text
    for model_id in {model_id for model_id, _ in bodies}:
        numbers = sorted(seq_id for found, seq_id in bodies if found == model_id)
        assert numbers == list(range(1, len(numbers) + 1))


def run(url: str, seed: int) -> Seen:
    with service(url) as (ref, faults):
        assert base_model(ref)
        seen = User(seed, ref).run()
    numbers_are_sound(faults)
    nothing_left(url)
    return seen


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_url(tmp_path_factory.mktemp("sound")) as url:
        yield url


@pytest.mark.parametrize("seed", range(20))
def test_a_program_sees_the_losses_of_an_engine_without_faults_and_leaves_nothing(
    seed: int, sound: str, tmp_path: Path
) -> None:
    expected = run(sound, seed)
    with engine_url(tmp_path, faults=FaultPlan(RATES, seed)) as url:
        seen = run(url, seed)
    assert (seen.losses, seen.answers) == (expected.losses, expected.answers)


@pytest.mark.parametrize("seed", range(4))
def test_a_session_that_expires_is_told_to_everybody_and_leaves_nothing(seed: int, tmp_path: Path) -> None:
    with engine_url(tmp_path, faults=FaultPlan({"session_expiry": 1.0, "lost_reply": 0.1}, seed)) as url:
        with service(url, heartbeat_seconds=0.3) as (ref, faults):
            made = ref.ask(messages.CreateLoraTrainingClient(base_model(ref), rank=4))
            if isinstance(made, Err):  # a slow machine: it expired before the model was there
                assert made.error.kind == "session_lost"
                return
            client = made.value
            answers: list[Any] = []
            while not answers or answers[-1].is_ok:
                answers.append(client.ask(messages.ForwardBackward(data()), timeout=60))
            assert answers[-1].error.kind in {"session_lost", "api_status", "client_suspect"}
            eventually(lambda: client.ask(messages.Status()).unwrap().state == "session_lost")
            numbers_are_sound(faults)
        nothing_left(url)
