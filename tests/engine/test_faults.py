"""Disks that fail, files that are damaged, processes that end: nothing half written, and the engine lives."""

import asyncio
import errno
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load, save

from support_engine import DATA, Clock, Model, create_model, serving
from tinkex.engine._service import _upkeep
from tinkex.engine._store import _database, _root
from tinkex.engine._store._checkpoint_table import CheckpointTable
from tinkex.engine._store._records import CheckpointRow

KEY = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight"


def leftovers(root: Path) -> list[str]:
    return [entry.name for folder in ("checkpoints", "unfinished") for entry in (root / folder).iterdir()]


def full(*_args: Any, **_kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def break_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(_self: object) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(_database.Database, "transaction", commit)


BREAKS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "begin": lambda patch: patch.setattr(_root.Root, "begin", full),
    "write": lambda patch: patch.setattr(os, "fsync", full),
    "rename": lambda patch: patch.setattr(os, "replace", full),
    "record": break_database,
}


@pytest.mark.parametrize("where", BREAKS)
async def test_a_save_that_the_disk_refuses_fails_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Wherever it stops: a failed future of the server's, no files, the model as good as before."""
    async with serving(tmp_path) as client:
        model, twin = await client.model(), await client.model()
        with monkeypatch.context() as patch:
            BREAKS[where](patch)
            error = await client.failure("save_weights", model.body(path="x"))
        assert error["category"] == "server"
        assert "full" in error["message"] or "No space left" in error["message"]
        assert leftovers(tmp_path) == []
        assert (await client.get("checkpoints"))["checkpoints"] == []
        for trained in (model, twin):
            await trained.train(DATA, 1)
        path = await model.save("x")
        assert await model.forward(DATA) == await twin.forward(DATA)
        assert [entry["tinker_path"] for entry in (await client.get("checkpoints"))["checkpoints"]] == [path]


async def test_an_overwrite_that_fails_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old or the new one, never neither."""
    async with serving(tmp_path) as client:
        model = await client.model()
        path = await model.save("x")
        expected = await model.forward(DATA)
        await model.train(DATA, 1)
        for where in BREAKS.values():
            with monkeypatch.context() as patch:
                where(patch)
                await client.failure("save_weights", model.body(path="x", overwrite=True))
        other = await client.model()
        await other.load(path, optimizer=True)
        assert await other.forward(DATA) == expected


async def test_a_session_or_model_that_cannot_be_kept_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 for the session, a failed future for the model, and neither is counted."""
    async with serving(tmp_path) as client:
        session_id = await client.begin()
        with monkeypatch.context() as patch:
            break_database(patch)
            assert "cannot be kept" in await client.refused("create_session", {}, 503)
            error = await client.failure("create_model", create_model(session_id))
            assert "cannot be kept" in error["message"]
        assert (
            "has no weights"
            in (await client.failure("optim_step", Model(client, f"{session_id}:train:0").body(adam_params={})))[
                "message"
            ]
        )
        health = await client.get("healthz")
        assert (health["sessions"], health["adapter_bytes"]) == (1, 0)
        await client.ok("create_model", create_model(session_id, 1))


