"""Recovery in a seeded world: in every interleaving a lost run goes on behind the same reference, or is given up."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pykka
import pytest

from support_clients import data
from support_genserver import unconfigured_logs
from support_runs import Rule, Runs
from tinkex.actors import ServiceClient, ServiceClientRef, TrainingClientRef
from tinkex.actors._recovery._recoverer import Recoverer
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import AdamParams, Err, RecoveryPolicy, messages

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


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lost_session_is_replaced_behind_the_same_reference_from_the_newest_checkpoint(seed: int) -> None:
    with world(seed) as here:
        client = here.client("a", "b")
        lost = model_id(client)
        here.server.lose_sessions()
        here.run_for(60.0)
        assert here.server.loads == [(model_id(client), f"tinker://{lost}/weights/b", True)]
        train(client)
        assert here.server.steps[-1] == (model_id(client), "/optim_step")
        (told,) = here.recovered
        assert (told.actor_urn, told.signal, told.attempts) == (client.actor_urn, "session_lost", 1)
        assert (told.lost_model_id, told.model_id) == (lost, model_id(client))
        assert here.failed == []
        assert here.operations() == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_recovered_run_is_watched_on_and_recovered_again(seed: int) -> None:
    with world(seed) as here:
        client = here.client("a")
        first = model_id(client)
        for _ in range(2):
            here.server.lose_sessions()
            here.run_for(60.0)
        assert [path for _, path, _ in here.server.loads] == [f"tinker://{first}/weights/a"] * 2, "the only one"
        train(client)
        second = client.ask(messages.SaveState("c")).unwrap().path
        here.server.corrupted.add(model_id(client))
        here.run_for(60.0)
        assert here.server.loads[-1][1] == second
        assert [told.signal for told in here.recovered] == ["session_lost", "session_lost", "corrupted"]
        train(client)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_run_that_the_server_calls_corrupted_is_rebuilt(seed: int) -> None:
    with world(seed, poll_seconds=7.0) as here:
        clients = [here.client("a") for _ in range(3)]
        healthy = model_id(clients[0])
        here.server.corrupted.update(model_id(client) for client in clients[1:])
        here.run_for(30.0)
        assert model_id(clients[0]) == healthy
        assert len(here.server.loads) == 2
        assert {told.signal for told in here.recovered} == {"corrupted"}
        for client in clients:
            train(client)
        asked = len(here.server.polled)
        here.run_for(70.0)
        assert len(here.server.polled) == asked + 30, "each of them, every poll_seconds"


def test_a_poll_that_hangs_or_fails_keeps_the_run_and_delays_no_other() -> None:
    def rule(path: str, _body: Any, count: int) -> httpx.Response | str | None:
        if path.startswith("/training_runs/") and "checkpoints" not in path and count < 3:
            return "hang" if path.endswith(":0") else httpx.Response(403, json={"detail": "no"})
        return None

    with world(rule=rule, poll_seconds=10.0) as here:
        clients = [here.client("a") for _ in range(2)]
        here.server.corrupted.update(model_id(client) for client in clients)
        here.run_for(25.0)
        assert here.server.loads == []
        here.run_for(40.0)
        assert len(here.server.loads) == 2
        for client in clients:
            train(client)


def test_a_suspect_client_is_rebuilt_only_where_the_policy_says_so() -> None:
    def rule(path: str, _body: Any, _count: int) -> str | None:
        return "server" if path == "/forward_backward" and failing else None

    for wanted in (False, True):
        failing = False
        with world(rule=rule, recover_suspect=wanted) as here:
            client = here.client("a")
            failing = True
            assert isinstance(client.ask(messages.ForwardBackward(data())), Err)
            failing = False
            here.run_for(60.0)
            assert state(client) == ("ready" if wanted else "suspect")
            assert [told.signal for told in here.recovered] == (["suspect"] if wanted else [])


def test_a_policy_that_is_off_rebuilds_nothing() -> None:
    with world(enabled=False, poll_seconds=5.0) as here:
        lost, corrupted = here.client("a"), here.client("a")
        here.server.corrupted.add(model_id(corrupted))
        here.run_for(60.0)
        here.server.lose_sessions()
        here.run_for(60.0)
        assert (state(lost), state(corrupted)) == ("session_lost", "session_lost")
        assert (here.server.loads, here.recovered, here.failed) == ([], [], [])
        assert here.operations() == []


# Failures of attempts


@pytest.mark.one_lane  # only a transport of one's own hangs for longer than a read may take
@pytest.mark.parametrize("seed", SEEDS)
def test_a_load_that_hangs_ends_with_its_attempt_and_the_next_one_succeeds(seed: int) -> None:
    def rule(path: str, _body: Any, count: int) -> str | None:
        return "hang" if path == "/load_weights" and count == 1 else None

    with world(seed, rule) as here:
        client = here.client("a")
        here.server.lose_sessions()
        here.run_for(30.0)
        assert state(client) == "loading"
        ((at, reason),) = here.operations()
        assert at == "loading"
        assert reason is not None
        assert "session_lost, attempt 1 of 3, tinker://" in reason
        here.run_for(150.0)
        assert here.recovered[0].attempts == 2
        assert (here.server.sessions, here.server.models) == (
            {model_id(client).split(":", maxsplit=1)[0]},
            {model_id(client)},
        ), "the model of the first attempt was given back"


def test_a_hanging_question_for_checkpoints_ends_with_its_attempt() -> None:
    def rule(path: str, _body: Any, count: int) -> str | None:
        return "hang" if path.endswith("/checkpoints") and count == 1 else None

    with world(rule=rule) as here:
        client = here.client("a")
        here.server.lose_sessions()
        here.run_for(30.0)
        assert [at for at, _ in here.operations()] == ["choosing"]
        here.run_for(150.0)
        assert here.recovered[0].attempts == 2
        train(client)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_asking_again_cannot_mend_is_not_asked_again(seed: int) -> None:
    def rule(path: str, _body: Any, _count: int) -> str | None:
        return "user" if path == "/load_weights" else None

    with world(seed, rule) as here:
        client = here.client("a")
        here.server.lose_sessions()
        here.run_for(3600.0)
        assert len(here.server.loads) == 1
        (told,) = here.failed
        assert (told.attempts, told.error.kind, told.signal) == (1, "request_failed", "session_lost")
        assert (state(client), here.recovered, here.operations()) == ("session_lost", [], [])


def test_a_failure_of_the_servers_own_is_tried_again_after_a_wait_up_to_the_limit() -> None:
    def rule(path: str, _body: Any, _count: int) -> httpx.Response | None:
        return httpx.Response(500, json={"detail": "x"}) if path == "/weights_info" and broken else None

    broken = True
    with world(rule=rule, attempt_timeout_seconds=20.0, backoff_seconds=40.0, max_attempts=2) as here:
        client = here.client("a")
        here.server.lose_sessions()
        here.run_for(31.0)
        assert [at for at, _ in here.operations()] == ["backing_off"]
        here.run_for(100.0)
        assert here.failed[0].attempts == 2
        broken = False
        here.run_for(3600.0)
        assert (state(client), here.server.loads) == ("session_lost", []), "given up is given up"
        path = here.server.checkpoints[here.failed[0].lost_model_id][0]
        assert client.ask(messages.LoadState(path, optimizer=True)).is_ok
        here.server.lose_sessions()
        here.run_for(60.0)
        assert len(here.recovered) == 1, "after the user's own load it is watched again"


@pytest.mark.parametrize(("fault", "loads"), [("user", 1), ("server", 2)])
def test_a_checkpoint_that_is_missing_or_broken_gives_way_to_the_next_older_one(fault: str, loads: int) -> None:
    def rule(path: str, body: Any, _count: int) -> str | None:
        return fault if path == "/load_weights" and body["path"].endswith("c") else None

    with world(rule=rule) as here:
        client = here.client("a", "b", "c")
        here.server.lose_sessions()
        here.run_for(120.0)
        assert [path[-1] for _, path, _ in here.server.loads] == ["c"] * loads + ["b"]
        assert here.recovered[0].path.endswith("b")
        train(client)


def test_a_path_of_the_policy_is_the_only_one_and_without_the_optimizer_if_so_wanted() -> None:
    with world() as other:
        path = other.client("a").ask(messages.SaveState("fixed")).unwrap().path
        kept = other.server.checkpoints
    with world(checkpoint=path, restore_optimizer=False) as here:
        here.server.checkpoints.update(kept)
        client = here.client("newer")
        here.server.lose_sessions()
        here.run_for(60.0)
        assert here.server.loads == [(model_id(client), path, False)]
        assert here.recovered[0].optimizer is False


def test_a_run_without_a_checkpoint_is_given_up_and_says_why() -> None:
    with world() as here:
        client = here.client()
        here.server.lose_sessions()
        here.run_for(60.0)
        assert "no training checkpoint" in here.failed[0].error.message
        assert state(client) == "session_lost"


def test_where_there_is_no_room_for_two_models_the_lost_one_is_given_back_first() -> None:
    def rule(path: str, _body: Any, _count: int) -> httpx.Response | None:
        full = path == "/create_model" and len(here.server.models) > 0
        return httpx.Response(429, json={"detail": "no room"}) if full else None

    with world(rule=rule, attempt_timeout_seconds=20.0) as here:
        client = here.client("a")
        lost = model_id(client)
        here.server.corrupted.add(lost)
        here.run_for(120.0)
        assert here.recovered[0].attempts == 2
        assert here.server.models == {model_id(client)} != {lost}
        train(client)


# What is logged


def names(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return recovery's events in order."""
    texts = [record.getMessage() for record in caplog.records]
    return [text.split("'")[1].removeprefix("recovery ") for text in texts if text.startswith("event='recovery ")]


