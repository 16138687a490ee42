"""Checkpoints and sessions in other hands: published, copied, fetched, searched, and kept apart by key."""

import io
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from support_engine import DATA, Body, Clock, Model, create_model, paused, serving
from tinkex.engine._store._checkpoint_table import CheckpointTable

MINE, THEIRS = {"x-api-key": "tml-mine"}, {"x-api-key": "tml-theirs"}


def address(path: str) -> str:
    """Return where REST has a checkpoint."""
    run, kind, name = path.removeprefix("tinker://").split("/")
    return f"/api/v1/training_runs/{run}/checkpoints/{kind}/{name}"


async def ask(http: httpx.AsyncClient, method: str, path: str, body: Body | None = None) -> tuple[int, Any]:
    response = await http.request(method, path, json=body, headers={"content-type": "application/json"})
    return response.status_code, response.json() if response.content else None


async def test_a_published_checkpoint_is_there_for_everybody_and_another_is_not(tmp_path: Path) -> None:
    """To load, to describe and to sample from; to change it stays its owner's."""
    async with serving(tmp_path) as client:
        client.http.headers.update(MINE)
        model = await client.model()
        await model.train(DATA, 1)
        path = await model.save("x")
        mine = client.session_id
        client.http.headers.update(THEIRS)
        await client.begin()
        info, load = {"tinker_path": path}, {"session_id": client.session_id, "model_seq_id": 0, "path": path}
        sample = {"session_id": client.session_id, "sampling_session_seq_id": 0, "model_path": path}
        for place, body in (("weights_info", info), ("load_weights", load), ("create_sampling_session", sample)):
            assert "there is no checkpoint" in await client.refused(place, body, 404)
        # With the key of its owner it is there.
        token = {**load, "model_seq_id": 1, "weights_access_token": "tml-mine"}
        assert (await client.ok("load_weights", token))["path"] == path

        client.http.headers.update(MINE)
        assert await ask(client.http, "POST", f"{address(path)}/publish") == (200, {})
        assert (await ask(client.http, "POST", f"{address(path)}/publish"))[0] == 409
        (listed,) = (await client.get("checkpoints"))["checkpoints"]
        assert listed["public"] is True

        client.http.headers.update(THEIRS)
        assert (await client.post("weights_info", info))["lora_rank"] == 4
        resumed = Model(client, (await client.ok("load_weights", load))["model_id"])
        await resumed.forward(DATA)
        assert (await client.post("create_sampling_session", sample))["sampling_session_id"]
        for method, end in (("DELETE", ""), ("DELETE", "/publish"), ("PUT", "/ttl")):
            status, _ = await ask(client.http, method, address(path) + end, {"ttl_seconds": None})
            assert status == 404, (method, end)

        client.http.headers.update(MINE)
        assert await ask(client.http, "DELETE", f"{address(path)}/publish") == (200, {})
        client.http.headers.update(THEIRS)
        await client.refused("weights_info", info, 404)
        assert mine != client.session_id


