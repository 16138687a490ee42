"""Checkpoints over HTTP: saved, listed, loaded, expired, deleted."""

import asyncio
import json
from datetime import datetime
from pathlib import Path

import pytest

from support_engine import DATA, Body, Client, Clock, paused, serving
from tinkex.engine import BUILTIN_MODEL
from tinkex.engine._service import _upkeep


async def listed(client: Client) -> list[str]:
    return [checkpoint["tinker_path"] for checkpoint in (await client.get("checkpoints"))["checkpoints"]]


def folders(root: Path) -> int:
    return len(list((root / "checkpoints").iterdir()))


async def test_a_save_is_listed_and_described(tmp_path: Path) -> None:
    """With its size, time, metadata and true train flags."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=8, train_mlp=False)
        await model.train(DATA, 1)
        path = await model.save("ckpt-1", user_metadata={"k": "v"})
        assert path == f"tinker://{model.model_id}/weights/ckpt-1"
        (entry,) = (await client.get("checkpoints"))["checkpoints"]
        assert (entry["checkpoint_id"], entry["checkpoint_type"]) == ("weights/ckpt-1", "training")
        assert (entry["tinker_path"], entry["user_metadata"], entry["public"]) == (path, {"k": "v"}, False)
        assert datetime.fromisoformat(entry["time"]).tzinfo is not None
        assert "expires_at" not in entry
        (folder,) = (tmp_path / "checkpoints").iterdir()
        assert entry["size_bytes"] == sum(file.stat().st_size for file in folder.iterdir())
        info = await client.post("weights_info", {"tinker_path": path})
        assert info == {
            "base_model": BUILTIN_MODEL,
            "is_lora": True,
            "lora_rank": 8,
            "train_unembed": True,
            "train_mlp": False,
            "train_attn": True,
        }


async def test_the_adapter_file_has_pefts_names_and_config(tmp_path: Path) -> None:
    """What PEFT reads: keys by module, rank, alpha, targets."""
    from safetensors.torch import load

    async with serving(tmp_path) as client:
        await (await client.model(train_attn=False)).save("x")
    (folder,) = (tmp_path / "checkpoints").iterdir()
    tensors = load((folder / "adapter_model.safetensors").read_bytes())
    assert tuple(tensors["base_model.model.lm_head.lora_B.weight"].shape) == (512, 4)
    assert tuple(tensors["base_model.model.model.layers.1.mlp.down_proj.lora_A.weight"].shape) == (4, 192)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 4, 32)
    assert config["target_modules"] == ["down_proj", "gate_proj", "lm_head", "up_proj"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["conditions"]["threads"], manifest["has_pending_gradients"]) == (1, 1, False)


async def test_saving_under_a_taken_name_fails_and_names_the_conflict(tmp_path: Path) -> None:
    """As a failed future of the user's; the model goes on; the old checkpoint stays."""
    async with serving(tmp_path) as client:
        model = await client.model()
        path = await model.save("x")
        error = await client.failure("save_weights", model.body(path="x"))
        assert error == {
            "message": f"checkpoint {path} already exists; save under another name, or overwrite it",
            "category": "user",
            "code": "exists",
        }
        await model.train(DATA, 1)
        assert await listed(client) == [path]
        assert folders(tmp_path) == 1


async def test_a_repeat_of_a_save_is_recognised_before_the_name(tmp_path: Path) -> None:
    """It is the same save, not a conflict with itself."""
    async with serving(tmp_path) as client:
        model = await client.model()
        body = model.body(path="x")
        assert await client.ok("save_weights", body) == await client.ok("save_weights", body)


