"""Bad input: a 4xx with a sentence that names the field, nothing done, no number used."""

from pathlib import Path
from typing import Any

import pytest

from support_engine import DATA, Body, Client, create_model, datum, pass_input, serving
from tinkex.engine import BUILTIN_MODEL


def tensor(data: list[Any], dtype: str = "float32", **more: Any) -> Body:
    return {"data": data, "dtype": dtype, **more}


def item(tokens: Any = (1, 2, 3), **inputs: Body) -> Body:
    held = {"target_tokens": tensor([2, 3, 4], "int64"), "weights": tensor([1.0, 1.0, 1.0]), **inputs}
    return {"model_input": {"chunks": [{"tokens": list(tokens), "type": "encoded_text"}]}, "loss_fn_inputs": held}


POLICY = {"logprobs": [-1.0], "advantages": [1.0]}
LONG = [1] * 2049
LONG_ITEM = item(LONG, target_tokens=tensor(LONG, "int64"), weights=tensor([1.0] * 2049))

PASSES: list[tuple[Any, str]] = [
    (pass_input([]), "data is empty"),
    (pass_input(DATA, "nope"), "unknown loss_fn 'nope'; known: cross_entropy"),
    (pass_input(DATA, ""), "loss_fn"),
    (pass_input([datum(), item(weights=tensor([1.0, 1.0]))]), "data[1].loss_fn_inputs['weights'] has shape [2]"),
    (pass_input([item(target_tokens=tensor([1, 2], "int64"))]), "data[0].loss_fn_inputs['target_tokens'] has shape"),
    (pass_input([item(weights=tensor(["NaN", 1.0, 1.0]))]), "data[0].loss_fn_inputs['weights'] has nan at"),
    (pass_input([item(weights=tensor([1.0, "Infinity", 1.0]))]), "data[0].loss_fn_inputs['weights'] has inf at"),
    (pass_input([item(weights=tensor([1.0, None, 1.0]))]), "data[0].loss_fn_inputs['weights'] has nan at"),
    (pass_input([item(weights=tensor([1, 1, 1], "int64"))]), "data[0].loss_fn_inputs['weights'] must be float32"),
    (pass_input([item(target_tokens=tensor([2.0, 3.0, 4.0]))]), "must be int64"),
    (pass_input([item((1, 512, 3))]), "data[0].model_input.chunks[0] has token 512"),
    (pass_input([item(target_tokens=tensor([1, 2, 999], "int64"))]), "['target_tokens'] has token 999"),
    (pass_input([item((-1, 2, 3))]), "negative token"),
    (pass_input([item(())]), "has no tokens"),
    (pass_input([LONG_ITEM]), "model_input has 2049 tokens; tinkex/byte-tiny takes 2048"),
    (pass_input([item(extra=tensor([1.0, 1.0, 1.0]))]), "['extra'] is not read by cross_entropy"),
    (
        pass_input(
            [
                item(
                    target_tokens=tensor([1, 2, 3, 4, 5, 6], "int64", shape=[3, 2, 1]),
                    weights=tensor([1.0] * 6, shape=[3, 2, 1]),
                )
            ]
        ),
        "[T] and [T, K] are supported",
    ),
    (pass_input([datum("ab", logprobs=[-1.0])], "ppo"), "['advantages'] is missing"),
    (
        pass_input([datum("ab", **POLICY, clip_low_threshold=[0.5])], "ppo"),
        "'clip_low_threshold'] is not read by this loss",
    ),
    (pass_input([datum("ab", **POLICY)], "ppo", {"beta": 1.0}), "loss_fn_config['beta'] is not read by ppo"),
    (pass_input([datum("ab", **POLICY)], "ppo", {"clip_low_threshold": "x"}), "loss_fn_config['clip_low_threshold']"),
    (
        pass_input([datum("ab", **POLICY)], "ppo", {"clip_low_threshold": 2.0, "clip_high_threshold": 1.0}),
        "clip_low_threshold is above clip_high_threshold",
    ),
    (pass_input([{"model_input": {"chunks": [{"type": "image"}]}, "loss_fn_inputs": {}}]), "chunk"),
    (None, "ForwardBackwardRequest cannot be read"),
    ("text", "ForwardBackwardRequest cannot be read"),
]