async def test_nothing_of_one_key_is_there_for_another(tmp_path: Path) -> None:
    """404 for each thing by its name, and empty lists."""
    async with serving(tmp_path) as client:
        client.http.headers.update(MINE)
        model = await client.model()
        future = await client.post("save_weights", model.body(path="x"))
        path = (await client.result(future))["path"]
        session = {"session_id": client.session_id, "sampling_session_seq_id": 0, "model_path": path}
        sampler = (await client.post("create_sampling_session", session))["sampling_session_id"]
        external = (await client.ok("save_weights_external", model.body(path="x")))["path"]
        run, mine = model.model_id, client.session_id

        client.http.headers.update(THEIRS)
        hidden: list[tuple[str, Body]] = [
            ("get_info", {"model_id": run}),
            ("unload_model", {"model_id": run}),
            ("optim_step", {"model_id": run, "seq_id": 3}),
            ("save_weights", {"model_id": run, "seq_id": 3, "path": "y"}),
            ("forward", model.body(forward_input={"data": DATA, "loss_fn": "cross_entropy"})),
            ("retrieve_future", {"request_id": future["request_id"]}),
            ("session_heartbeat", {"session_id": mine}),
            (f"sessions/{mine}/finish", {"reason": {"type": "success"}}),
            ("create_sampling_session", {**session, "sampling_session_seq_id": 1}),
            ("join_sampling_session", {"sampling_session_id": sampler}),
            ("asample", {"sampling_session_id": sampler, "seq_id": 0, "prompt": {"chunks": []}}),
            ("copy_weights", {"source_path": path, "destination_project_id": "p"}),
            ("create_model", {"session_id": mine, "model_seq_id": 5, "base_model": "tinkex/byte-tiny"}),
        ]
        for place, body in hidden:
            await client.refused(place, body, 404)
        for method, place in (
            ("GET", f"/api/v1/training_runs/{run}"),
            ("GET", f"/api/v1/training_runs/{run}/checkpoints"),
            ("GET", f"/api/v1/sessions/{mine}"),
            ("GET", f"/api/v1/sessions/{mine}/trace_export"),
            ("PUT", f"/api/v1/sessions/{mine}/project"),
            ("GET", f"/api/v1/samplers/{sampler}"),
            ("DELETE", address(path)),
            ("POST", f"{address(path)}/publish"),
            ("GET", f"{address(path)}/archive"),
            ("GET", f"{address(external)}/external_weights_urls"),
        ):
            assert (await ask(client.http, method, place, {"project_id": "p"}))[0] == 404, place
        assert (await client.get("checkpoints"))["checkpoints"] == []
        assert (await client.get("training_runs"))["training_runs"] == []
        assert (await client.get("sessions"))["sessions"] == []
        assert (await client.post("sessions/search", {}))["sessions"] == []
        client.http.headers.update(MINE)
        assert (await client.post("optim_step", {"model_id": run, "seq_id": 3}))["request_id"], "no number was spent"


async def test_an_archive_is_a_plain_tar_behind_a_link_without_a_key(tmp_path: Path) -> None:
    """For every kind of checkpoint; the link ends by itself."""
    clock = Clock()
    async with serving(tmp_path, clock, api_key=None, download_time=60.0) as client:
        client.http.headers.update(MINE)
        model = await client.model()
        for save in ("save_weights", "save_weights_for_sampler", "save_weights_external"):
            path = (await client.ok(save, model.body(path="x")))["path"]
            response = await client.http.get(f"{address(path)}/archive")
            assert response.status_code == 302
            assert response.headers["expires"].endswith("GMT")
            async with httpx.AsyncClient(transport=client.http._transport) as stranger:
                fetched = await stranger.get(response.headers["location"])
            assert fetched.headers["content-type"] == "application/x-tar"
            with tarfile.open(fileobj=io.BytesIO(fetched.content), mode="r:") as archive:
                names = archive.getnames()
                weights = archive.extractfile("adapter_model.safetensors")
                assert weights is not None
                assert len(weights.read()) > 1000
            assert names == ["adapter_config.json", "adapter_model.safetensors", "checkpoint_complete"]
            other = response.headers["location"].replace("archive.tar", "manifest.json")
            assert (await client.http.get(other)).status_code == 404
            clock.now += 61.0
            assert (await client.http.get(response.headers["location"])).status_code == 404
        path = (await client.ok("save_weights", model.body(path="y")))["path"]
        assert (await ask(client.http, "GET", f"{address(path)}/external_weights_urls"))[0] == 400
        link = (await client.http.get(f"{address(path)}/archive")).headers["location"]
        assert (await ask(client.http, "DELETE", address(path)))[0] == 200
        assert (await client.http.get(link)).status_code == 404
        assert (await ask(client.http, "GET", f"{address(path)}/archive"))[0] == 404


async def test_external_weights_are_a_kind_of_their_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        model = await client.model()
        saved = await client.ok("save_weights_external", model.body(path="x", ttl_seconds=3600))
        assert saved["path"] == f"tinker://{model.model_id}/external_weights/x"
        (listed,) = (await client.get("checkpoints"))["checkpoints"]
        assert (listed["checkpoint_type"], listed["size_bytes"]) == ("external", saved["size_bytes"])
        detail = await client.refused(
            "save_weights_external", model.body(path="y", age_encryption_recipients=["age1..."])
        )
        assert "age_encryption_recipients" in detail
        await model.step()  # which passes the refused number