async def test_overwrite_replaces_weights_and_metadata(tmp_path: Path) -> None:
    """The old files are gone afterwards."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.save("x", user_metadata={"a": "1"})
        await model.train(DATA, 1)
        path = await model.save("x", overwrite=True)
        (entry,) = (await client.get("checkpoints"))["checkpoints"]
        assert "user_metadata" not in entry
        assert folders(tmp_path) == 1
        expected = await model.forward(DATA)
        twin = await client.model()
        await twin.load(path, optimizer=False)
        assert await twin.forward(DATA) == expected


async def test_sampler_weights_are_a_kind_of_their_own(tmp_path: Path) -> None:
    """Same name, other kind; no optimizer; not to be trained on, and the error names the twin."""
    async with serving(tmp_path) as client:
        model = await client.model()
        twin = await model.save("x")
        saved = await client.ok("save_weights_for_sampler", model.body(path="x", kind="snapshot"))
        assert saved == {
            "path": f"tinker://{model.model_id}/sampler_weights/x",
            "type": "save_weights_for_sampler",
        }
        run = await client.get(f"training_runs/{model.model_id}")
        assert run["last_checkpoint"]["tinker_path"] == twin
        assert run["last_sampler_checkpoint"]["checkpoint_type"] == "sampler"
        for path, body in (
            ("weights_info", {"tinker_path": saved["path"]}),
            ("load_weights", {"session_id": client.session_id, "model_seq_id": 9, "path": saved["path"]}),
        ):
            assert twin in await client.refused(path, body)


async def test_runs_and_checkpoints_are_paged_newest_first(tmp_path: Path) -> None:
    """With a cursor that tells the total."""
    async with serving(tmp_path) as client:
        models = [await client.model(rank=1) for _ in range(3)]
        paths = [await model.save(f"c{i}") for model in models for i in range(2)]
        pages = [await client.get(f"checkpoints?limit=4&offset={offset}") for offset in (0, 4, 8)]
        found = [entry["tinker_path"] for page in pages for entry in page["checkpoints"]]
        assert found == paths[::-1]
        assert [page["cursor"] for page in pages] == [
            {"offset": offset, "limit": 4, "total_count": 6} for offset in (0, 4, 8)
        ]
        runs = await client.get("training_runs?limit=2&offset=1")
        assert [run["training_run_id"] for run in runs["training_runs"]] == [m.model_id for m in models[1::-1]]
        assert runs["cursor"] == {"offset": 1, "limit": 2, "total_count": 3}
        assert runs["training_runs"][0]["lora_rank"] == 1
        own = await client.get(f"training_runs/{models[0].model_id}/checkpoints")
        assert [entry["checkpoint_id"] for entry in own["checkpoints"]] == ["weights/c1", "weights/c0"]
        run = await client.get(f"training_runs/{models[0].model_id}")
        assert (run["corrupted"], run["is_lora"]) == (False, True)
        assert run["last_checkpoint"]["checkpoint_id"] == "weights/c1"


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", "limit=x", "limit=", "offset=99999999999999"])
async def test_senseless_pages_are_refused(tmp_path: Path, query: str) -> None:
    """400 that names the parameter."""
    async with serving(tmp_path) as client:
        response = await client.http.get(f"/api/v1/checkpoints?{query}")
        assert response.status_code == 400
        assert query.partition("=")[0] in response.json()["detail"]


async def test_a_deleted_checkpoint_is_gone(tmp_path: Path) -> None:
    """From the lists, from the disk, and for loads; deleting it again is 404; the name is free again."""
    async with serving(tmp_path) as client:
        model = await client.model()
        path = await model.save("x")
        url = f"/api/v1/training_runs/{model.model_id}/checkpoints/weights/x"
        assert (await client.http.delete(url)).status_code == 200
        assert await listed(client) == []
        assert folders(tmp_path) == 0
        assert (await client.http.delete(url)).status_code == 404
        assert path in await client.refused("weights_info", {"tinker_path": path}, 404)
        await model.save("x")


async def test_checkpoints_expire(tmp_path: Path) -> None:
    """After their ttl they are not there, and the sweep removes the files."""
    clock = Clock()
    async with serving(tmp_path, clock, session_timeout=1e6) as client:
        model = await client.model()
        path = await model.save("short", ttl_seconds=1)
        kept = await model.save("kept", ttl_seconds=100)
        assert (await client.get("checkpoints"))["checkpoints"][1]["expires_at"].endswith("Z")
        clock.now += 1.0
        assert await listed(client) == [kept]
        await client.refused("weights_info", {"tinker_path": path}, 404)
        assert folders(tmp_path) == 2
        await _upkeep.sweep(client.engine)
        assert folders(tmp_path) == 1
        await model.save("short")


async def test_the_ttl_can_be_changed_and_removed(tmp_path: Path) -> None:
    """From now on; null removes the expiry; 404 where there is nothing."""
    clock = Clock()
    async with serving(tmp_path, clock, session_timeout=1e6) as client:
        model = await client.model()
        await model.save("x", ttl_seconds=10)
        url = f"/api/v1/training_runs/{model.model_id}/checkpoints/weights"
        clock.now += 9.0
        assert (await client.http.put(f"{url}/x/ttl", json={"ttl_seconds": 10})).status_code == 200
        clock.now += 9.0
        assert len(await listed(client)) == 1
        assert (await client.http.put(f"{url}/x/ttl", json={"ttl_seconds": None})).status_code == 200
        clock.now += 1e6
        (entry,) = (await client.get("checkpoints"))["checkpoints"]
        assert "expires_at" not in entry
        assert (await client.http.put(f"{url}/y/ttl", json={"ttl_seconds": 10})).status_code == 404
        for bad in (0, -1, "1h", 1.5, True, 10**10):
            assert (await client.http.put(f"{url}/x/ttl", json={"ttl_seconds": bad})).status_code == 400, bad
        assert (await client.http.put(f"{url}/x/ttl", json={})).status_code == 400


async def test_what_is_still_being_written_can_be_waited_for(tmp_path: Path) -> None:
    """425 until the save has ended; then the load works."""
    async with serving(tmp_path) as client:
        model, other = await client.model(), await client.model()
        with paused(client.engine):
            saves = [await client.post("save_weights", model.body(path="x", overwrite=True)) for _ in range(2)]
            path = f"tinker://{model.model_id}/weights/x"
            assert "still being written" in await client.refused("weights_info", {"tinker_path": path}, 425)
            body = other.body(path=path, optimizer=True)
            response = await client.send("load_weights", body)
            assert (response.status_code, response.headers["retry-after"]) == (425, "1")
        await asyncio.gather(*map(client.result, saves))
        assert await client.ok("load_weights", body) == {
            "path": path,
            "model_id": other.model_id,
            "type": "load_weights",
        }
        assert client.engine.saving == {}


async def test_a_load_must_be_the_first_request(tmp_path: Path) -> None:
    """Any other number is a 400 that names the way out, and uses up no number."""
    async with serving(tmp_path) as client:
        model = await client.model()
        path = await model.save("x")
        detail = await client.refused("load_weights", model.body(path=path, optimizer=True))
        assert "not permitted with seq_id 2" in detail
        assert "create a new model" in detail


@pytest.mark.parametrize("lora", [{"rank": 5}, {"train_mlp": False}])
async def test_a_load_into_another_shape_is_refused(tmp_path: Path, lora: Body) -> None:
    """With both shapes named."""
    async with serving(tmp_path) as client:
        path = await (await client.model()).save("x")
        other = await client.model(**lora)
        detail = await client.refused("load_weights", other.body(path=path, optimizer=True))
        assert "rank 4 on attn+mlp+unembed" in detail
        assert other.model_id in detail


async def test_a_model_can_be_made_from_a_checkpoint_at_once(tmp_path: Path) -> None:
    """By session: its shape is the checkpoint's, its numbers begin at 1, a repeat makes no second one."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=2, train_unembed=False)
        await model.train(DATA, 2)
        path = await model.save("x")
        expected = await model.forward(DATA)
        body = {"session_id": client.session_id, "model_seq_id": 7, "path": path, "optimizer": True}
        made = await client.ok("load_weights", body)
        assert made == {"path": path, "model_id": f"{client.session_id}:train:7", "type": "load_weights"}
        assert await client.ok("load_weights", body) == made
        assert "another request" in await client.refused("load_weights", {**body, "optimizer": False})
        from support_engine import Model

        assert await Model(client, made["model_id"]).forward(DATA) == expected
        info = await client.post("get_info", {"model_id": made["model_id"]})
        assert info["lora_rank"] == 2


