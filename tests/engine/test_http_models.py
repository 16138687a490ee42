"""Sessions and models over HTTP: made, described, ended."""

import asyncio
import gc
import threading
from pathlib import Path

import pytest
import torch

import tinkex
from support_engine import DATA, Body, Clock, create_model, paused, serving
from tinkex.engine import BUILTIN_MODEL, LORA_ALPHA
from tinkex.engine._base._catalogue import DecoderConfig
from tinkex.engine._base._layout import Layout, LoraSpec
from tinkex.engine._service import _upkeep
from tinkex.engine._store._records import SessionRow
from tinkex.engine._store._store import Store

FINISH: Body = {"reason": {"type": "success"}, "detail": None}


async def test_the_builtin_model_is_the_first_capability(tmp_path: Path) -> None:
    """With its context length."""
    async with serving(tmp_path) as client:
        (first, *_) = (await client.get("get_server_capabilities"))["supported_models"]
        assert first["model_name"] == BUILTIN_MODEL
        assert first["max_context_length"] == DecoderConfig().max_position_embeddings
        assert first["trainable"] is True
        assert LORA_ALPHA == 32


async def test_the_config_tells_older_clients_to_create_by_load(tmp_path: Path) -> None:
    """And is complete without more."""
    async with serving(tmp_path) as client:
        answer = await client.post("client/config", {"sdk_version": "0.38.0"})
        assert answer["create_model_via_load_weights"] is True
        assert answer["pjwt_auth_enabled"] is False
        assert await client.post("telemetry", {"events": []}) == {"status": "accepted"}


async def test_creating_a_session_twice_under_one_key_gives_one(tmp_path: Path) -> None:
    """Another key, no key, or the key after the end gives another; keys of other owners are theirs."""
    async with serving(tmp_path) as client:

        async def create(**headers: str) -> str:
            answer = await client.send("create_session", {"tags": []}, **headers)
            assert answer.json()["type"] == "create_session"
            session_id: str = answer.json()["session_id"]
            return session_id

        first = await create(**{"x-idempotency-key": "k"})
        assert await create(**{"x-idempotency-key": "k"}) == first
        others = [
            await create(**{"x-idempotency-key": "other"}),
            await create(),
            await create(**{"x-idempotency-key": "k", "x-api-key": "tml-other"}),
        ]
        await client.post(f"sessions/{first}/finish", FINISH)
        others.append(await create(**{"x-idempotency-key": "k"}))
        assert len({first, *others}) == 5
        assert (await client.get("healthz"))["sessions"] == 4


async def test_sessions_are_listed_and_described(tmp_path: Path) -> None:
    """With the runs that they made."""
    async with serving(tmp_path) as client:
        body = {"tags": ["t"], "user_metadata": {"k": "v"}, "display_name": "d", "project_id": "p"}
        client.session_id = (await client.post("create_session", body))["session_id"]
        model = await client.model()
        assert (await client.get("sessions"))["sessions"] == [client.session_id]
        assert (await client.get("sessions?offset=1"))["sessions"] == []
        described = await client.get(f"sessions/{client.session_id}")
        assert described["training_run_ids"] == [model.model_id]
        assert described["user_metadata"] == {"k": "v"}
        assert (await client.http.get("/api/v1/sessions/nope")).status_code == 404


async def test_a_model_has_its_sessions_name_and_is_described(tmp_path: Path) -> None:
    """``<session>:train:<n>`` in the receipt itself, for clients that do not ask for the result."""
    async with serving(tmp_path) as client:
        session_id = await client.begin()
        receipt = await client.post("create_model", create_model(session_id, 3, rank=8))
        assert receipt["model_id"] == f"{session_id}:train:3"
        assert await client.result(receipt) == {"model_id": receipt["model_id"], "type": "create_model"}
        info = await client.post("get_info", {"model_id": receipt["model_id"]})
        assert (info["is_lora"], info["lora_rank"], info["model_name"]) == (True, 8, BUILTIN_MODEL)
        assert info["model_data"] == {"arch": "qwen3", "model_name": BUILTIN_MODEL, "tokenizer_id": BUILTIN_MODEL}
        assert "unknown model" in await client.refused("get_info", {"model_id": "nope"}, 404)