def test_every_turn_of_a_recovery_is_logged_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    def rule(path: str, body: Any, count: int) -> httpx.Response | str | None:
        if path == "/training_runs/s1:train:0" and count == 1:
            return httpx.Response(403, json={"detail": "no"})
        return "user" if path == "/load_weights" and body["path"].endswith("b") else None

    with unconfigured_logs(), caplog.at_level(logging.INFO, logger="tinkex"), world(rule=rule) as here:
        client = here.client("a", "b")
        here.run_for(35.0)
        assert names(caplog) == ["poll_error"]
        caplog.clear()
        here.server.lose_sessions()
        here.run_for(60.0)
        turns = ["detected", "started", "checkpoint_selected", "failed", "checkpoint_selected"]
        assert names(caplog) == [*turns, "client_created", "completed"]
        caplog.clear()
        here.server.checkpoints.clear()
        here.server.lose_sessions()
        here.run_for(60.0)
        assert names(caplog) == ["detected", "started", "checkpoint_selected", "failed", "exhausted"]
        assert state(client) == "session_lost"


def test_a_policy_that_is_off_logs_each_loss_once(caplog: pytest.LogCaptureFixture) -> None:
    with unconfigured_logs(), caplog.at_level(logging.INFO, logger="tinkex"), world(enabled=False) as here:
        here.server.corrupted.add(model_id(here.client("a")))
        here.run_for(300.0)
        assert names(caplog) == ["detected"]


