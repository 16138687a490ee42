"""Recoveries in a seeded world: what is logged of them, many at once, and how they end."""

import logging
from typing import Any

import httpx
import pykka
import pytest

from support_genserver import unconfigured_logs
from support_recovery import POLICY, SEEDS, World, model_id, state, train, world
from support_runs import Runs
from tinkex.actors import ServiceClient
from tinkex.actors._recovery._recoverer import Recoverer
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import RecoveryPolicy, messages


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