async def test_loads_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """Missing path, addresses that are half, other base models."""
    async with serving(tmp_path) as client:
        model = await client.model()
        path = await model.save("x")
        by_session = {"session_id": client.session_id, "model_seq_id": 5, "optimizer": False}
        missing = f"tinker://{model.model_id}/weights/y"
        await client.refused("load_weights", {**by_session, "path": missing}, 404)
        await client.refused("weights_info", {"tinker_path": missing}, 404)
        await client.refused("load_weights", {"path": path, "optimizer": False})
        await client.refused("load_weights", {"path": path, "model_id": model.model_id})
        await client.refused("load_weights", {"path": path, "session_id": client.session_id})
        await client.refused("load_weights", {**by_session, "model_seq_id": -1, "path": path})
        detail = await client.refused("load_weights", {**by_session, "path": path, "base_model": "other"})
        assert BUILTIN_MODEL in detail
        await client.ok("load_weights", {**by_session, "path": path, "base_model": BUILTIN_MODEL})


async def test_a_checkpoint_deleted_before_its_load_runs_fails_the_load(tmp_path: Path) -> None:
    """And the model that was to get it cannot be stepped as if it had."""
    async with serving(tmp_path) as client:
        model, other = await client.model(), await client.model()
        path = await model.save("x")
        with paused(client.engine):
            load = await client.post("load_weights", other.body(path=path, optimizer=True))
            step = await client.post("optim_step", other.body(adam_params={}))
            await client.http.delete(f"/api/v1/training_runs/{model.model_id}/checkpoints/weights/x")
        assert "was deleted or expired before" in (await client.result(load))["error"]["message"]
        assert "because load_weights (number 1) failed" in (await client.result(step))["error"]["message"]
