"""The two models that are measured, and their data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

RANK = 8


@dataclass(frozen=True)
class Shape:
    """A Qwen3-style model and one batch for it."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    vocab: int
    rows: int
    length: int

    @property
    def text(self) -> str:
        return f"{self.layers} layers, hidden {self.hidden}, {self.rows} x {self.length} tokens"

    def data(self) -> list[list[int]]:
        """Return rows of ``length + 1`` tokens: inputs, and targets one place on."""
        draw = np.random.default_rng(5)
        rows: list[list[int]] = draw.integers(0, self.vocab, (self.rows, self.length + 1)).tolist()
        return rows


SMALL = Shape("small", 2, 64, 192, 4, 2, 512, rows=8, length=32)
LARGER = Shape("larger", 4, 256, 768, 8, 4, 512, rows=16, length=256)
SHAPES = {shape.name: shape for shape in (SMALL, LARGER)}


def write_model(shape: Shape, folder: Path) -> None:
    """Write a random model of a shape in Hugging Face's layout."""
    torch.manual_seed(3)  # pyright: ignore[reportUnknownMemberType] - torch
    auto: Any = transformers
    config = auto.Qwen3Config(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.hidden // shape.heads,
        max_position_embeddings=2048,
        initializer_range=0.1,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    auto.Qwen3ForCausalLM(config).save_pretrained(folder / shape.name)
