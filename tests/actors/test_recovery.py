"""Recovery in a seeded world: in every interleaving a lost run goes on behind the same reference, or is given up."""

from typing import Any

import httpx
import pytest

from support_clients import data
from support_recovery import SEEDS, model_id, state, train, world
from tinkex.protocol import Err, messages


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
