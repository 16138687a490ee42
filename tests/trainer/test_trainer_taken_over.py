"""A trainer whose run was taken over says so, whatever its ended session made a server answer."""

from pathlib import Path

import httpx

from support_clients import Faults
from support_trainer import Gate, Program, config, trainer
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import Err, messages

FAILED = {"error": "forward_backward did not run: whatever a server says then", "category": "user"}


def how_it_ends(url: str, folder: Path, *, taken_over: bool) -> str:
    failing = False

    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        polls = request.url.path.endswith("/retrieve_future")
        return httpx.Response(200, json=FAILED) if failing and polls else None

    gate = Gate(4)
    with trainer(config(folder, url, Program(gate=gate)), Faults(rule)) as ref:
        assert gate.reached.wait(30.0)
        if taken_over:
            store = RunStore.open(folder / "runs")
            store.take("r", reason="a test takes it")
            store.close()
        failing = True
        gate.open.set()
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        failing = False  # so that the service can end in order
    assert isinstance(ended, Err), ended
    return ended.error.kind


def test_a_failure_behind_a_takeover_is_the_takeover(url: str, tmp_path: Path) -> None:
    assert how_it_ends(url, tmp_path, taken_over=True) == "fenced"


def test_a_failure_of_a_run_that_is_still_ones_own_is_told_as_it_is(url: str, tmp_path: Path) -> None:
    assert how_it_ends(url, tmp_path, taken_over=False) == "request_failed"
