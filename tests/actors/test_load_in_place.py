"""Loading into a client that lives: another model behind the same ref, or the old one unharmed."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import Faults, base_model, create, data, eventually, service
from support_engine_url import health
from tinkex.actors.testing import VirtualClock
from tinkex.cli._demo._damage import remove_a_tensor
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import AdamParams, Err, Ok, messages

API = "/api/v1"
ADAM = AdamParams(learning_rate=1e-2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("engine")


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with engine_process(root) as address:
        yield address


def step(client: Any) -> float:
    loss: float = client.ask(messages.ForwardBackward(data())).unwrap().metrics["loss:sum"]
    client.ask(messages.OptimStep(ADAM)).unwrap()
    return loss


def trained(ref: Any, name: str) -> tuple[Any, str, list[float]]:
    """Give a client, its checkpoint after two steps, and the losses of the two steps after that."""
    training = create(ref)
    step(training)
    step(training)
    path = training.ask(messages.SaveState(name)).unwrap().path
    return training, path, [step(training), step(training)]


def census(url: str) -> tuple[int, int]:
    counts = health(url)
    return counts["models"], counts["sessions"]


@pytest.mark.parametrize("release_first", [False, True])
def test_a_used_client_goes_on_from_the_checkpoint_behind_the_same_ref(url: str, release_first: bool) -> None:
    with service(url) as (ref, faults):
        training, path, losses = trained(ref, f"used-{release_first}")
        before = training.proxy().model_id.get()
        for _ in range(2):
            loaded = training.ask(messages.LoadState(path, optimizer=True, release_first=release_first)).unwrap()
            assert loaded.path == path
            assert loaded.model_id == training.proxy().model_id.get() != before
            assert [step(training), step(training)] == losses
            saved = training.ask(messages.SaveState("next")).unwrap().path
            assert saved == f"tinker://{loaded.model_id}/weights/next"
            eventually(lambda: census(url) == (1, 2))
        assert ref.ask(messages.Leaks()).unwrap().leases == []
        sessions = [body["session_id"] for body in faults.sent("/create_model")]
        assert len(set(sessions)) == 3, "each replacement lives in a session of its own"
    eventually(lambda: census(url) == (0, 0))


def test_weights_alone_are_the_weights_with_a_fresh_optimizer(url: str) -> None:
    with service(url) as (ref, _):
        training, path, losses = trained(ref, "alone")
        training.ask(messages.LoadState(path)).unwrap()
        cold = [step(training), step(training)]
        assert cold[0] == losses[0]
        assert cold[1] != losses[1]


def test_an_unused_client_loads_into_the_model_that_it_has(url: str) -> None:
    with service(url) as (ref, faults):
        _, path, losses = trained(ref, "unused")
        fresh = create(ref)
        before = fresh.proxy().model_id.get()
        asked = len(faults.sent("/create_model"))
        assert fresh.proxy().load_state_with_optimizer(path).get().unwrap().model_id == before
        assert [step(fresh), step(fresh)] == losses
        assert len(faults.sent("/create_model")) == asked


def test_a_checkpoint_of_another_shape_brings_its_own(url: str) -> None:
    with service(url) as (ref, _):
        path = create(ref, rank=8, train_unembed=False).ask(messages.SaveState("rank-8")).unwrap().path
        training = create(ref, rank=4)
        step(training)
        training.ask(messages.LoadState(path)).unwrap()
        assert training.ask(messages.GetInfo()).unwrap().lora_rank == 8


def test_a_load_is_a_barrier_what_was_asked_before_ends_on_the_old_model_and_what_comes_after_waits(url: str) -> None:
    gate = threading.Event()

    def rule(request: httpx.Request, count: int) -> Any:
        if request.url.path == f"{API}/weights_info" and not gate.is_set():
            return httpx.Response(503, json={"detail": "not yet"})
        return None

    clock = VirtualClock()
    with service(url, rule, clock=clock) as (ref, faults):
        training, path, losses = trained(ref, "barrier")
        old = training.proxy().model_id.get()
        before = training.ask(messages.SaveState("before"), block=False)
        load = training.ask(messages.LoadState(path, optimizer=True), block=False)
        after = [training.ask(messages.ForwardBackward(data()), block=False)]
        stepped = training.ask(messages.OptimStep(ADAM), block=False)
        after.append(training.ask(messages.ForwardBackward(data()), block=False))
        saved = training.ask(messages.SaveState("after"), block=False)
        assert before.get(timeout=20).unwrap().path == f"tinker://{old}/weights/before"
        eventually(lambda: faults.sent("/weights_info"))
        status = training.ask(messages.Status()).unwrap()
        assert status.state == "loading"
        assert [operation.name for operation in status.operations] == [
            "load_state",
            "forward_backward",
            "optim_step",
            "forward_backward",
            "save_weights",
        ]
        assert not any(reply.done() for reply in [load, *after, stepped, saved])
        gate.set()

        def done_after_another_second() -> bool:
            clock.advance(1.0)
            done: bool = load.done()
            return done

        eventually(done_after_another_second)
        new = load.get().unwrap().model_id
        assert [reply.get(timeout=20).unwrap().metrics["loss:sum"] for reply in after] == losses
        assert stepped.get(timeout=20).is_ok
        assert saved.get(timeout=20).unwrap().path == f"tinker://{new}/weights/after"


def test_a_save_that_is_still_under_way_can_be_loaded_by_what_is_asked_behind_it(url: str) -> None:
    with service(url) as (ref, _):
        training = create(ref)
        step(training)
        path = f"tinker://{training.proxy().model_id.get()}/weights/pipelined"
        saving = training.ask(messages.SaveState("pipelined"), block=False)
        load = training.ask(messages.LoadState(path, optimizer=True), block=False)
        again = training.ask(messages.LoadState(path, optimizer=True), block=False)
        info = training.ask(messages.SaveState("last"), block=False)
        assert saving.get(timeout=20).is_ok
        first, second = load.get(timeout=20).unwrap(), again.get(timeout=20).unwrap()
        assert first.model_id != second.model_id
        assert info.get(timeout=20).unwrap().path == f"tinker://{second.model_id}/weights/last"


@pytest.mark.parametrize("fault", ["missing", "damaged", "not_lora", "no_room", "load_refused"])
def test_a_load_that_fails_leaves_the_old_model_unharmed_and_sends_nothing_that_was_meant_for_the_new(
    url: str, root: Path, fault: str
) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        path = request.url.path.removeprefix(API)
        if fault == "not_lora" and path == "/weights_info":
            return httpx.Response(200, json={"base_model": "m", "is_lora": False})
        if fault == "no_room" and path == "/create_model" and count > 1:
            return httpx.Response(400, json={"detail": "no room for another model"})
        if fault == "load_refused" and path == "/load_weights":
            return httpx.Response(400, json={"detail": "no"})
        return None

    with service(url, rule) as (ref, faults):
        training, path, losses = trained(ref, f"fails-{fault}")
        if fault == "damaged":
            remove_a_tensor(root, path)
        asked = path + "-no" if fault == "missing" else path
        load = training.ask(messages.LoadState(asked, optimizer=True), block=False)
        behind = [training.ask(messages.OptimStep(ADAM), block=False) for _ in range(3)]
        failed = load.get(timeout=20)
        assert isinstance(failed, Err)
        assert failed.error.data["path"] == asked
        assert failed.error.data["step"] in {"checkpoint_info", "create_model", "load_weights"}
        assert "goes on with its old model" in failed.error.message
        assert ("release_first=True" in failed.error.message) == (fault == "no_room")
        for reply in behind:
            refused = reply.get(timeout=20)
            assert isinstance(refused, Err)
            assert (refused.error.kind, refused.error.data["outcome"]) == ("conflict", "not_sent")
        steps = len(faults.sent("/optim_step"))
        assert steps == 4, "no step reached the old weights"
        training.ask(messages.SaveState("unharmed")).unwrap()
        eventually(lambda: census(url) == (1, 1))
        assert ref.ask(messages.Leaks()).unwrap().leases == []
        del losses


def test_after_a_failed_load_with_release_first_the_client_waits_for_a_load_that_works(url: str) -> None:
    with service(url) as (ref, _):
        training, path, losses = trained(ref, "given-back")
        failed = training.ask(messages.LoadState(path + "-no", optimizer=True, release_first=True))
        assert isinstance(failed, Err)
        assert "has none" in failed.error.message
        assert training.ask(messages.Status()).unwrap().state == "without_model"
        eventually(lambda: health(url)["models"] == 0)
        refused = training.ask(messages.OptimStep(ADAM))
        assert isinstance(refused, Err)
        assert refused.error.data["outcome"] == "not_sent"
        training.ask(messages.LoadState(path, optimizer=True)).unwrap()
        assert [step(training), step(training)] == losses


def test_a_load_is_the_way_out_for_a_suspect_client_and_for_one_whose_session_is_lost(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        return httpx.Response(400, text="<html>proxy</html>") if request.url.path == f"{API}/optim_step" else None

    with service(url) as (ref, faults):
        training, path, losses = trained(ref, "way-out")
        faults.rule = rule
        assert not training.ask(messages.OptimStep(ADAM)).is_ok
        assert training.ask(messages.Status()).unwrap().state == "suspect"
        faults.rule = None
        training.ask(messages.LoadState(path, optimizer=True)).unwrap()
        assert training.ask(messages.Status()).unwrap().state == "ready"
        assert [step(training), step(training)] == losses


def test_a_client_whose_session_is_lost_loads_into_a_new_one(url: str) -> None:
    with service(url, heartbeat_seconds=0.05) as (ref, _):
        training, path, losses = trained(ref, "other-session")
        session_id = training.ask(messages.Status()).unwrap().session_id
        finish = {"reason": {"type": "success"}}
        key = {"x-api-key": "tml-local"}
        address = f"{url}{API}/sessions/{session_id}/finish"
        assert httpx.post(address, json=finish, headers=key, trust_env=False).is_success
        eventually(lambda: training.ask(messages.Status()).unwrap().state == "session_lost")
        training.ask(messages.LoadState(path, optimizer=True)).unwrap()
        assert [step(training), step(training)] == losses


def test_a_load_whose_caller_gives_up_is_undone_and_the_client_goes_on(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        return "hold" if request.url.path == f"{API}/load_weights" else None

    with service(url, rule) as (ref, faults):
        training, path, _ = trained(ref, "given-up")
        for giving_up in ("timeout", "cancel"):
            faults.held.clear()
            seconds = 0.5 if giving_up == "timeout" else None
            load = training.ask(messages.LoadState(path, await_timeout=seconds), block=False)
            assert faults.held.wait(20)
            behind = training.ask(messages.OptimStep(ADAM), block=False)
            if giving_up == "cancel":
                load.cancel()
            failed, refused = load.get(timeout=20), behind.get(timeout=20)
            assert isinstance(failed, Err)
            assert failed.error.kind == ("await_timeout" if giving_up == "timeout" else "cancelled")
            assert isinstance(refused, Err)
            assert refused.error.data["outcome"] == "not_sent"
            assert training.ask(messages.SaveState(f"goes-on-{giving_up}")).is_ok
            eventually(lambda: census(url) == (1, 1))


def test_what_waits_behind_a_load_keeps_its_own_deadline_and_can_be_withdrawn(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        return "hold" if request.url.path == f"{API}/load_weights" else None

    clock = VirtualClock()
    with service(url, rule, clock=clock) as (ref, faults):
        training, path, _ = trained(ref, "behind")
        load = training.ask(messages.LoadState(path), block=False)
        assert faults.held.wait(20)
        late = training.ask(messages.OptimStep(ADAM, await_timeout=2.0), block=False)
        withdrawn = training.ask(messages.SaveState("never"), block=False)
        training.ask(messages.Status()).unwrap()
        clock.advance(2.0)
        withdrawn.cancel()
        for reply, kind in ((late, "await_timeout"), (withdrawn, "cancelled")):
            answer = reply.get(timeout=20)
            assert isinstance(answer, Err)
            assert (answer.error.kind, answer.error.data["outcome"]) == (kind, "not_sent")
        assert not load.done()
        load.cancel()


def test_a_load_refused_after_an_attempt_of_unknown_fate_is_tried_once_more_on_a_new_model(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        if request.url.path == f"{API}/load_weights":
            if count in (1, 4):
                return "lose"
            if count in (2, 5):
                return httpx.Response(400, json={"detail": "LoadWeights is only permitted as the first request"})
        return None

    with service(url) as (ref, faults):
        training, path, losses = trained(ref, "twice")
        faults.rule = rule
        training.ask(messages.LoadState(path, optimizer=True)).unwrap()
        assert [step(training), step(training)] == losses
        made = ref.ask(messages.CreateTrainingClientFromState(path, optimizer=True)).unwrap()
        assert [step(made), step(made)] == losses
        eventually(lambda: census(url) == (2, 3))


def test_a_first_load_that_is_given_up_on_its_way_leaves_its_client_suspect_with_a_way_out(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        return "hold" if request.url.path == f"{API}/load_weights" else None

    with service(url) as (ref, faults):
        _, path, losses = trained(ref, "first-given-up")
        fresh = create(ref)
        faults.rule = rule
        load = fresh.ask(messages.LoadState(path, optimizer=True), block=False)
        assert faults.held.wait(20)
        load.cancel()
        assert not load.get(timeout=20).is_ok
        assert fresh.ask(messages.Status()).unwrap().state == "suspect"
        faults.rule = None
        fresh.ask(messages.LoadState(path, optimizer=True)).unwrap()
        assert [step(fresh), step(fresh)] == losses


@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_a_client_that_ends_in_mid_load_leaves_neither_model(url: str, ending: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        return "hold" if request.url.path == f"{API}/load_weights" else None

    with service(url, rule) as (ref, faults):
        training, path, _ = trained(ref, f"ends-{ending}")
        load = training.ask(messages.LoadState(path), block=False)
        assert faults.held.wait(20)
        if ending == "kill":
            training.kill()
        else:
            training.stop(shutdown=0.1)
        answer = load.get(timeout=20)
        assert isinstance(answer, Err)
        assert answer.error.kind == "actor_dead"
        eventually(lambda: health(url)["models"] == 0)
        eventually(lambda: ref.ask(messages.Leaks()).unwrap().leases == [])


def test_an_unload_waits_behind_a_load_too(url: str) -> None:
    with service(url) as (ref, _):
        training, path, _ = trained(ref, "unload-behind")
        load = training.ask(messages.LoadState(path), block=False)
        unload = training.ask(messages.UnloadModel(), block=False)
        assert unload.get(timeout=20).unwrap().model_id == load.get(timeout=20).unwrap().model_id
        assert isinstance(training.ask(messages.LoadState(path)), Err)


def test_a_stop_lets_a_load_and_what_waits_behind_it_finish(url: str) -> None:
    with service(url) as (ref, _):
        training, path, _ = trained(ref, "stop-behind")
        load = training.ask(messages.LoadState(path), block=False)
        saved = training.ask(messages.SaveState("last-words"), block=False)
        training.stop()
        assert isinstance(load.get(), Ok)
        assert isinstance(saved.get(), Ok)


def test_a_hundred_swaps_leave_one_model_and_no_number_is_used_twice(url: str) -> None:
    with service(url, faults=Faults()) as (ref, faults):
        assert base_model(ref)
        training, path, losses = trained(ref, "hundred")
        loads = [training.ask(messages.LoadState(path, optimizer=True), block=False) for _ in range(20)]
        assert all(load.get(timeout=60).is_ok for load in loads)
        assert [step(training), step(training)] == losses
        eventually(lambda: census(url) == (1, 2))
        keys = [(body["session_id"], body["model_seq_id"]) for body in faults.sent("/create_model")]
        assert len(set(keys)) == len(keys)
