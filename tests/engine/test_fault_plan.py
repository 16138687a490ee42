"""Faults on request: each kind does what it says, and a seed repeats them."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_engine import DATA, Client, serving
from support_engine_url import engine_url
from tinkex.engine import EngineError, FaultPlan
from tinkex.engine._base._fault_plan import BURST, KINDS, Hit
from tinkex.engine._http._fault_app import place_of


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["meteor"], "unknown fault 'meteor'; known: delay"),
        (["delay=often"], "KIND or KIND=RATE"),
        (["delay=1.5"], "0 to 1"),
        (["delay=-0.1"], "0 to 1"),
        (["delay=nan"], "0 to 1"),
        (["=1"], "unknown fault ''"),
    ],
)
def test_a_fault_that_is_none_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(EngineError, match=says.replace("''", "\\'\\'")):
        FaultPlan.parse(texts, 0)


OCCASIONS = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.sampled_from(["a", "b"])), max_size=60)


@given(OCCASIONS, OCCASIONS, st.integers(0, 2**40))
def test_what_is_hit_depends_on_seed_and_count_and_not_on_what_comes_between(
    mine: list[tuple[str, str]], others: list[tuple[str, str]], seed: int
) -> None:
    alone, mixed = (FaultPlan(dict.fromkeys(KINDS, 0.3), seed) for _ in range(2))
    first = [alone.hit(kind, place) for kind, place in mine]
    second: list[Hit | None] = []
    for index, (kind, place) in enumerate(mine):
        for other_kind, other_place in others[index : index + 2]:
            mixed.hit(other_kind, f"other {other_place}")
        second.append(mixed.hit(kind, place))
    assert first == second
    assert alone.trace == [hit for hit in first if hit is not None]
    assert [alone.share(hit) for hit in alone.trace] == [mixed.share(hit) for hit in alone.trace]


def test_rates_are_shares_and_seeds_differ() -> None:
    plan = FaultPlan.parse(["delay=0.25", "lost_reply"], 3)
    counts = {kind: sum(plan.hit(kind, "x") is not None for _ in range(4000)) for kind in ("delay", "lost_reply")}
    assert 900 < counts["delay"] < 1100
    assert 150 < counts["lost_reply"] < 250
    assert [FaultPlan({"delay": 0.5}, seed).hit("delay", "x") is None for seed in range(64)].count(True) in range(
        16, 49
    )


def test_bursts_hit_requests_in_a_row() -> None:
    plan = FaultPlan({"error": 0.3}, 1)
    hits = [plan.hit("error", "x") is not None for _ in range(40 * BURST)]
    blocks = {tuple(hits[begin : begin + BURST]) for begin in range(0, len(hits), BURST)}
    assert blocks == {(True,) * BURST, (False,) * BURST}


def test_the_guide_says_what_each_kind_does() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "guides" / "faults.md").read_text()
    for kind, meaning in KINDS.items():
        assert f"| `{kind}` | {meaning} |\n" in guide


def test_faults_are_counted_by_endpoint() -> None:
    assert place_of("/api/v1/optim_step") == "optim_step"
    assert place_of("/api/v1/training_runs/x/checkpoints") == "training_runs"
    assert place_of("/") == ""


@pytest.mark.parametrize(("kind", "status"), [("error", 503), ("rate_limit", 429)])
async def test_a_refused_request_is_not_handled(tmp_path: Path, kind: str, status: int) -> None:
    async with serving(tmp_path, faults=FaultPlan({kind: 1.0})) as client:
        response = await client.send("create_session", {})
        assert response.status_code == status
        assert ("retry-after-ms" in response.headers) is (status == 429)
        assert (await client.get("healthz"))["sessions"] == 0


def test_a_lost_reply_was_handled(tmp_path: Path) -> None:
    """Over a socket, because the connection is what breaks."""
    with engine_url(tmp_path, faults=FaultPlan({"lost_reply": 1.0})) as url, httpx.Client(base_url=url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            http.post("/api/v1/create_session", json={})
        assert http.get("/api/v1/healthz").json()["sessions"] == 1


def test_a_slow_answer_is_whole(tmp_path: Path) -> None:
    with engine_url(tmp_path, faults=FaultPlan({"slow_body": 1.0, "delay": 1.0})) as url:
        answer = httpx.get(f"{url}/api/v1/get_server_capabilities", timeout=30).json()
        assert answer["supported_models"][0]["model_name"]
        assert httpx.get(f"{url}/api/v1/nope", timeout=30).status_code == 404


async def test_a_poll_is_told_of_a_pause(tmp_path: Path) -> None:
    async with serving(tmp_path, faults=FaultPlan({"capacity_pause": 0.5}, 1)) as client:
        states: list[Any] = []
        future = await client.post("create_model", {**await lora(client), "model_seq_id": 0})
        while (answer := await client.post("retrieve_future", future)).get("type") == "try_again":
            states.append((answer["queue_state"], answer["queue_state_reason"]))
        assert answer["type"] == "create_model"
        assert set(states) <= {("paused_capacity", "a fault on request")}


async def lora(client: Client) -> dict[str, Any]:
    models = (await client.get("get_server_capabilities"))["supported_models"]
    return {"session_id": await client.begin(), "base_model": models[0]["model_name"], "lora_config": {"rank": 4}}


async def test_a_session_expires_at_its_heartbeat(tmp_path: Path) -> None:
    async with serving(tmp_path, faults=FaultPlan({"session_expiry": 1.0})) as client:
        model = await client.model()
        assert "expired" in await client.refused("session_heartbeat", {"session_id": client.session_id}, 410)
        await client.until("models", 0)
        assert "unloaded" in await client.refused("optim_step", model.body(adam_params={}), 410)


SERVE = "from tinkex.cli import main; main()"


def test_a_crash_between_write_and_record_leaves_no_checkpoint(tmp_path: Path) -> None:
    options = ["--port", "0", "--root", str(tmp_path), "--fault", "crash_in_save=1", "--fault-seed", "7"]
    command = [sys.executable, "-c", SERVE, "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        asyncio.run(save_and_lose(running.stdout.readline().split()[-1]))
        assert running.wait(30) == -signal.SIGKILL
    asyncio.run(find_nothing(tmp_path))


async def save_and_lose(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        model = await Client(http).model()
        await model.train(DATA, 1)
        with pytest.raises(httpx.TransportError):
            await model.save("never")


async def find_nothing(root: Path) -> None:
    async with serving(root) as client:
        assert (await client.get("checkpoints"))["checkpoints"] == []
        assert list((root / "checkpoints").iterdir()) == []