@pytest.mark.parametrize("kind", ["save_weights", "save_weights_for_sampler"])
async def test_a_copy_goes_on_when_its_source_is_gone(tmp_path: Path, kind: str) -> None:
    """With the optimizer, bit for bit; under the same idempotency key it is made once."""
    async with serving(tmp_path) as client:
        model = await client.model()
        await model.train(DATA, 2)
        path = (await client.ok(kind, model.body(path="x", user_metadata={"k": "v"})))["path"]
        body = {"source_path": path, "destination_project_id": "proj", "ttl_seconds": 5000}
        key = {"x-idempotency-key": "one"}
        copies = [(await client.send("copy_weights", body, **key)).json()["tinker_path"] for _ in range(2)]
        assert copies[0] == copies[1] != path
        other = (await client.post("copy_weights", body))["tinker_path"]
        assert other not in copies
        assert (await ask(client.http, "DELETE", address(path)))[0] == 200
        listed = {one["tinker_path"]: one for one in (await client.get("checkpoints"))["checkpoints"]}
        assert set(listed) == {copies[0], other}
        assert listed[other]["user_metadata"] == {"k": "v"}
        assert listed[other]["expires_at"]
        runs = (await client.get("training_runs?project_id=proj"))["training_runs"]
        assert {run["training_run_id"] for run in runs} == {copy.split("/")[2] for copy in listed}
        if kind == "save_weights":
            load = {"session_id": client.session_id, "model_seq_id": 8, "path": other, "optimizer": True}
            resumed = Model(client, (await client.ok("load_weights", load))["model_id"])
            for one in (model, resumed):
                await one.train(DATA, 2)
            assert await resumed.forward(DATA) == await model.forward(DATA)


async def test_a_copy_may_be_a_model_of_a_session(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        model = await client.model()
        path = await model.save("x")
        body = {"source_path": path, "session_id": client.session_id, "model_seq_id": 9}
        copy = (await client.post("copy_weights", body))["tinker_path"]
        assert copy == f"tinker://{client.session_id}:train:9/weights/x"
        assert (await client.post("copy_weights", body))["tinker_path"] == copy
        assert "was used before" in await client.refused("copy_weights", {**body, "model_seq_id": 0})
        create = {"session_id": client.session_id, "model_seq_id": 9, "base_model": "tinkex/byte-tiny"}
        assert "used" in await client.refused("create_model", create)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "destination_project_id"),
        ({"destination_project_id": "p", "session_id": "s"}, "destination_project_id"),
        ({"destination_project_id": "a/b"}, "destination_project_id"),
        ({"session_id": "s", "model_seq_id": -1}, "model_seq_id"),
        ({"destination_project_id": "p", "ttl_seconds": 0}, "ttl_seconds"),
        ({"destination_project_id": "p", "source_path": "x"}, "tinker://"),
    ],
)
async def test_a_copy_without_a_place_is_refused(tmp_path: Path, fields: Body, says: str) -> None:
    async with serving(tmp_path) as client:
        path = await (await client.model()).save("x")
        assert says in await client.refused("copy_weights", {"source_path": path, **fields})


