"""Base models from local folders: every family trains, saves, resumes and samples; PEFT reads what they save."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from support_engine import Body, Client, Model, create_model, logged, serving
from support_folders import FAMILIES, VOCAB, models, write_config
from tinkex.engine import BUILTIN_MODEL
from tinkex.engine._base._catalogue import DecoderConfig
from tinkex.engine._compute._causal_lm import Lora
from tinkex.engine._compute._folder_lm import FolderLM
from tinkex.engine._compute._model import Decoder

TOKENS = [5, 9, 17, 33, 120, 250, 7, 7, 80, 81, 82, 9, 17, 34, 35, 36, 37, 38, 39, 40]

ROWS = [TOKENS, TOKENS[::-1]]


def predict(tokens: list[int]) -> Body:
    return {
        "model_input": {"chunks": [{"tokens": tokens[:-1], "type": "encoded_text"}]},
        "loss_fn_inputs": {
            "target_tokens": {"data": tokens[1:], "dtype": "int64"},
            "weights": {"data": [1.0] * (len(tokens) - 1), "dtype": "float32"},
        },
    }


DATA = [predict(row) for row in ROWS]


async def model_over(client: Client, base: str, number: int = 0, **lora: Any) -> Model:
    if not client.session_id:
        await client.begin()
    body = create_model(client.session_id, number, base_model=base, **{"seed": 3, **lora})
    return Model(client, (await client.ok("create_model", body))["model_id"])


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_family_trains_resumes_and_samples(tmp_path: Path, family: str) -> None:
    """Uninterrupted and resumed are the same bits; greedy sampling follows the forward pass."""
    async with serving(tmp_path, models=models()) as client:
        model = await model_over(client, family)
        losses = [await loss_of_step(model) for _ in range(4)]
        assert losses[-1] < losses[0]
        path = await model.save("x")
        after = [await loss_of_step(model) for _ in range(2)]
        load = {"session_id": client.session_id, "model_seq_id": 1, "path": path, "optimizer": True}
        resumed = Model(client, (await client.ok("load_weights", load))["model_id"])
        assert [await loss_of_step(resumed) for _ in range(2)] == after

        session = {"session_id": client.session_id, "sampling_session_seq_id": 0, "model_path": path}
        sampler_id = (await client.post("create_sampling_session", session))["sampling_session_id"]
        drawn = await client.ok(
            "asample",
            {
                "sampling_session_id": sampler_id,
                "seq_id": 0,
                "prompt": {"chunks": [{"tokens": TOKENS, "type": "encoded_text"}]},
                "sampling_params": {"max_tokens": 5, "temperature": 0.0, "stop": []},
                "num_samples": 2,
            },
        )
        one, two = drawn["sequences"]
        assert one == two
        fresh = await load_into(client, path, family)
        whole = await fresh.forward([predict(TOKENS + one["tokens"])])
        expected = whole["loss_fn_outputs"][0]["logprobs"]["data"][-5:]
        assert one["logprobs"] == pytest.approx(expected, abs=1e-4)


async def loss_of_step(model: Model) -> float:
    loss: float = (await model.forward_backward(DATA))["metrics"]["loss:sum"]
    await model.step()
    return loss


async def load_into(client: Client, path: str, family: str) -> Model:
    fresh = await model_over(client, family, 7, seed=99)
    await fresh.load(path, optimizer=False)
    return fresh


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of transformers, told to peft
@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings:UserWarning")  # the adapter is on the output alone
@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("parts", [{}, {"train_mlp": False}, {"train_attn": False}, {"train_unembed": False}])
async def test_peft_reads_a_saved_adapter_and_gives_the_same_logits(
    tmp_path: Path, family: str, parts: dict[str, bool]
) -> None:
    """Through the links that any program can fetch, to 1e-5; the adapter changes the logits by far more."""
    async with serving(tmp_path / "root", models=models()) as client:
        model = await model_over(client, family, **parts)
        await model.train(DATA, 3)
        external = await client.ok("save_weights_external", model.body(path="for-peft"))
        assert external["size_bytes"] > 0
        address = external["path"].removeprefix("tinker://").replace("/", "/checkpoints/", 1)
        found = await client.get(f"training_runs/{address}/external_weights_urls")
        adapter = tmp_path / "adapter"
        adapter.mkdir()
        for file, url in found["urls"].items():
            (adapter / file).write_bytes((await client.http.get(url)).content)
        ours = await model.forward(DATA)

    peft, transformers = import_module("peft"), import_module("transformers")
    base: Any = transformers.AutoModelForCausalLM.from_pretrained(models() / family)
    plain = logprobs(base)
    theirs = logprobs(peft.PeftModel.from_pretrained(base, adapter))
    for found_logprobs, output, before in zip(theirs, ours["loss_fn_outputs"], plain, strict=True):
        assert found_logprobs == pytest.approx(output["logprobs"]["data"], abs=1e-5)
        assert max(abs(a - b) for a, b in zip(found_logprobs, before, strict=True)) > 1e-2


def logprobs(model: Any) -> list[list[float]]:
    model.eval()
    rows: list[list[float]] = []
    for row in ROWS:
        with torch.no_grad():
            scores = model(torch.tensor([row[:-1]])).logits[0].log_softmax(-1)
        rows.append(scores.gather(-1, torch.tensor(row[1:]).unsqueeze(-1)).squeeze(-1).tolist())
    return rows


@pytest.mark.parametrize("family", ["qwen3", "mistral"])
def test_a_sequence_piece_by_piece_has_the_logits_of_the_whole(family: str) -> None:
    """Over the border of a sliding window, too; a fork of the cache goes its own way."""
    import copy

    model, tokens = FolderLM(models() / family), torch.tensor(TOKENS)
    whole = model.logits(tokens, Lora())
    assert whole.shape == (len(TOKENS), VOCAB)
    cache = model.begin()
    first = model.extend(cache, tokens[:6], Lora())
    fork = copy.deepcopy(cache)
    rest = [model.extend(cache, tokens[at : at + 1], Lora()) for at in range(6, len(TOKENS))]
    assert torch.allclose(torch.cat([first, *rest]), whole, atol=1e-4)
    assert torch.allclose(model.extend(fork, tokens[6:7], Lora()), whole[6:7], atol=1e-4)


async def test_stop_strings_need_a_tokenizer(tmp_path: Path) -> None:
    async with serving(tmp_path, models=models()) as client:
        await client.begin()
        for number, base in enumerate(("llama", "qwen2")):
            session = {"session_id": client.session_id, "sampling_session_seq_id": number, "base_model": base}
            sampler_id = (await client.post("create_sampling_session", session))["sampling_session_id"]
            params: Body = {"max_tokens": 60, "seed": 1, "stop": []}
            body: Body = {
                "sampling_session_id": sampler_id,
                "seq_id": 0,
                "prompt": {"chunks": [{"tokens": TOKENS, "type": "encoded_text"}]},
                "sampling_params": params,
            }
            free = (await client.ok("asample", body))["sequences"][0]["tokens"]
            stop = {**params, "stop": "".join(map(chr, free[4:6]))}
            stopped: Body = {**body, "seq_id": 1, "sampling_params": stop}
            if base == "qwen2":
                assert "give stop tokens instead" in await client.refused("asample", stopped)
                continue
            (sequence,) = (await client.ok("asample", stopped))["sequences"]
            assert (sequence["stop_reason"], sequence["tokens"]) == ("stop", free[:6])


async def test_an_unknown_base_model_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    """A request names a model and never gives a path."""
    async with serving(tmp_path, models=models()) as client:
        listed = await client.get("get_server_capabilities")
        names = [model["model_name"] for model in listed["supported_models"]]
        assert names == ["tinkex/byte-tiny", *sorted(FAMILIES)]
        await client.begin()
        for name in (str(models() / "llama"), "../llama", "gpt"):
            detail = await client.refused("create_model", create_model(client.session_id, base_model=name))
            assert "known: tinkex/byte-tiny, gemma" in detail


async def test_a_folder_that_cannot_be_loaded_fails_its_models_only(tmp_path: Path) -> None:
    write_config(tmp_path / "models" / "torn", architectures=["LlamaForCausalLM"])
    write_config(tmp_path / "models" / "strange", model_type="no-such-family")
    async with serving(tmp_path / "root", models=tmp_path / "models") as client:
        await client.begin()
        with logged():
            for number, name in enumerate(("torn", "strange")):
                body = create_model(client.session_id, number, base_model=name)
                failure = await client.failure("create_model", body)
                assert f"the base model {name} cannot be loaded" in failure["message"]
                assert failure["category"] == "server"
        assert (await model_over(client, BUILTIN_MODEL, 2)).model_id


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # of transformers, told to peft
async def test_peft_reads_an_adapter_of_the_built_in_model(tmp_path: Path) -> None:
    """Over Qwen3ForCausalLM with the built-in model's weights: the same logits, to 1e-5, from the archive's files."""
    async with serving(tmp_path / "root") as client:
        model = await client.model(rank=8)
        await model.train(DATA, 3)
        path = await model.save("x")
        (folder,) = (tmp_path / "root" / "checkpoints").iterdir()
        ours = await model.forward(DATA)
    assert path.endswith("/weights/x")
    peft, transformers = import_module("peft"), import_module("transformers")
    config = DecoderConfig()
    shape = {name: value for name, value in vars(config).items() if name not in {"seed", "initializer_range"}}
    qwen = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**shape, tie_word_embeddings=False))
    qwen.load_state_dict(Decoder(config).state_dict())
    theirs = logprobs(peft.PeftModel.from_pretrained(qwen, folder))
    for found, output in zip(theirs, ours["loss_fn_outputs"], strict=True):
        assert found == pytest.approx(output["logprobs"]["data"], abs=1e-5)
