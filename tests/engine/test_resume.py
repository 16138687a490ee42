"""Resume: a checkpoint goes on bit for bit, with its optimizer, and otherwise without."""

from pathlib import Path

import pytest

from support_engine import DATA, Body, Client, Model, logged, serving
from tinkex.engine._compute import _checkpoints, _compute


async def resumed(client: Client, path: str, how: str, *, optimizer: bool) -> Model:
    if how == "three steps":
        model = await client.model(seed=99)
        await model.load(path, optimizer=optimizer)
        return model
    body = {"session_id": client.session_id, "model_seq_id": 50, "path": path, "optimizer": optimizer}
    return Model(client, (await client.ok("load_weights", body))["model_id"])


async def finish(model: Model) -> list[Body]:
    """Three more updates, the first with what may be pending, and what the model says then."""
    answers = [await model.step()]
    for part in (DATA[2:], DATA[:3]):
        answers.append(await model.forward_backward(part))
        answers.append(await model.step())
    return [*answers, await model.forward(DATA)]


@pytest.mark.parametrize("how", ["three steps", "one request"])
@pytest.mark.parametrize("restart", [False, True])
async def test_a_resume_with_optimizer_is_exact(tmp_path: Path, how: str, restart: bool) -> None:
    """Weights, both moments, the step count and gradients that were still pending: every later bit is the same."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.train(DATA, 3)
        await model.forward_backward(DATA[:2])
        path = await model.save("middle")
        expected = await finish(model)
        if not restart:
            assert await finish(await resumed(client, path, how, optimizer=True)) == expected
            return
    async with serving(tmp_path) as client:
        await client.begin()
        assert await finish(await resumed(client, path, how, optimizer=True)) == expected


@pytest.mark.parametrize("how", ["three steps", "one request"])
async def test_a_resume_without_optimizer_keeps_the_weights_only(tmp_path: Path, how: str) -> None:
    """The same logprobs, a fresh optimizer, nothing pending: what follows differs."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.train(DATA, 3)
        await model.forward_backward(DATA[:2])
        path = await model.save("middle")
        expected = await model.forward(DATA)
        fresh = await resumed(client, path, how, optimizer=False)
        assert await fresh.forward(DATA) == expected
        step = await fresh.step()
        assert step["metrics"] == {"grad_norm:max": 0.0, "step:max": 1.0}
        assert await fresh.forward(DATA) == expected
        await model.step()
        assert await model.forward(DATA) != expected


async def test_a_load_under_other_conditions_works_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bits are not promised then, and silence would promise them."""
    async with serving(tmp_path) as client:
        model = await client.model()
        path = await model.save("x")
        with logged() as log:
            await resumed(client, path, "one request", optimizer=True)
        assert "other conditions" not in repr(log)
        other = _checkpoints.Conditions("0.0", "other", 9)

        def conditions(_device: object) -> _checkpoints.Conditions:
            return other

        monkeypatch.setattr(_compute, "conditions", conditions)
        with logged() as log:
            await resumed(client, path, "three steps", optimizer=True)
        assert "other conditions" in repr(log)


async def test_saving_changes_nothing(tmp_path: Path) -> None:
    """A run with saves in it ends with the bits of one without."""
    async with serving(tmp_path) as client:
        with_saves, without = await client.model(), await client.model()
        for number in range(2):
            for model in (with_saves, without):
                await model.forward_backward(DATA)
            await with_saves.save(f"pending-{number}")
            for model in (with_saves, without):
                await model.step()
            await with_saves.save(f"stepped-{number}")
        assert await with_saves.forward(DATA) == await without.forward(DATA)


async def test_a_resumed_run_saves_the_same_bytes(tmp_path: Path) -> None:
    """Save, load, save: the files of tensors are identical."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.train(DATA, 2)
        await model.forward_backward(DATA)
        path = await model.save("one")
        await (await resumed(client, path, "three steps", optimizer=True)).save("two")
        rows = client.engine.store.checkpoints.page("", 2, 0, 0.0)[0]
        for file in ("adapter_model.safetensors", "optimizer.safetensors"):
            one, two = ((tmp_path / "checkpoints" / row.folder / file).read_bytes() for row in rows)
            assert one == two
