"""Tiny random models in Hugging Face's layout, as folders."""

import atexit
import json
import shutil
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

FAMILIES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "mistral")
VOCAB = 300


def config_of(family: str, *, tied: bool = False) -> Any:
    """Return a tiny configuration of a family."""
    transformers: Any = import_module("transformers")
    return transformers.AutoConfig.for_model(
        family,
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=256,
        sliding_window=16,
        initializer_range=0.1,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def write_model(folder: Path, family: str, *, tied: bool = False) -> Path:
    """Write a random model of a family into ``folder/<family>``."""
    import torch

    transformers: Any = import_module("transformers")
    torch.manual_seed(11)  # pyright: ignore[reportUnknownMemberType] - torch
    model = transformers.AutoModelForCausalLM.from_config(config_of(family, tied=tied))
    model.save_pretrained(folder / family)
    return folder / family


@cache
def models() -> Path:
    """Return a folder with one model of each family, and folders that are no models; made once in a run."""
    folder = Path(mkdtemp(prefix="tinkex-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for family in FAMILIES:
        write_model(folder, family, tied=family.startswith("gemma"))
    write_tokenizer(folder / "llama")
    return folder


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer whose token n stands for the letter of code n."""
    tokenizers: Any = import_module("tokenizers")
    vocabulary = {chr(code): code for code in range(VOCAB)}
    model = tokenizers.models.WordLevel(vocabulary, unk_token=chr(0))
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))


def write_config(folder: Path, **fields: Any) -> Path:
    """Write a folder that looks like a model, with these fields in its configuration."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 9, **fields}))
    return folder