@pytest.mark.parametrize(("work", "sentence"), PASSES, ids=[sentence for _, sentence in PASSES])
async def test_a_pass_that_cannot_be_computed_is_refused(tmp_path: Path, work: Any, sentence: str) -> None:
    """And the same number works at once for the next request."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=1)
        body = {"model_id": model.model_id, "seq_id": 1, "forward_backward_input": work}
        assert sentence in await client.refused("forward_backward", body)
        await model.forward_backward([datum("ab")])


ADAM: list[tuple[Body, str]] = [
    ({"learning_rate": "NaN"}, "learning_rate"),
    ({"learning_rate": -1.0}, "learning_rate must be"),
    ({"learning_rate": 1e300}, "learning_rate must be at most"),
    ({"beta1": 1.0}, "beta1 must be"),
    ({"beta2": -0.1}, "beta2 must be"),
    ({"eps": 0.0}, "eps must be"),
    ({"weight_decay": -1.0}, "weight_decay must be"),
    ({"grad_clip_norm": -1.0}, "grad_clip_norm must be"),
]


@pytest.mark.parametrize(("adam", "sentence"), ADAM, ids=[str(adam) for adam, _ in ADAM])
async def test_senseless_steps_are_refused(tmp_path: Path, adam: Body, sentence: str) -> None:
    """Each parameter by its name."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=1)
        body = {"model_id": model.model_id, "seq_id": 1, "adam_params": adam}
        assert sentence in await client.refused("optim_step", body)
        assert "cannot be read" in await client.refused("optim_step", {**body, "seq_id": "1"})
        await model.step()


async def test_bare_nan_is_no_json(tmp_path: Path) -> None:
    """And said to be none."""
    async with serving(tmp_path) as client:
        text = '{"model_id":"x","seq_id":1,"adam_params":{"learning_rate":NaN}}'
        headers = {"content-type": "application/json"}
        response = await client.http.post("/api/v1/optim_step", content=text, headers=headers)
        assert response.status_code == 400
        assert "bare NaN" in response.json()["detail"]


async def test_other_optimizers_are_refused(tmp_path: Path) -> None:
    """At creation and at the step."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=1)
        body = model.body(optimizer_params={"type": "dimuon"})
        assert "optimizer_params" in await client.refused("optim_step", body)
        create = {**create_model(client.session_id, 5), "optimizer_config": {"type": "dimuon", "version": 1}}
        assert "adamw" in await client.refused("create_model", create)
        await client.ok("create_model", {**create, "optimizer_config": {"type": "adamw"}})


@pytest.mark.parametrize("seq_id", [0, -1, 2**31, True, 1.5, "1", None])
async def test_numbers_that_cannot_be_are_refused(tmp_path: Path, seq_id: Any) -> None:
    """They start at 1 and are whole."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=1)
        await client.refused("optim_step", {"model_id": model.model_id, "seq_id": seq_id, "adam_params": {}})


CREATES: list[tuple[Body, str]] = [
    ({"base_model": "nope"}, f"unknown base model 'nope'; known: {BUILTIN_MODEL}"),
    ({"base_model": "/etc"}, "unknown base model"),
    ({"lora_config": {"rank": 0}}, "rank must be"),
    ({"lora_config": {"rank": 1025}}, "rank must be"),
    ({"lora_config": {"rank": "8"}}, "cannot be read"),
    ({"lora_config": {"rank": 8, "seed": -1}}, "seed must be"),
    (
        {"lora_config": {"rank": 8, "train_mlp": False, "train_attn": False, "train_unembed": False}},
        "one of train_mlp, train_attn and train_unembed must be True",
    ),
    ({"model_seq_id": -1}, "model_seq_id must be"),
    ({"model_seq_id": 2**31}, "model_seq_id must be"),
]


@pytest.mark.parametrize(("change", "sentence"), CREATES, ids=[str(change) for change, _ in CREATES])
async def test_models_that_cannot_be_are_refused(tmp_path: Path, change: Body, sentence: str) -> None:
    """And the number is free for the next try."""
    async with serving(tmp_path) as client:
        session_id = await client.begin()
        assert sentence in await client.refused("create_model", {**create_model(session_id), **change})
        await client.ok("create_model", create_model(session_id))


NAMES = ["", ".", "..", "a/b", "../x", "a b", "x" * 256, "ä", ".hidden", "a\\b", "a\n", "%2e%2e", 5]


def files(root: Path) -> list[Path]:
    return list(root.rglob("*.safetensors"))


@pytest.mark.parametrize("name", NAMES)
async def test_names_that_are_not_plain_are_refused(tmp_path: Path, name: Any) -> None:
    """For both kinds of saves; nothing is written, outside or inside the root."""
    async with serving(tmp_path / "root") as client:
        model = await client.model(rank=1)
        for operation in ("save_weights", "save_weights_for_sampler"):
            detail = await client.refused(operation, {"model_id": model.model_id, "seq_id": 1, "path": name})
            assert "name" in detail or "cannot be read" in detail
        assert files(tmp_path) == []
        await model.save("x" * 255)
        assert len(files(tmp_path)) == 2


