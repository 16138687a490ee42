"""A session that was finished trains and saves no more, whoever still holds its models: a zombie's steps go nowhere."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_engine import DATA, Body, Client, Model, create_model, pass_input, serving
from tinkex.engine._compute._compute import Compute

FINISH: Body = {"reason": {"type": "success"}, "detail": "taken over"}
ADAM: Body = {"learning_rate": 1e-2}

NUMBERED: dict[str, Body] = {
    "forward": {"forward_input": pass_input(DATA)},
    "forward_backward": {"forward_backward_input": pass_input(DATA)},
    "optim_step": {"adam_params": ADAM},
    "save_weights": {"path": "zombie"},
    "save_weights_for_sampler": {"path": "zombie"},
    "save_weights_external": {"path": "zombie"},
    "load_weights": {"path": "tinker://nobody/weights/none", "optimizer": True},
}


class Held:
    """A method of the compute part that waits in the compute thread until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.entered, self._gate = threading.Event(), threading.Event()
        original: Any = getattr(Compute, name)

        def held(compute: Compute, *arguments: Any, **options: Any) -> Any:
            self.entered.set()
            assert self._gate.wait(20)
            return original(compute, *arguments, **options)

        monkeypatch.setattr(Compute, name, held)

    async def runs(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 20)

    def let_go(self) -> None:
        self._gate.set()


async def finish(client: Client, session_id: str) -> httpx.Response:
    return await client.send(f"sessions/{session_id}/finish", FINISH)


async def names(client: Client) -> set[str]:
    return {entry["checkpoint_id"] for entry in (await client.get("checkpoints?limit=100"))["checkpoints"]}


@pytest.mark.parametrize("path", NUMBERED)
@pytest.mark.parametrize("unloaded", [False, True], ids=["while-unloading", "once-unloaded"])
async def test_every_request_of_a_finished_session_is_410(tmp_path: Path, path: str, unloaded: bool) -> None:
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.train(DATA, 1)
        await finish(client, client.session_id)
        if unloaded:
            await client.until("models", 0)
        assert "was unloaded" in await client.refused(path, model.body(**NUMBERED[path]), 410)
        beat = {"session_id": client.session_id}
        assert "is finished" in await client.refused("session_heartbeat", beat, 410)
        assert "is finished" in await client.refused("create_model", create_model(client.session_id, 7), 410)
        assert await names(client) == set()


@pytest.mark.parametrize("path", [path for path in NUMBERED if path != "load_weights"])
async def test_what_was_queued_does_not_run(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what waits for a number that is missing."""
    held = Held(monkeypatch, "step")
    async with serving(tmp_path) as client:
        model = await client.model()
        running = await client.post("optim_step", model.body(adam_params=ADAM))
        queued = await client.post(path, model.body(**NUMBERED[path]))
        model.seq_id += 1
        waiting = await client.post(path, model.body(**NUMBERED[path]))
        await held.runs()
        finishing = asyncio.create_task(finish(client, client.session_id))
        for future in (queued, waiting):
            answer = await client.result(future)
            assert answer["status"] == "failed", answer
        held.let_go()
        assert (await finishing).status_code == 200
        assert "error" not in await client.result(running)
        assert await names(client) == set()


@pytest.mark.parametrize("repeated", [False, True], ids=["once", "repeated"])
@pytest.mark.parametrize("name", ["save", "step", "run"])
async def test_a_finish_is_answered_only_when_what_was_running_has_ended(
    tmp_path: Path, name: str, repeated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So whoever finished it finds what the zombie saved, and nothing comes after; a repeat does not answer early."""
    held = Held(monkeypatch, name)
    path = {"save": "save_weights", "step": "optim_step", "run": "forward_backward"}[name]
    async with serving(tmp_path) as client:
        model = await client.model()
        running = await client.post(path, model.body(**NUMBERED[path]))
        await held.runs()
        finishing = [asyncio.create_task(finish(client, client.session_id)) for _ in range(2 if repeated else 1)]
        await client.until_ended(client.session_id)
        assert not any(task.done() for task in finishing)
        held.let_go()
        for task in finishing:
            assert (await task).status_code == 200
        assert await names(client) == ({"weights/zombie"} if name == "save" else set())
        assert "error" not in await client.result(running)


async def test_a_finish_waits_for_no_other_sessions_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as client:
        await client.model()
        first, client.session_id = client.session_id, ""
        other = await client.model()
        held = Held(monkeypatch, "step")
        running = await client.post("optim_step", other.body(adam_params=ADAM))
        await held.runs()
        assert (await finish(client, first)).status_code == 200
        held.let_go()
        assert "error" not in await client.result(running)


async def test_a_finish_whose_asker_is_gone_leaves_the_next_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch, "save")
    async with serving(tmp_path) as client:
        model = await client.model()
        await client.post("save_weights", model.body(path="zombie"))
        await held.runs()
        first = asyncio.create_task(finish(client, client.session_id))
        await client.until_ended(client.session_id)
        first.cancel()
        second = asyncio.create_task(finish(client, client.session_id))
        await asyncio.wait([first])
        held.let_go()
        assert (await second).status_code == 200
        assert await names(client) == {"weights/zombie"}


async def test_a_model_that_was_being_made_trains_nothing_afterwards(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        await client.begin()
        made = await client.post("create_model", create_model(client.session_id))
        zombie = Model(client, made["model_id"])
        assert (await finish(client, client.session_id)).status_code == 200
        answer = await client.send("optim_step", zombie.body(adam_params=ADAM))
        assert answer.status_code in {404, 410}, "it was made and unloaded, or never made"
        await client.until("models", 0)