async def test_a_repeated_create_gives_one_model(tmp_path: Path) -> None:
    """(session_id, model_seq_id) is its identity; another body under it is refused."""
    async with serving(tmp_path) as client:
        session_id = await client.begin()
        body = create_model(session_id)
        receipts = await asyncio.gather(*(client.post("create_model", body) for _ in range(4)))
        assert len({receipt["request_id"] for receipt in receipts}) == 1
        assert "another request" in await client.refused("create_model", create_model(session_id, rank=5))
        assert (await client.get("healthz"))["models"] == 1


async def test_without_a_seed_two_models_differ_and_with_one_they_do_not(tmp_path: Path) -> None:
    """The seed that was drawn is kept with the run."""
    async with serving(tmp_path) as client:
        one, two = await client.model(seed=None), await client.model(seed=None)
        three, four = await client.model(seed=5), await client.model(seed=5)
        losses: list[float] = []
        for model in (one, two, three, four):
            await model.train(DATA[:1], 2)
            losses.append((await model.forward(DATA))["metrics"]["loss:sum"])
        assert len(set(losses)) == 3
        assert losses[2] == losses[3]
        row = client.engine.store.model(one.model_id)
        assert row is not None
        assert row.lora.seed != 0


async def test_health_counts_models_sessions_and_memory(tmp_path: Path) -> None:
    """An unloaded model's memory is free, and a repeat of the unloading is harmless."""
    async with serving(tmp_path) as client:
        model, other = await client.model(), await client.model(rank=8)
        sizes = [
            Layout.of(DecoderConfig().projections(), LoraSpec(rank, 0, True, True, True)).nbytes for rank in (4, 8)
        ]
        health = await client.get("healthz")
        assert health == {
            "status": "ok",
            "ready": True,
            "models": 2,
            "sessions": 1,
            "polls": 0,
            "samplers": 0,
            "adapter_bytes": sum(sizes),
            "sampler_bytes": 0,
        }
        body = {"model_id": model.model_id}
        receipts = [await client.post("unload_model", body) for _ in range(2)]
        expected = {"type": "unload_model", "model_id": model.model_id}
        assert [await client.result(receipt) for receipt in receipts] == [expected, expected]
        assert await client.ok("unload_model", body) == expected
        health = await client.get("healthz")
        assert (health["models"], health["adapter_bytes"]) == (1, sizes[1])
        await other.train(DATA, 1)


async def test_requests_to_an_unloaded_model_are_gone(tmp_path: Path) -> None:
    """Those accepted before run; those that waited for a number fail; later ones are 410."""
    async with serving(tmp_path) as client:
        model = await client.model()
        with paused(client.engine):
            accepted = await client.post("forward_backward", model.pass_body(DATA))
            model.seq_id += 1
            held = await client.post("optim_step", model.body(adam_params={}))
            unload = await client.post("unload_model", {"model_id": model.model_id})
            assert "was unloaded" in await client.refused("optim_step", model.body(adam_params={}), 410)
        assert "loss:sum" in (await client.result(accepted))["metrics"]
        assert "was unloaded" in (await client.result(held))["error"]["message"]
        await client.result(unload)
        assert "was unloaded" in await client.refused("optim_step", model.body(adam_params={}), 410)
        assert "was unloaded" in await client.refused("get_info", {"model_id": model.model_id}, 410)


async def test_finishing_a_session_unloads_its_models_and_drops_their_queue(tmp_path: Path) -> None:
    """Heartbeats and creates are 410 then; the first reason stays; other sessions live on."""
    async with serving(tmp_path) as client:
        model = await client.model()
        session_id = client.session_id
        await client.post("session_heartbeat", {"session_id": session_id})
        with paused(client.engine):
            futures = [await client.post("optim_step", model.body(adam_params={})) for _ in range(2)]
            model.seq_id += 1
            futures.append(await client.post("optim_step", model.body(adam_params={})))
            await client.post(f"sessions/{session_id}/finish", FINISH)
            await client.post(f"sessions/{session_id}/finish", {"reason": {"type": "errored"}})
            for future in futures:
                assert (await client.result(future))["status"] == "failed"
        assert "is finished" in await client.refused("session_heartbeat", {"session_id": session_id}, 410)
        assert "is finished" in await client.refused("create_model", create_model(session_id, 9), 410)
        row = client.engine.store.session(session_id)
        assert row is not None
        assert (row.state, row.reason) == ("finished", "success")
        client.session_id = ""
        await (await client.model()).train(DATA, 1)
        health = await client.get("healthz")
        assert (health["sessions"], health["models"]) == (1, 1)


