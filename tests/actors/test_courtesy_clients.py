"""Service clients of one server behave as one, and whoever waits for the circuit is not held by it."""

import itertools
import json
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pykka
import pytest

from support_clients import data
from support_genserver import unconfigured_logs
from tinkex.actors import ServiceClient, ServiceClientRef, TrainingClientRef
from tinkex.actors._transport import Courtesy
from tinkex.actors._transport._circuit import FAILURES, LONGEST_SECONDS
from tinkex.actors.testing import Runtime, SeededScheduler
from tinkex.protocol import AdamParams, ApiKey, Err, Ok, messages

URL = "http://127.0.0.1:1"
KEY = "tml-secret-value"
STEP = messages.OptimStep(AdamParams())


class Network(httpx.AsyncBaseTransport):
    """A server that runs each number once; 503 answers for it while ``down``, but on the paths that are ``spared``."""

    def __init__(self) -> None:
        self.down = False
        self.spared: Callable[[str], bool] = lambda _path: False
        self.world: SeededScheduler | None = None
        self.came = list[tuple[float, str]]()
        self.executed = dict[str, list[int]]()
        self.sessions = dict[str, str]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert self.world is not None
        path = request.url.path.removeprefix("/api/v1")
        self.came.append((self.world.clock.monotonic(), path))
        if self.down and not self.spared(path):
            return httpx.Response(503, json={"detail": "down"})
        body: Any = json.loads(await request.aread() or b"{}")
        return httpx.Response(200, json=self.answer(path, body, request.headers))

    def answer(self, path: str, body: Any, headers: httpx.Headers) -> dict[str, Any]:
        if path == "/create_session":
            return {"session_id": self.sessions.setdefault(headers["x-idempotency-key"], f"s{len(self.sessions)}")}
        if path == "/create_model":
            return {"model_id": f"{body['session_id']}:train:{body['model_seq_id']}"}
        if path.endswith("/finish"):
            self.sessions = {key: name for key, name in self.sessions.items() if name != path.split("/")[2]}
        if "seq_id" in body:
            ran = self.executed.setdefault(body["model_id"], [])
            if body["seq_id"] not in ran:
                ran.append(body["seq_id"])
            return {"request_id": f"{path}-{body['model_id']}-{body['seq_id']}"}
        if path == "/retrieve_future":
            return {
                "metrics": {},
                "path": "tinker://run/weights/x",
                "loss_fn_output_type": "t",
                "loss_fn_outputs": [{}],
            }
        return {}

    def times(self, *paths: str) -> list[float]:
        return [at for at, path in self.came if path in paths]


@contextmanager
def world_of(seed: int = 1) -> Generator[tuple[SeededScheduler, Network]]:
    network = Network()
    with SeededScheduler(seed, http_transport=network) as world:
        network.world = world
        yield world, network
        assert pykka.ActorRegistry.get_all() == []
        assert len(Runtime.current().shared) == 0, "freed with its last user"


def start(**options: Any) -> ServiceClientRef:
    return ServiceClient.start(base_url=URL, api_key=KEY, **options)


def create(service: ServiceClientRef) -> TrainingClientRef:
    return service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()


def courtesy() -> Courtesy:
    """The one of ``URL`` and ``KEY``, which must exist."""
    shared = Runtime.current().shared
    name = (Courtesy, URL, ApiKey(KEY))
    found: Courtesy = shared.join(name, lambda: pytest.fail("nobody shares it"))
    shared.leave(name, found)
    return found


def state_of(training: TrainingClientRef) -> list[str]:
    return [operation.state for operation in training.ask(messages.Status()).unwrap().operations]


def go_down(world: SeededScheduler, network: Network, training: TrainingClientRef, left: float = 5.0) -> Any:
    """Take the server down under a step, until the circuit stays open for ``left`` seconds; return the step's reply."""
    network.down = True
    reply = training.ask(STEP, block=False)
    world.run_for(30.0)
    now = world.clock.monotonic
    while state_of(training) != ["circuit_open"] or courtesy().circuit.next_chance(now()) < now() + left:
        assert now() < 10_000.0
        world.run_for(0.5)
    return reply


def test_two_service_clients_share_one_circuit_and_one_of_another_key_has_its_own() -> None:
    with world_of() as (world, network):
        first, second = start(send_timeout=None), start(send_timeout=None)
        other = ServiceClient.start(base_url=URL, api_key="tml-another")
        assert len(Runtime.current().shared) == 2
        a, b = create(first), create(second)
        create(other)
        waits = go_down(world, network, a)
        network.came.clear()
        also_waits = b.ask(STEP, block=False)
        world.run_for(0.0)
        assert state_of(b) == ["circuit_open"], "it learnt from the other's failures"
        assert network.came == []
        free = other.ask(messages.GetServerCapabilities(), block=False)
        world.run_for(0.0)
        assert len(network.came) == 1, "another key, another circuit"
        free.cancel()
        network.down = False
        world.run_for(2 * LONGEST_SECONDS)
        assert waits.get().is_ok
        assert also_waits.get().is_ok
        for service in (first, second, other):
            service.stop()


def test_of_two_clients_limits_the_smaller_hold_and_end_with_their_client() -> None:
    with world_of() as (world, _network):
        first, second = start(max_in_flight=7, max_bytes_in_flight=1_000), start(max_in_flight=3)
        shared = courtesy()
        assert (shared.gates["send"].places, shared.gates["send"].size) == (3, 1_000)
        second.stop()
        world.run_for(0.0)
        assert (shared.gates["send"].places, shared.gates["send"].size) == (7, 1_000)
        first.stop()