PATHS = [
    "",
    "nope",
    "tinker://",
    "tinker://a/weights",
    "tinker://a/weights/b/c",
    "tinker://a/other/b",
    "tinker:///weights/x",
]


@pytest.mark.parametrize("path", PATHS)
async def test_malformed_paths_are_refused(tmp_path: Path, path: str) -> None:
    """For information and loads alike."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=1)
        assert "path" in await client.refused("weights_info", {"tinker_path": path})
        assert "path" in await client.refused("load_weights", model.body(path=path, optimizer=False))


@pytest.mark.parametrize("ttl", [0, -1, "1h", 1.5, True, 10**10])
async def test_times_to_live_that_cannot_be_are_refused(tmp_path: Path, ttl: Any) -> None:
    """Whole seconds from 1 to ten years."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=1)
        assert "ttl_seconds" in await client.refused("save_weights", model.body(path="x", ttl_seconds=ttl))


@pytest.mark.parametrize("metadata", [{"k": 1}, ["k"], "k", {"k": None}])
async def test_metadata_is_text_by_text(tmp_path: Path, metadata: Any) -> None:
    """Anything else is refused."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=1)
        assert "user_metadata" in await client.refused("save_weights", model.body(path="x", user_metadata=metadata))


async def status(client: Client, method: str, path: str) -> int:
    response = await client.http.request(method, f"/api/v1/{path}", headers={"content-type": "application/json"})
    assert isinstance(response.json()["detail"], str)
    return response.status_code


async def test_unknown_addresses_are_not_found(tmp_path: Path) -> None:
    """As JSON, like everything; odd ones too."""
    async with serving(tmp_path) as client:
        run = (await client.model(rank=1)).model_id
        assert await status(client, "GET", "nope") == 404
        assert await status(client, "GET", "create_session") == 405
        assert await status(client, "GET", "training_runs/nope") == 404
        assert await status(client, "GET", "training_runs/nope/checkpoints") == 404
        assert await status(client, "DELETE", f"training_runs/{run}/checkpoints/weights/x") == 404
        assert await status(client, "DELETE", f"training_runs/{run}/checkpoints/other/x") == 400
        assert await status(client, "DELETE", f"training_runs/{run}/checkpoints/x") == 404
        assert await status(client, "DELETE", f"training_runs/{run}%20/checkpoints/weights/x") == 404
        assert await status(client, "DELETE", f"training_runs/{run}/checkpoints/weights/%2e%2e") in (400, 404)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000])
async def test_bodies_that_are_no_request_are_refused(tmp_path: Path, raw: bytes) -> None:
    """Whatever the bytes."""
    async with serving(tmp_path) as client:
        headers = {"content-type": "application/json"}
        response = await client.http.post("/api/v1/create_model", content=raw, headers=headers)
        assert response.status_code == 400
        assert "CreateModelRequest cannot be read" in response.json()["detail"]


async def test_unknown_fields_and_nulls_for_defaults_are_fine(tmp_path: Path) -> None:
    """Clients of other versions send them."""
    async with serving(tmp_path) as client:
        session_id = await client.begin()
        body = {
            **create_model(session_id),
            "new_field": 1,
            "user_metadata": None,
            "lora_config": {"rank": 2, "seed": None},
        }
        await client.ok("create_model", body)


async def test_refusals_leave_nothing_behind(tmp_path: Path) -> None:
    """However many: no result is kept for what was never accepted."""
    async with serving(tmp_path) as client:
        model = await client.model(rank=1)
        kept = len(client.engine.futures._entries)
        for _ in range(3):
            await client.refused("forward_backward", {**model.pass_body([]), "seq_id": 1})
            await client.refused("save_weights", {"model_id": model.model_id, "seq_id": 1, "path": ".."})
        assert len(client.engine.futures._entries) == kept
        assert client.engine.saving == {}


@pytest.mark.parametrize("number", [0, -1, 2**31, 2**63, -(2**80)])
@pytest.mark.parametrize("place", ["save_weights", "optim_step", "forward"])
async def test_numbers_beyond_every_counter_are_refused(tmp_path: Path, place: str, number: int) -> None:
    """Of a live model and of one that is not."""
    async with serving(tmp_path) as client:
        model = await client.model()
        for model_id in (model.model_id, "nobody"):
            body = {"model_id": model_id, "seq_id": number, "path": "x", "forward_input": pass_input(DATA)}
            response = await client.send(place, body)
            assert response.status_code in ({400} if model_id == model.model_id else {400, 404}), response.text