async def test_a_sweep_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine goes on."""
    failed = threading.Semaphore(0)

    def delete_expired(_self: CheckpointTable, _now: float) -> list[str]:
        failed.release()
        raise sqlite3.OperationalError("locked")

    monkeypatch.setattr(CheckpointTable, "delete_expired", delete_expired)
    async with serving(tmp_path):
        for _ in range(2):
            assert await asyncio.to_thread(failed.acquire, timeout=20)


def drop_tensor(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load(file.read_bytes())
    del tensors[KEY]
    file.write_bytes(save(tensors))


def drop_tensor_and_record(folder: Path) -> None:
    drop_tensor(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["adapter_model.safetensors"][KEY]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_tensor(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    tensors = load(file.read_bytes())
    tensors[KEY][0, 0] += 1.0
    file.write_bytes(save(tensors))


def drop_moment(folder: Path) -> None:
    file = folder / "optimizer.safetensors"
    file.write_bytes(save({"exp_avg": load(file.read_bytes())["exp_avg"]}))
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["optimizer.safetensors"]["exp_avg_sq"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def flip_byte(folder: Path) -> None:
    file = folder / "optimizer.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def truncate(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    os.truncate(file, file.stat().st_size // 2)


def forget_optimizer(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "has_optimizer": False}))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "tensor missing": (drop_tensor, f"tensor {KEY} is missing"),
    "tensor missing everywhere": (drop_tensor_and_record, f"tensor {KEY} is missing or not of shape"),
    "tensor changed": (change_tensor, f"tensor {KEY} in its adapter_model.safetensors does not have the values"),
    "moment missing": (drop_moment, "tensor exp_avg_sq is missing"),
    "byte flipped": (flip_byte, "in its optimizer.safetensors does not have the values"),
    "file cut": (truncate, "its adapter_model.safetensors cannot be read"),
    "file missing": (lambda folder: (folder / "optimizer.safetensors").unlink(), "its optimizer.safetensors cannot"),
    "manifest missing": (lambda folder: (folder / "manifest.json").unlink(), "its manifest.json cannot be read"),
    "manifest torn": (lambda folder: (folder / "manifest.json").write_bytes(b"{"), "its manifest.json cannot be read"),
    "folder missing": (shutil.rmtree, "its manifest.json cannot be read"),
    "optimizer unknown": (forget_optimizer, "has no optimizer state"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_checkpoint_fails_its_load_and_nothing_else(tmp_path: Path, damage: str) -> None:
    """The error names the tensor or file; the model is not half loaded; others go on."""
    break_, sentence = DAMAGES[damage]
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.train(DATA, 1)
        path = await model.save("x")
        (folder,) = (tmp_path / "checkpoints").iterdir()
        break_(folder)
        other, fresh = await client.model(), await client.model()
        error = await client.failure("load_weights", other.body(path=path, optimizer=True))
        assert f"{path} was not loaded" in error["message"]
        assert sentence in error["message"]
        assert await other.forward(DATA) == await fresh.forward(DATA)
        by_session = {"session_id": client.session_id, "model_seq_id": 60, "path": path, "optimizer": True}
        await client.failure("load_weights", by_session)
        assert (await client.get("healthz"))["adapter_bytes"] == 3 * 192512
        await model.train(DATA, 1)


async def test_models_of_a_former_process_are_corrupted_and_say_what_to_do(tmp_path: Path) -> None:
    """Runs stay listed with their last checkpoint; requests to them fail at once and name it."""
    async with serving(tmp_path) as client:
        model, bare, unloaded = await client.model(), await client.model(), await client.model()
        session_id = client.session_id
        await model.train(DATA, 1)
        path = await model.save("x")
        await client.ok("unload_model", {"model_id": unloaded.model_id})
    async with serving(tmp_path) as client:
        runs = {run["training_run_id"]: run for run in (await client.get("training_runs"))["training_runs"]}
        assert [runs[m.model_id]["corrupted"] for m in (model, bare, unloaded)] == [True, True, False]
        assert runs[model.model_id]["last_checkpoint"]["tinker_path"] == path
        assert "last_checkpoint" not in runs[bare.model_id]
        detail = await client.refused("optim_step", model.body(adam_params={}), 410)
        assert "were lost when the server stopped" in detail
        assert f"load {path}" in detail
        assert "no checkpoint" in await client.refused("get_info", {"model_id": bare.model_id}, 410)
        assert "was unloaded" in await client.refused("get_info", {"model_id": unloaded.model_id}, 410)
        assert "were lost" in await client.refused("unload_model", {"model_id": model.model_id}, 410)
        detail = await client.refused("session_heartbeat", {"session_id": session_id}, 410)
        assert "ended when the server stopped" in detail


async def test_a_committed_save_answers_after_a_restart(tmp_path: Path) -> None:
    """Its repeat, and polls for its result, although its model is gone; another body under the number does not."""
    async with serving(tmp_path) as client:
        model = await client.model()
        bodies = {
            "save_weights": model.body(path="x"),
            "save_weights_for_sampler": model.body(path="y", kind="snapshot"),
        }
        receipts = {operation: await client.post(operation, body) for operation, body in bodies.items()}
        results = {operation: await client.result(receipt) for operation, receipt in receipts.items()}
    async with serving(tmp_path) as client:
        for operation, body in bodies.items():
            assert await client.post(operation, body) == receipts[operation]
            assert await client.result(receipts[operation]) == results[operation]
            await client.refused(operation, {**body, "path": "z"}, 410)


async def test_what_no_row_knows_is_swept_at_start(tmp_path: Path) -> None:
    """Folders of saves that were cut off; and rows whose folder is gone are not listed."""
    async with serving(tmp_path) as client:
        model = await client.model()
        kept, lost = await model.save("kept"), await model.save("lost")
        rows = {row.path: row for row in client.engine.store.checkpoints.page("", 9, 0, 0.0)[0]}
    (tmp_path / "unfinished" / "half").mkdir()
    (tmp_path / "checkpoints" / "orphan").mkdir()
    (tmp_path / "checkpoints" / "orphan" / "adapter_model.safetensors").write_bytes(b"x")
    shutil.rmtree(tmp_path / "checkpoints" / rows[lost].folder)
    async with serving(tmp_path) as client:
        assert leftovers(tmp_path) == [rows[kept].folder]
        assert [entry["tinker_path"] for entry in (await client.get("checkpoints"))["checkpoints"]] == [kept]


async def test_expired_sessions_end_even_if_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is freed first."""
    clock = Clock()
    async with serving(tmp_path, clock, session_timeout=10.0) as client:
        await client.begin()
        clock.now += 10.0
        with monkeypatch.context() as patch:
            break_database(patch)
            with pytest.raises(sqlite3.OperationalError):
                await _upkeep.sweep(client.engine)
        assert (await client.get("healthz"))["sessions"] == 0
        assert "has ended" in await client.refused("session_heartbeat", {"session_id": client.session_id}, 410)


async def test_a_save_is_on_disk_before_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file, then their folder, then the rename, then the folder above, then the row."""
    steps: list[str] = []
    fsync, replace, put = os.fsync, os.replace, CheckpointTable.put

    def noting_fsync(handle: int) -> None:
        steps.append(Path(f"/proc/self/fd/{handle}").readlink().name)
        fsync(handle)

    def noting_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    def noting_put(table: CheckpointTable, row: CheckpointRow) -> str | None:
        steps.append("row")
        return put(table, row)

    async with serving(tmp_path) as client:
        model = await client.model()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", noting_fsync)
            patch.setattr(os, "replace", noting_replace)
            patch.setattr(CheckpointTable, "put", noting_put)
            await model.save("x")
    (folder,) = (tmp_path / "checkpoints").iterdir()
    files = ["adapter_model.safetensors", "optimizer.safetensors", "adapter_config.json", "manifest.json"]
    assert sorted(steps[:4]) == sorted(files) == sorted(file.name for file in folder.iterdir())
    assert steps[4:] == [folder.name, "rename", "checkpoints", "row"]
