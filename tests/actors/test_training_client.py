"""A training client over a real engine: order, faults, and callers who stop waiting."""

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from support_clients import Faults, create, data, eventually, service
from support_engine_url import engine_url
from tinkex.actors.testing import VirtualClock
from tinkex.protocol import AdamParams, Datum, Err, ModelInput, Ok, messages

ADAM = AdamParams(learning_rate=1e-2)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_url(tmp_path_factory.mktemp("engine")) as address:
        yield address


def lose(*paths: str, times: int = 1) -> Any:
    def rule(request: httpx.Request, count: int) -> str | None:
        return "lose" if request.url.path.removeprefix("/api/v1") in paths and count <= times else None

    return rule


def answer(path: str, status: int, body: dict[str, Any], *, counts: range = range(1, 2)) -> Any:
    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if request.url.path == f"/api/v1{path}" and count in counts:
            return httpx.Response(status, json=body)
        return None

    return rule


def test_requests_arrive_in_order_without_gap_from_many_threads_with_bad_ones_between(url: str) -> None:
    with service(url) as (ref, faults):
        training = create(ref)
        replies: list[Any] = []
        refused: list[Any] = []

        def work() -> None:
            for index in range(125):
                refused.append(training.ask(messages.SaveState(f"bad name {index}"), block=False))
                replies.append(training.ask(messages.OptimStep(AdamParams(learning_rate=0.0)), block=False))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(isinstance(reply.get(timeout=60), Ok) for reply in replies)
        assert {reply.get(timeout=60).error.kind for reply in refused} == {"validation"}
        assert faults.seq_ids() == list(range(1, 1001))


def test_a_lost_reply_is_repeated_and_the_gradients_are_not_doubled(url: str) -> None:
    losses: list[list[float]] = []
    for rule in (None, lose("/forward_backward", "/optim_step", "/retrieve_future", times=3)):
        with service(url, rule) as (ref, _):
            training = create(ref)
            losses.append([step(training) for _ in range(3)])
    assert losses[0] == losses[1]


def step(training: Any) -> float:
    loss = training.ask(messages.ForwardBackward(data())).unwrap().metrics["loss:sum"]
    training.ask(messages.OptimStep(ADAM)).unwrap()
    return float(loss)


def test_a_refused_request_spends_no_number(url: str) -> None:
    with service(url, answer("/optim_step", 400, {"detail": "not today"})) as (ref, faults):
        training = create(ref)
        refused = training.ask(messages.OptimStep(ADAM))
        assert isinstance(refused, Err)
        assert (refused.error.kind, refused.error.data["outcome"]) == ("api_status", "not_sent")
        assert "not today" in refused.error.message
        training.ask(messages.SaveState("after-refusal")).unwrap()
        assert faults.seq_ids() == [1, 1]