async def test_a_copy_that_the_disk_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(tmp_path) as client:
        path = await (await client.model()).save("x")

        def full(_file: Path, _data: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("tinkex.engine._compute._checkpoints.write_file", full)
        body = {"source_path": path, "destination_project_id": "p"}
        assert "No space left" in await client.refused("copy_weights", body, 503)
        assert list((tmp_path / "unfinished").iterdir()) == []
        assert len((await client.get("checkpoints"))["checkpoints"]) == 1


async def test_sessions_are_found_by_what_is_known_of_them(tmp_path: Path) -> None:
    """Newest first, page by page."""
    clock = Clock()
    async with serving(tmp_path, clock) as client:
        ids: list[str] = []
        for number in range(4):
            clock.now += 1.0
            body: Body = {
                "tags": [],
                "user_metadata": {"n": str(number % 2)},
                "sdk_version": "x",
                "display_name": f"Run {number}",
            }
            ids.append((await client.post("create_session", body))["session_id"])
        await client.post(f"sessions/{ids[0]}/finish", {"reason": {"type": "errored"}, "detail": "boom"})
        assert await ask(client.http, "PUT", f"/api/v1/sessions/{ids[1]}/project", {"project_id": "p1"}) == (200, {})
        client.session_id = ids[2]
        await (await client.model()).save("x")

        async def found(**filters: Any) -> list[str]:
            return [one["session_id"] for one in (await client.post("sessions/search", filters))["sessions"]]

        assert await found() == ids[::-1]
        assert await found(user_metadata={"n": "1"}) == [ids[3], ids[1]]
        assert await found(display_name="run 2") == [ids[2]]
        assert await found(project_ids=["p1", "p2"]) == [ids[1]]
        assert await found(session_id=ids[3]) == [ids[3]]
        assert await found(statuses=[{"type": "client_finished"}]) == [ids[0]]
        assert await found(statuses=[{"type": "client_finished", "reasons": ["success"]}]) == []
        assert await found(statuses=[{"type": "active"}, {"type": "failed"}]) == ids[:0:-1]
        assert await found(owner={"type": "user", "owner_urns": ["somebody"]}) == []
        page = await client.post("sessions/search", {"limit": 3})
        assert [one["session_id"] for one in page["sessions"]] == ids[:0:-1]
        last = await client.post("sessions/search", {"limit": 3, "cursor": page["next_cursor"]})
        assert [one["session_id"] for one in last["sessions"]] == ids[:1]
        assert last["sessions"][0]["status"] == {
            "type": "client_finished",
            "reason": {"type": "errored"},
            "detail": "boom",
        }
        assert "next_cursor" not in last
        (saved,) = (await client.post("sessions/search", {"session_id": ids[2]}))["sessions"]
        assert saved["checkpoints_count"] == 1
        assert saved["checkpoint_storage_bytes"] > 1000
        assert "limit" in await client.refused("sessions/search", {"limit": 0})
        cursor = {"last_created_at": "yesterday", "last_session_id": "x"}
        assert "last_created_at" in await client.refused("sessions/search", {"cursor": cursor})
        assert (await client.get(f"sessions/{ids[0]}/trace_export"))["status"] == "failed"
        clock.now += 1000.0
        assert (await client.post("client/dynamic_config", {"sdk_version": "x"}))["sample_cancel_enabled"] is True


async def test_a_session_without_heartbeats_is_found_as_cancelled(tmp_path: Path) -> None:
    clock = Clock()
    async with serving(tmp_path, clock) as client:
        await client.begin()
    async with serving(tmp_path, clock) as client:
        (one,) = (await client.post("sessions/search", {"statuses": [{"type": "cancelled"}]}))["sessions"]
        assert one["status"]["detail"] == "the server stopped"


@pytest.mark.parametrize(
    ("setting", "says"), [("max_pending", "wait for their results"), ("max_models", "models are live")]
)
async def test_too_much_at_once_is_refused_for_now(tmp_path: Path, setting: str, says: str) -> None:
    settings: dict[str, Any] = {setting: 2}
    async with serving(tmp_path, **settings) as client:
        await client.begin()
        with paused(client.engine):
            bodies = [create_model(client.session_id, number) for number in range(3)]
            futures = [await client.post("create_model", body) for body in bodies[:2]]
            assert says in await client.refused("create_model", bodies[2], 429)
        for future in futures:
            await client.result(future)
        if setting == "max_models":
            await client.ok("unload_model", {"model_id": f"{client.session_id}:train:0"})
        assert (await client.ok("create_model", bodies[2]))["model_id"]


async def test_too_many_sessions_are_refused_for_now(tmp_path: Path) -> None:
    async with serving(tmp_path, max_sessions=1) as client:
        await client.begin()
        body: Body = {"tags": [], "user_metadata": {}, "sdk_version": "0.1"}
        assert "sessions are active" in await client.refused("create_session", body, 429)
        await client.post(f"sessions/{client.session_id}/finish", {"reason": {"type": "success"}})
        await client.begin()


async def test_a_copy_that_the_database_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor its number: the same request works once the disk does."""

    def full(_table: CheckpointTable, _row: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async with serving(tmp_path) as client:
        path = await (await client.model()).save("x")
        body = {"source_path": path, "session_id": client.session_id, "model_seq_id": 9}
        with monkeypatch.context() as patch:
            patch.setattr(CheckpointTable, "put", full)
            assert "disk is full" in await client.refused("copy_weights", body, 503)
        assert len(list((tmp_path / "checkpoints").iterdir())) == 1
        assert (await client.post("copy_weights", body))["tinker_path"].endswith(":train:9/weights/x")