# Many at once, and the end


@pytest.mark.parametrize("seed", SEEDS)
def test_no_more_runs_recover_at_once_than_the_policy_allows_and_the_first_come_first(seed: int) -> None:
    with world(seed, load_seconds=10.0, max_concurrent=2) as here:
        clients = [here.client("a") for _ in range(5)]
        lost = [model_id(client) for client in clients]
        here.server.lose_sessions()
        here.run_for(19.0)
        states = sorted(at for at, _ in here.operations())
        assert states in (["loading", "loading", "waiting", "waiting", "waiting"], ["loading", "loading", "waiting"])
        here.run_for(60.0)
        assert here.server.most_loading == 2
        assert len(here.server.loads) == 5
        assert sorted(told.lost_model_id for told in here.recovered) == sorted(lost)
        for client in clients:
            train(client)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stop_in_the_middle_of_a_recovery_leaves_nothing(seed: int) -> None:
    def rule(path: str, _body: Any, _count: int) -> str | None:
        return "hang" if path == "/load_weights" else None

    with world(seed, rule, max_concurrent=2) as here:
        for _ in range(3):
            here.client("a")
        here.server.lose_sessions()
        here.run_for(30.0)
        assert sorted(at for at, _ in here.operations()) == ["loading", "loading", "waiting"]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_load_of_the_users_own_takes_the_place_of_the_recovery(seed: int) -> None:
    def rule(path: str, _body: Any, _count: int) -> str | None:
        return "hang" if path.endswith("/checkpoints") else None

    with world(seed, rule) as here:
        client = here.client("a")
        path = here.server.checkpoints[model_id(client)][0]
        here.server.lose_sessions()
        here.run_for(30.0)
        assert [at for at, _ in here.operations()] == ["choosing"]
        assert client.ask(messages.LoadState(path)).is_ok
        here.run_for(300.0)
        assert len(here.server.loads) == 1
        assert (here.operations(), here.recovered, here.failed) == ([], [], [])
        train(client)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_recoverer_that_ends_is_replaced_and_its_attempt_is_withdrawn(seed: int) -> None:
    def rule(path: str, _body: Any, count: int) -> str | None:
        return "hang" if path == "/load_weights" and count == 1 else None

    with world(seed, rule) as here:
        client = here.client("a")
        here.server.lose_sessions()
        here.run_for(30.0)
        (recoverer,) = pykka.ActorRegistry.get_by_class(Recoverer)
        recoverer.kill()  # type: ignore[attr-defined]
        here.run_for(60.0)
        assert state(client) == "ready"
        assert len(here.server.loads) == 2
        assert here.server.models == {model_id(client)}


