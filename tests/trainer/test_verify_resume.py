"""``verify_resume``: passes on the engine bit for bit, names what a server lost, and leaves nothing behind."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from support_clients import base_model, eventually, nothing_left, service
from support_engine_url import engine_url
from support_servers import Scripted, client
from support_trainer import Program
from tinkex.actors import ServiceClientRef
from tinkex.actors._programs._program import Batch
from tinkex.actors._trainer._verify_resume import verify_resume
from tinkex.engine._compute._compute import Compute
from tinkex.protocol import AdamParams, Err, Result, messages
from tinkex.protocol.replies import ResumeVerdict


class Still(Program):
    """Learns nothing."""

    def adam_params(self, update: int) -> AdamParams:
        return AdamParams(learning_rate=0.0)


def verify(ref: ServiceClientRef, program: Any = None, **options: Any) -> Result[ResumeVerdict]:
    options = {"rank": 4, "seed": 3, **options}
    return verify_resume(ref, Program() if program is None else program, base_model=base_model(ref), **options)


def left(ref: ServiceClientRef) -> list[str]:
    return [one.tinker_path for one in ref.ask(messages.ListCheckpoints()).unwrap().checkpoints]


def test_the_engine_resumes_bit_for_bit_and_nothing_is_left(url: str) -> None:
    with service(url) as (ref, faults):
        verdict = verify(ref).unwrap()
        assert verdict.passed, verdict.sentence
        assert (verdict.exact, verdict.max_difference, verdict.cold_differs) == (True, 0.0, True)
        assert verdict.uninterrupted == verdict.resumed
        assert len(verdict.cold) == 3
        assert verdict.cold[0] == verdict.resumed[0], "the first loss shows the weights alone"
        assert verdict.cold[1] != verdict.resumed[1]
        assert left(ref) == []
        assert [body["ttl_seconds"] for body in faults.sent("/save_weights")] == [3600]
    nothing_left(url)


def test_two_updates_after_the_save_are_enough(url: str) -> None:
    with service(url) as (ref, _):
        assert verify(ref, before=1, after=2).unwrap().passed


def test_a_server_whose_load_drops_the_optimizer_fails_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Compute.load

    def drops(compute: Compute, model_id: str, path: str, now: float, *, optimizer: bool) -> None:
        load(compute, model_id, path, now, optimizer=False)

    monkeypatch.setattr(Compute, "load", drops)
    with engine_url(tmp_path) as url, service(url) as (ref, _):
        verdict = verify(ref).unwrap()
        assert not verdict.passed
        assert verdict.sentence.startswith("the resume lost the optimizer: its losses are those of a start from the ")
        assert verdict.resumed == verdict.cold != verdict.uninterrupted
        assert left(ref) == []


def test_a_server_whose_load_brings_no_weights_fails_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(compute: Compute, model_id: str, path: str, now: float, *, optimizer: bool) -> None:
        pass

    monkeypatch.setattr(Compute, "load", nothing)
    with engine_url(tmp_path) as url, service(url) as (ref, _):
        verdict = verify(ref).unwrap()
        assert not verdict.passed
        assert verdict.sentence.startswith("the resume did not bring the weights back")


def test_with_a_learning_rate_of_zero_it_says_that_it_cannot_tell(url: str) -> None:
    with service(url) as (ref, _):
        verdict = verify(ref, Still()).unwrap()
        assert (verdict.passed, verdict.exact, verdict.cold_differs) == (False, True, False)
        assert verdict.sentence.startswith("inconclusive: a start from the weights alone gives the same losses")
        assert left(ref) == []


class Sloppy(Scripted):
    """Its losses drift by a little with each model that it makes."""

    def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
        model = next(reversed(self.models.values()))
        before, model.moments = model.moments, model.moments + len(self.seen) * 1e-9  # type: ignore[assignment]
        try:
            return super().run_pass(path, media, raw)
        finally:
            model.moments = before

    def handle(self, request: httpx.Request, path: str, media: str, raw: bytes) -> httpx.Response:
        if request.method == "DELETE":
            return self.delete(path)
        return super().handle(request, path, media, raw)

    def delete(self, path: str) -> httpx.Response:
        self.checkpoints.clear()
        return httpx.Response(204)


def test_another_server_passes_within_a_stated_tolerance_and_not_without() -> None:
    server = Sloppy()
    with client(server) as ref:
        loose = verify(ref, tolerance=1e-3).unwrap()
        assert (loose.passed, loose.exact, loose.tolerance) == (True, False, 1e-3), loose.sentence
        assert 0.0 < loose.max_difference < 1e-3
        strict = verify(ref).unwrap()
        assert not strict.passed
        eventually(lambda: server.models == {})
    assert server.checkpoints == {}


def test_a_checkpoint_that_cannot_be_deleted_is_left_to_expire_and_the_verdict_stands(url: str) -> None:
    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        return httpx.Response(403, json={"detail": "not yours"}) if request.method == "DELETE" else None

    with service(url, rule) as (ref, _):
        assert verify(ref).unwrap().passed
        (entry,) = ref.ask(messages.ListCheckpoints()).unwrap().checkpoints
        assert entry.expires_at is not None
    with service(url) as (ref, _):
        ref.ask(messages.DeleteCheckpoint(entry.tinker_path)).unwrap()


@pytest.mark.parametrize(
    "path", ["/create_model", "/forward_backward", "/optim_step", "/save_weights", "/load_weights"]
)
def test_a_server_that_refuses_a_step_is_an_error_and_nothing_is_left(url: str, path: str) -> None:
    """At the last request of its kind, when all the rest is there to be left."""
    last = {"/create_model": 3, "/forward_backward": 24, "/optim_step": 12, "/save_weights": 1, "/load_weights": 2}[
        path
    ]

    def rule(request: httpx.Request, count: int) -> httpx.Response | None:
        refused = request.url.path == f"/api/v1{path}" and count >= last
        return httpx.Response(400, json={"detail": "not today"}) if refused else None

    with service(url, rule) as (ref, faults):
        failed = verify(ref)
        assert isinstance(failed, Err)
        assert "not today" in failed.error.message
        assert len(faults.sent(path)) >= last
        assert left(ref) == []
    nothing_left(url)


class Broken(Program):
    def batch(self, cursor: Any) -> Batch | None:
        if cursor["row"] == 4:
            raise ZeroDivisionError("row 4 of 0")
        return super().batch(cursor)


class Short(Program):
    def batch(self, cursor: Any) -> Batch | None:
        return None if cursor["row"] == 4 else super().batch(cursor)


@pytest.mark.parametrize(
    ("program", "options", "kind", "why"),
    [
        (Broken(), {}, "program_failed", "the training program failed: ZeroDivisionError: row 4 of 0"),
        (Short(), {}, "validation", "the program ends after 2 updates, and before + after are 6"),
        (Program(), {"before": 0}, "validation", "before must be a whole number of at least 1"),
        (Program(), {"after": 1}, "validation", "after must be a whole number of at least 2"),
        (Program(), {"tolerance": -1.0}, "validation", "tolerance must be a finite number of at least 0"),
        (Program(), {"rank": 0}, "validation", "rank must be a whole number"),
        (Program(), {"await_timeout": 0.0}, "validation", "await_timeout must be a finite number above 0"),
    ],
)
def test_what_is_no_check_is_refused_before_anything_is_sent(
    program: Program, options: dict[str, Any], kind: str, why: str
) -> None:
    server = Scripted()
    with client(server) as ref:
        refused = verify(ref, program, **options)
        assert isinstance(refused, Err)
        assert refused.error.kind == kind
        assert why in refused.error.message
        assert server.asked("/create_model") == 0


def test_a_service_that_has_ended_is_an_error() -> None:
    with client(Scripted()) as ref:
        pass
    dead = verify_resume(ref, Program(), base_model="m")
    assert isinstance(dead, Err)
    assert dead.error.kind == "actor_dead"