@pytest.mark.parametrize("seed", range(10))
def test_a_storm_of_503_on_many_clients_is_a_trickle_and_all_goes_on_when_it_is_over(seed: int) -> None:
    with world_of(seed) as (world, network):
        services = [start(heartbeat_seconds=1e6, send_timeout=None) for _ in range(3)]
        clients = [create(service) for service in services for _ in range(4)]
        network.down = True
        network.came.clear()
        replies: list[Any] = [client.ask(messages.ForwardBackward(data()), block=False) for client in clients]
        replies += [client.ask(STEP, block=False) for client in clients]
        world.run_for(240.0)
        assert len(network.came) <= len(clients) + FAILURES + 40
        times = [at for at, _ in network.came]
        assert all(then - now >= 0.5 for now, then in itertools.pairwise(times[len(clients) + FAILURES :]))
        network.down = False
        assert all(isinstance(reply.get(), Ok) for reply in replies)
        for numbers in network.executed.values():
            assert numbers == [1, 2], "each once, in order"
        for service in services:
            service.stop()


def test_heartbeats_go_on_while_the_circuit_is_open_and_the_first_that_is_answered_closes_it() -> None:
    with world_of() as (world, network):
        service = start(heartbeat_seconds=1.0, send_timeout=None)
        training = create(service)
        reply = go_down(world, network, training)
        network.came.clear()
        world.run_for(10.0)
        assert len(network.times("/session_heartbeat")) >= 9
        network.down = False
        world.run_for(1.0)
        assert reply.get(timeout=0).is_ok
        service.stop()


def test_await_timeout_is_exact_while_the_circuit_is_open() -> None:
    with world_of() as (world, network):
        service = start(send_timeout=None)
        training = create(service)
        go_down(world, network, training)
        began = world.clock.monotonic()
        late = training.ask(messages.SaveState("x", await_timeout=2.5))
        assert isinstance(late, Err)
        assert (late.error.kind, late.error.data["outcome"]) == ("await_timeout", "not_sent")
        asked = service.ask(messages.GetServerCapabilities(await_timeout=1.5))
        assert isinstance(asked, Err)
        assert asked.error.kind == "await_timeout"
        assert world.clock.monotonic() - began == pytest.approx(4.0)
        service.stop()


def test_a_cancel_takes_no_time_while_the_circuit_is_open_and_a_kill_neither() -> None:
    with world_of() as (world, network):
        service = start(send_timeout=None)
        training = create(service)
        waits = go_down(world, network, training)
        began = world.clock.monotonic()
        waits.cancel()
        cancelled = waits.get()
        assert isinstance(cancelled, Err)
        assert cancelled.error.kind == "cancelled"
        behind = training.ask(STEP, block=False)
        training.kill()
        killed = behind.get()
        assert isinstance(killed, Err)
        assert killed.error.kind == "actor_dead"
        assert world.clock.monotonic() == began
        world.run_for(0.0)
        shared = courtesy()
        assert not shared._waiting
        assert shared.gates["send"].inside == shared.gates["send"].waiting == 0
        service.stop()


@pytest.mark.parametrize("ending", ["cancel", "await_timeout"])
def test_a_request_that_never_went_out_is_called_back_and_spends_no_number(ending: str) -> None:
    with world_of() as (world, network):
        service = start(send_timeout=None)
        one, training = create(service), create(service)
        other = go_down(world, network, one)
        seconds = 2.0 if ending == "await_timeout" else None
        waits = training.ask(messages.SaveState("x", await_timeout=seconds), block=False)
        behind = training.ask(STEP, block=False)
        world.run_for(2.0 if seconds else 0.1)
        if ending == "cancel":
            waits.cancel()
        result = waits.get()
        assert isinstance(result, Err)
        data = result.error.data
        assert (result.error.kind, data["outcome"]) == (ending if seconds else "cancelled", "not_sent")
        assert "seq_id" not in data
        network.down = False
        assert behind.get().is_ok
        assert other.get().is_ok
        assert network.times("/save_weights") == [], "it never went out"
        assert sorted(network.executed.values()) == [[1], [1]]
        service.stop()


def test_a_stop_asks_the_server_to_end_the_session_though_the_circuit_is_open() -> None:
    with world_of() as (world, network):
        service = start(send_timeout=None)
        training = create(service)
        go_down(world, network, training, left=2.0 * ServiceClient.shutdown)
        network.spared = lambda path: path.endswith("/finish")
        began = world.clock.monotonic()
        service.stop()
        assert world.clock.monotonic() - began <= ServiceClient.shutdown
        assert network.sessions == {}


def test_each_transition_of_the_circuit_is_logged_once_and_never_with_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with unconfigured_logs(), caplog.at_level(logging.DEBUG, "tinkex"), world_of() as (world, network):
        service = start(heartbeat_seconds=1e6, send_timeout=None)
        training = create(service)
        reply = go_down(world, network, training)
        network.down = False
        assert reply.get().is_ok
        service.stop()
    told = [name for line in caplog.messages for name in ("opened", "half open", "closed") if f"circuit {name}" in line]
    assert told[0] == "opened"
    assert told[-1] == "closed"
    assert told.count("opened") >= 4
    following = {("opened", "half open"), ("half open", "opened"), ("half open", "closed")}
    assert {(one, then) for one, then in itertools.pairwise(told)} <= following
    assert KEY not in caplog.text
    assert URL in caplog.text


def test_the_key_shows_nowhere_in_what_is_shared() -> None:
    with world_of():
        service = start(send_timeout=None)
        shared = courtesy()
        names = list(Runtime.current().shared._held)
        assert KEY not in repr((names, shared, vars(shared)))
        service.stop()


def test_a_client_that_is_killed_frees_what_it_shared() -> None:
    with world_of() as (world, _network):
        service = start(send_timeout=None)
        create(service)
        service.kill()
        world.run_for(5.0)
        assert len(Runtime.current().shared) == 0