def test_a_client_that_ends_is_forgotten() -> None:
    with world(poll_seconds=5.0) as here:
        client = here.client("a")
        client.stop()
        asked = len(here.server.polled)
        here.run_for(60.0)
        assert len(here.server.polled) == asked


def test_the_same_seed_recovers_the_same_way() -> None:
    def trace(seed: int) -> list[str]:
        server = Runs(load_seconds=1.0)
        with SeededScheduler(seed, http_transport=server) as scheduler:
            made = World(scheduler.run_for, server, RecoveryPolicy(**POLICY, max_concurrent=2))
            for _ in range(3):
                made.client("a")
            server.lose_sessions()
            scheduler.run_for(60.0)
            made.service.stop()
            return list(scheduler.trace)

    assert trace(3) == trace(3)
    assert trace(3) != trace(4)


def test_options_that_mean_nothing_are_refused_at_the_start() -> None:
    wrong: list[dict[str, Any]] = [
        {"recovery": {"enabled": True}},
        {"recovery": True},
        {"on_recovery": print},
        {"recovery": RecoveryPolicy(), "on_failure": "print"},
    ]
    for options in wrong:
        with pytest.raises(Exception, match=r"recovery|on_failure") as refused:
            ServiceClient.start(base_url="http://127.0.0.1:1", **options)
        assert getattr(refused.value, "kind", None) == "validation"


@pytest.mark.one_lane  # as above
@pytest.mark.parametrize("seed", SEEDS)
def test_runs_wait_for_their_place_in_the_order_of_their_loss(seed: int) -> None:
    with world(seed, load_seconds=60.0, poll_seconds=5.0) as here:
        clients = [here.client("a") for _ in range(4)]
        lost = [model_id(client) for client in reversed(clients)]
        for run in lost:
            here.server.corrupted.add(run)
            here.run_for(6.0)
        here.run_for(300.0)
        assert [told.lost_model_id for told in here.recovered] == lost
        assert [path.split("/")[2] for _, path, _ in here.server.loads] == lost