def test_an_unknown_outcome_makes_the_client_suspect_and_it_sends_nothing_more(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        if request.url.path == "/api/v1/optim_step":
            return "lose" if count == 1 else httpx.Response(400, json={"detail": "no"})
        return None

    with service(url, rule) as (ref, faults):
        training = create(ref)
        unknown = training.ask(messages.OptimStep(ADAM), block=False)
        behind = training.ask(messages.SaveState("behind"), block=False)
        first, second = unknown.get(timeout=30), behind.get(timeout=30)
        assert isinstance(first, Err)
        assert first.error.data["outcome"] == "unknown"
        assert isinstance(second, Err)
        assert (second.error.kind, second.error.data["outcome"]) == ("client_suspect", "not_sent")
        assert training.ask(messages.Status()).unwrap().state == "suspect"
        assert training.ask(messages.GetInfo()).is_ok
        assert faults.sent("/save_weights") == []
        assert training.ask(messages.UnloadModel()).is_ok


def test_a_failed_forward_backward_fails_the_step_behind_it(url: str) -> None:
    failure = {"error": "out of luck", "category": "server"}
    polls = 0

    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        nonlocal polls
        if request.url.path == "/api/v1/retrieve_future":
            polls += 1
            if polls == 2:  # the first one is of create_model
                return httpx.Response(200, json=failure)
        return None

    with service(url, rule) as (ref, _):
        training = create(ref)
        result = training.ask(messages.ForwardBackward(data())).unwrap_or(None)
        assert result is None
        step = training.ask(messages.OptimStep(ADAM))
        assert isinstance(step, Err)
        assert step.error.kind == "client_suspect"


def test_an_await_timeout_on_a_result_that_is_held_back_ends_exactly_then(url: str) -> None:
    clock = VirtualClock()
    held = HoldResultOf("/save_weights")
    faults = Faults(held)
    with service(url, clock=clock, faults=faults) as (ref, _):
        training = create(ref)
        reply = training.ask(messages.SaveState("held", await_timeout=0.3), block=False)
        assert faults.held.wait(20)
        clock.advance(0.299)
        assert not reply.done()
        clock.advance(0.001)
        late = reply.get(timeout=20)
        assert isinstance(late, Err)
        assert (late.error.kind, late.error.data["outcome"]) == ("await_timeout", "running")
        polls = held.polls
        training.ask(messages.SaveState("next")).unwrap()
        assert held.polls == polls, "a result that nobody waits for is not asked for"


class HoldResultOf:
    """Hold back the result of the first request to ``path``."""

    def __init__(self, path: str) -> None:
        self.path = f"/api/v1{path}"
        self.asked = False
        self.request_id: str | None = None
        self.polls = 0

    def __call__(self, request: httpx.Request, count: int) -> str | None:
        if request.url.path == self.path and not self.asked:
            self.asked = True
        elif request.url.path == "/api/v1/retrieve_future" and self.asked:
            request_id = json.loads(request.content)["request_id"]
            self.request_id = self.request_id or request_id
            if request_id == self.request_id:
                self.polls += 1
                return "hold"
        return None


def test_an_await_timeout_passes_in_real_time_and_the_next_operation_works(url: str) -> None:
    with service(url, HoldResultOf("/save_weights")) as (ref, _):
        training = create(ref)
        late = training.ask(messages.SaveState("held-2", await_timeout=0.3), timeout=3.0)
        assert isinstance(late, Err)
        assert late.error.kind == "await_timeout"
        training.ask(messages.SaveState("next-2")).unwrap()


def test_an_await_cancelled_while_its_request_is_queued_spends_no_number(url: str) -> None:
    released = threading.Event()

    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if request.url.path == "/api/v1/optim_step" and not released.is_set():
            return httpx.Response(503, json={"detail": "busy"})
        return None

    async def cancel_one(training: Any) -> None:
        first = asyncio.ensure_future(awaited(training.proxy().optim_step(ADAM)))
        queued = asyncio.ensure_future(awaited(training.proxy().save_state("never")))
        third = asyncio.ensure_future(awaited(training.proxy().save_state("third")))
        await asyncio.to_thread(eventually, lambda: len(training.ask(messages.Status()).unwrap().operations) == 3)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued
        released.set()
        assert (await first).is_ok
        assert (await third).is_ok

    with service(url, rule) as (ref, faults):
        training = create(ref)
        asyncio.run(cancel_one(training))
        assert [body["path"] for body in faults.sent("/save_weights")] == ["third"]
        assert set(faults.seq_ids()) == {1, 2}


async def awaited(reply: Any) -> Any:
    return await reply


def test_a_cancelled_reply_says_whether_it_may_still_run(url: str) -> None:
    held = HoldResultOf("/save_weights")
    with service(url, held) as (ref, faults):
        training = create(ref)
        running = training.ask(messages.SaveState("held-3"), block=False)
        assert faults.held.wait(20)
        assert running.cancel()
        result = running.get(timeout=20)
        assert isinstance(result, Err)
        assert (result.error.kind, result.error.data["outcome"]) == ("cancelled", "running")
        assert training.ask(messages.Status()).unwrap().operations == []


def test_chunks_of_one_call_take_a_number_each_and_join_into_one_result(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs: list[Any] = []
    for limit, numbers in ((1024, 1), (2, 3)):
        monkeypatch.setattr("tinkex.actors._training._chunks.MAX_DATUMS", limit)
        with service(url) as (ref, faults):
            training = create(ref)
            output = training.ask(messages.ForwardBackward(data(rows=5))).unwrap()
            training.ask(messages.OptimStep(ADAM)).unwrap()
            after = training.ask(messages.Forward(data())).unwrap()
            assert faults.seq_ids() == list(range(1, numbers + 3))
            outputs.append([output.metrics["loss:sum"], len(output.loss_fn_outputs), after.metrics["loss:sum"]])
    assert outputs[0][1:] == outputs[1][1:]
    assert outputs[0][0] == pytest.approx(outputs[1][0])


def test_a_save_that_was_told_exists_after_a_lost_reply_is_ours_only_by_proof(url: str) -> None:
    def rule(request: httpx.Request, count: int) -> Any:
        if request.url.path == "/api/v1/save_weights":
            return "lose" if count == 1 else httpx.Response(409, json={"detail": "exists"})
        return None

    with service(url, rule) as (ref, _):
        training = create(ref)
        saved = training.ask(messages.SaveState("mine")).unwrap()
        assert saved.path.endswith("/weights/mine")
        training.ask(messages.OptimStep(ADAM)).unwrap()


def test_a_save_whose_name_is_taken_by_another_is_a_conflict(url: str) -> None:
    with service(url) as (ref, _):
        training = create(ref)
        training.ask(messages.SaveState("twice")).unwrap()
        taken = training.ask(messages.SaveState("twice"))
        assert isinstance(taken, Err)
        assert taken.error.kind == "conflict"
        training.ask(messages.SaveState("twice", overwrite=True)).unwrap()


def test_unload_waits_for_what_was_asked_before_and_ends_the_client(url: str) -> None:
    with service(url) as (ref, _):
        training = create(ref)
        saving = training.ask(messages.SaveState("before-unload"), block=False)
        assert training.ask(messages.UnloadModel()).is_ok
        assert saving.get(timeout=20).is_ok
        refused = training.ask(messages.OptimStep(ADAM))
        assert isinstance(refused, Err)
        assert "unloaded" in refused.error.message


def test_a_lost_session_answers_everything_with_the_way_out(url: str) -> None:
    finished = threading.Event()

    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        if finished.is_set() and request.url.path == "/api/v1/session_heartbeat":
            return httpx.Response(410, json={"detail": "finished"})
        return None

    with service(url, rule, heartbeat_seconds=0.05) as (ref, _):
        training = create(ref)
        finished.set()
        lost = eventually(lambda: (state := training.ask(messages.Status()).unwrap().state) == "session_lost" and state)
        assert lost
        refused = training.ask(messages.OptimStep(ADAM))
        assert isinstance(refused, Err)
        assert refused.error.kind == "session_lost"


def test_a_stop_does_not_wait_for_what_a_lost_session_took_with_it(url: str) -> None:
    held = HoldResultOf("/save_weights")

    def rule(request: httpx.Request, count: int) -> "str | httpx.Response | None":
        if request.url.path == "/api/v1/session_heartbeat":
            return httpx.Response(410, json={"detail": "finished"})
        return held(request, count)

    clock = VirtualClock()
    faults = Faults(rule)
    with service(url, clock=clock, faults=faults, heartbeat_seconds=1.0) as (ref, _):
        training = create(ref)
        saving = training.ask(messages.SaveState("held-4"), block=False)
        assert faults.held.wait(20)
        training.stop(block=False)
        clock.advance(1.0)
        lost = saving.get(timeout=20)
        assert isinstance(lost, Err)
        assert lost.error.kind == "session_lost"
        eventually(lambda: not training.is_alive())


TOKENS = [1, 2, 3]


@pytest.mark.parametrize(
    "message",
    [
        messages.ForwardBackward([]),
        messages.ForwardBackward(None),  # type: ignore[arg-type]
        messages.ForwardBackward(
            [Datum(ModelInput.from_ints(TOKENS), {"target_tokens": [1, 2], "weights": [1.0, 1.0]})]
        ),
        messages.ForwardBackward(
            [Datum(ModelInput.from_ints(TOKENS), {"target_tokens": TOKENS, "weights": [1.0, float("nan"), 1.0]})]
        ),
        messages.OptimStep(AdamParams(learning_rate=float("nan"))),
        messages.OptimStep(None),  # type: ignore[arg-type]
        messages.SaveState(""),
        messages.SaveState("a/b"),
        messages.SaveState("a b"),
        messages.SaveState("x" * 300),
        messages.SaveState("a", ttl_seconds=0),
        messages.SaveState("a", ttl_seconds=-1),
        messages.SaveState("a", ttl_seconds="1h"),  # type: ignore[arg-type]
        messages.SaveState("a", await_timeout=0.0),
        messages.SaveState("a", key="k"),
        messages.LoadState(""),
        messages.LoadState(None),  # type: ignore[arg-type]
        messages.LoadState("https://x/y/z"),
        messages.LoadState("tinker://run/sampler_weights/x"),
        messages.LoadState("tinker://run/weights"),
        messages.LoadState("tinker://run/weights/a/b"),
    ],
    ids=repr,
)
def test_bad_input_is_refused_before_any_request_and_the_client_lives(message: Any, shared: Any) -> None:
    training, faults = shared
    sent = len([path for path, _ in faults.seen if path != "/session_heartbeat"])
    refused = training.ask(message)
    assert isinstance(refused, Err)
    assert (refused.error.kind, refused.error.category) == ("validation", "user")
    assert len([path for path, _ in faults.seen if path != "/session_heartbeat"]) == sent
    assert training.is_alive()


@pytest.fixture(scope="module")
def shared(url: str) -> Iterator[Any]:
    with service(url) as (ref, faults):
        yield create(ref), faults


def test_a_typo_or_an_unknown_message_does_not_kill_a_run(shared: Any) -> None:
    training, _ = shared
    assert training.ask("save").error.kind == "validation"
    assert training.proxy().save_state().get().error.kind == "validation"
    assert training.proxy().save_state("a", tll_seconds=3).get().error.kind == "validation"
    assert training.is_alive()