async def test_the_capabilities_say_what_the_bits_of_results_depend_on(tmp_path: Path) -> None:
    """Also to whoever asks before the compute part is loaded: the answer waits for it."""
    async with serving(tmp_path, threads=2) as client:
        assert (await client.get("get_server_capabilities"))["build"] == {
            "engine": f"tinkex {tinkex.__version__}",
            "torch": str(torch.__version__),
            "threads": "2",
            "device": "cpu",
            "cpu": torch.backends.cpu.get_cpu_capability(),
        }
        assert (await client.get("healthz"))["ready"] is True


async def test_a_compute_part_that_cannot_be_loaded_holds_up_no_capabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> str:
        raise RuntimeError("no such device")

    monkeypatch.setattr("tinkex.engine._compute._base_models.choose_device", fail)
    async with serving(tmp_path) as client:
        told = await client.get("get_server_capabilities")
        assert "build" not in told
        assert told["supported_models"]


@pytest.mark.parametrize("path", ["session_heartbeat", "sessions/nope/finish", "create_model"])
async def test_unknown_sessions_are_not_found(tmp_path: Path, path: str) -> None:
    """404, unlike ended ones."""
    async with serving(tmp_path) as client:
        await client.refused(path, {"session_id": "nope", **FINISH, **create_model("nope")}, 404)


async def test_a_session_without_heartbeats_expires(tmp_path: Path) -> None:
    """Its models are unloaded; heartbeats and requests to its models are signs of life."""
    clock = Clock()
    async with serving(tmp_path, clock, session_timeout=100.0) as client:
        model = await client.model()
        for sign in ("heartbeat", "request"):
            clock.now += 99.0
            if sign == "heartbeat":
                await client.post("session_heartbeat", {"session_id": client.session_id})
            else:
                await model.forward(DATA)
            clock.now += 99.0
            await _upkeep.sweep(client.engine)
            assert (await client.get("healthz"))["sessions"] == 1
        clock.now += 1.0
        await _upkeep.sweep(client.engine)
        detail = await client.refused("session_heartbeat", {"session_id": client.session_id}, 410)
        assert "has expired without heartbeats" in detail
        await client.until("models", 0)
        assert "was unloaded" in await client.refused("optim_step", model.body(adam_params={}), 410)


async def test_the_sweeper_runs_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With real time, a short timeout ends a session."""
    ended = threading.Event()
    put_session = Store.put_session

    def noting(store: Store, row: SessionRow) -> None:
        put_session(store, row)
        if row.state == "expired":
            ended.set()

    monkeypatch.setattr(Store, "put_session", noting)
    async with serving(tmp_path, session_timeout=0.1) as client:
        await client.begin()
        assert await asyncio.to_thread(ended.wait, 20)
        assert (await client.get("healthz"))["sessions"] == 0


def tensor_bytes() -> int:
    """Return the bytes of all live tensors, each storage once."""
    gc.collect()
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in gc.get_objects()
        if issubclass(type(tensor), torch.Tensor)  # isinstance would ask lazy modules, which warn
    }
    return sum(storages.values())


async def until_tensor_bytes(wanted: int) -> None:
    """Wait until the compute thread has dropped what its last job held; it is answered a moment before that."""
    async with asyncio.timeout(20):
        while tensor_bytes() != wanted:  # noqa: ASYNC110 - nobody tells when a frame of another thread is gone
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("ending", ["unload", "finish", "expiry"])
async def test_an_ended_model_holds_no_tensors(tmp_path: Path, ending: str) -> None:
    """Weights, gradients and moments are gone, measured; and so are the weights of its session's samplers."""
    clock = Clock()
    async with serving(tmp_path, clock) as client:
        await client.until("ready", count=True)
        before = tensor_bytes()
        models = [await client.model(rank=16) for _ in range(3)]
        for model in models:
            await model.train(DATA, 1)
        await client.ok("save_weights_for_sampler", models[0].body(sampling_session_seq_id=0))
        health = await client.get("healthz")
        held = health["adapter_bytes"] + health["sampler_bytes"]
        assert held > 0
        await until_tensor_bytes(before + held)
        if ending == "unload":
            for model in models:
                await client.ok("unload_model", {"model_id": model.model_id})
            held = health["sampler_bytes"]
            await until_tensor_bytes(before + held)
        if ending == "expiry":
            clock.now += 1e6
            await _upkeep.sweep(client.engine)
        else:
            await client.post(f"sessions/{client.session_id}/finish", {"reason": {"type": "success"}})
        await client.until("sampler_bytes", 0)
        await client.until("models", 0)
        await until_tensor_bytes(before)
