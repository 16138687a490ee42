"""A service client that recovers, over a scripted server, in a seeded world."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pykka

from support_clients import data
from support_runs import Rule, Runs
from tinkex.actors import ServiceClient, ServiceClientRef, TrainingClientRef
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import AdamParams, RecoveryPolicy, messages

SEEDS = range(8)
POLICY: dict[str, Any] = {"enabled": True, "attempt_timeout_seconds": 100.0}


class World:
    """A service client over a scripted server, in a world whose time is driven by the test."""

    def __init__(self, seconds: Callable[[float], None], server: Runs, policy: RecoveryPolicy) -> None:
        self.run_for = seconds
        self.server = server
        self.recovered: list[Any] = []
        self.failed: list[Any] = []
        self.service: ServiceClientRef = ServiceClient.start(
            base_url="http://127.0.0.1:1",
            recovery=policy,
            on_recovery=self.recovered.append,
            on_failure=self.failed.append,
        )

    def client(self, *names: str) -> TrainingClientRef:
        """Return a client that has saved checkpoints of these names, in this order, and trained on."""
        made = self.service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        for name in names:
            train(made)
            made.ask(messages.SaveState(name)).unwrap()
        train(made)
        return made

    def operations(self) -> list[tuple[str, str | None]]:
        status = self.service.ask(messages.Status()).unwrap()
        return [(operation.state, operation.reason) for operation in status.operations if operation.name == "recovery"]


def train(client: TrainingClientRef) -> None:
    client.ask(messages.ForwardBackward(data())).unwrap()
    client.ask(messages.OptimStep(AdamParams())).unwrap()


def state(client: TrainingClientRef) -> str:
    return client.ask(messages.Status()).unwrap().state


def model_id(client: TrainingClientRef) -> str:
    return client.ask(messages.Status()).unwrap().model_id or ""


@contextmanager
def world(seed: int = 0, rule: Rule | None = None, load_seconds: float = 0.0, **policy: Any) -> Generator[World]:
    """Give a world; at its end no actor, session or model may be left."""
    server = Runs(rule, load_seconds)
    with SeededScheduler(seed, http_transport=server) as scheduler:
        made = World(scheduler.run_for, server, RecoveryPolicy(**{**POLICY, **policy}))
        yield made
        made.service.stop()
        scheduler.run_for(60.0)
        assert pykka.ActorRegistry.get_all() == []
        assert (server.sessions, server.models, server.loading) == (set(), set(), 0)
