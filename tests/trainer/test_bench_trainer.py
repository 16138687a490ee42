"""The benchmark of the trainer runs in its tiny form, and its runs are whole; its timings mean nothing here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from tinkex.protocol import CheckpointPolicy, RetentionPolicy
from trainer_bench import measures
from trainer_bench.drivers import ReadyMade, bare, supervised
from trainer_bench.fake import URL, FakeServer, Marks, Service

BENCH = Path(__file__).parents[2] / "bench"


def test_the_benchmark_runs_whole_in_its_tiny_form_and_leaves_the_docs_alone(tmp_path: Path) -> None:
    document = BENCH.parent / "docs" / "benchmarks.md"
    before = document.read_bytes()
    kept = tmp_path / "figures.json"
    command = [sys.executable, "-m", "trainer_bench.run", "--tiny", "--json", str(kept)]
    done = subprocess.run(command, cwd=BENCH, check=True, capture_output=True, text=True, timeout=200, env=os.environ)
    lines = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert lines[0] == "what"
    assert len([line for line in lines if line.startswith("an update of")]) == 4
    assert len([line for line in lines if line.startswith("20 updates of")]) == 2
    assert lines[-3].startswith("memory after 60 updates")
    figures: dict[str, Any] = json.loads(kept.read_text())
    assert figures["memory"]["whole"] is True
    assert figures["memory"]["deleted"] == 3
    assert [len(found["with"]) for found in figures["checkpoints"]] == [2, 2]
    assert document.read_bytes() == before


def server(service: Service | None = None) -> tuple[FakeServer, Marks]:
    marks = Marks()
    return FakeServer(service or Service(), 2, 16, marks.note), marks


def test_both_sides_send_the_server_the_same_updates_in_order(tmp_path: Path) -> None:
    ours, our_marks = server()
    logged = supervised(ours, ReadyMade(12, 2, 16), 2, root=tmp_path)
    theirs, their_marks = server()
    total = bare(theirs, ReadyMade(12, 2, 16), 2)
    assert logged.updates == list(range(1, 13))
    assert total == logged.loss == 12 * 0.5 * 16 * 2
    assert (ours.steps, theirs.steps) == (12, 12)
    assert (ours.disorder, theirs.disorder) == ([], [])
    assert len(our_marks.ends) == len(their_marks.cpu) == 12
    assert not list(tmp_path.iterdir())


def test_checkpoints_of_the_benchmark_are_saved_committed_and_deleted_as_a_run_would(tmp_path: Path) -> None:
    ours, _ = server()
    policy = CheckpointPolicy(every_updates=2)
    logged = supervised(ours, ReadyMade(12, 2, 16), 2, policy, RetentionPolicy(keep_last=3), tmp_path)
    assert logged.manifests == len(ours.checkpoints) == 3
    assert ours.deleted == 3
    assert ours.disorder == []


async def post(to: FakeServer, route: str, **body: object) -> Any:
    sent = httpx.Request("POST", f"{URL}/api/v1{route}", content=msgspec.json.encode(body))
    return (await to.handle_async_request(sent)).json()


async def test_the_server_takes_requests_in_order_each_as_long_as_told() -> None:
    ours, marks = server(Service(100.0, 200.0, 1000.0))
    for number, path in enumerate(("forward_backward", "optim_step") * 2, start=1):
        await post(ours, f"/{path}", model_id="m", seq_id=number)
    assert marks.wall(1, 2) == pytest.approx(300.0)
    await post(ours, "/save_weights", model_id="m", seq_id=5, path="a")
    await post(ours, "/forward_backward", model_id="m", seq_id=6)
    await post(ours, "/optim_step", model_id="m", seq_id=7)
    assert marks.wall(2, 3) == pytest.approx(1300.0)
    assert ours.disorder == []


async def test_the_server_tells_of_what_came_out_of_order_or_twice() -> None:
    ours, _ = server()
    await post(ours, "/forward_backward", model_id="m", seq_id=1)
    await post(ours, "/optim_step", model_id="m", seq_id=3)
    await post(ours, "/optim_step", model_id="m", seq_id=3)
    assert ours.disorder == ["/optim_step 3 came where 2 was due", "/optim_step 3 came where 4 was due"]


def test_a_run_that_did_not_do_its_work_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    def lazy(to: FakeServer, program: ReadyMade, depth: int) -> float:
        assert program.updates is not None
        return bare(to, ReadyMade(program.updates - 1, 2, 16), depth)

    monkeypatch.setattr(measures, "bare", lazy)
    with pytest.raises(measures.WrongError, match="add up to"):
        measures.compare(measures.Setting("short", 0.0, 2, 6, 2, 16), 1)


def test_the_slope_is_in_mb_for_ten_thousand_updates() -> None:
    assert measures.slope([[1000 * n, 50.0 + 0.3 * n, 11, 13] for n in range(10)]) == pytest.approx(3.0)


def test_memory_that_grows_and_a_thread_too_many_miss_their_goals() -> None:
    samples = [[n * 1000, 50.0 + 0.3 * n, 11 + (n == 100), 13] for n in range(1, 101)]
    found = {"samples": samples, "slopes": [3.0, 3.0]}
    rows = measures.memory_rows(measures.Size(), found)
    assert [row.goal.split(": ")[1] for row in rows] == ["missed", "missed", "met"]


def test_a_stall_behind_a_save_misses_its_goal() -> None:
    arithmetic = {"with": 1.2, "without": 1.0}
    found: dict[str, Any] = {"step": 0.05, "save": 0.2, "arithmetic": arithmetic, "without": [1.0001] * 5}
    assert measures.checkpoint_rows({**found, "with": [1.2015] * 5})[0].goal.endswith(": met")
    assert measures.checkpoint_rows({**found, "with": [1.2041] * 5})[0].goal.endswith(": missed")
