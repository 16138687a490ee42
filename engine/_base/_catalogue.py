"""The base models that requests may name."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tinkex.engine._base._errors import Refusal

BUILTIN_MODEL: Final = "tinkex/byte-tiny"
"""The model that is always there: made from ``DecoderConfig()`` and its fixed seed, nothing to download."""


@dataclass(frozen=True)
class DecoderConfig:
    """The shape of a Qwen3-style decoder, in the field's usual names."""

    vocab_size: int = 512
    hidden_size: int = 64
    intermediate_size: int = 192
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 16
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    initializer_range: float = 0.1
    """Wide on purpose: LoRA teaches a random base of 0.02 next to nothing."""
    seed: int = 20_240_501

    def projections(self) -> Mapping[str, tuple[int, int]]:
        """Return the (out, in) sizes of every module that LoRA can adapt, by its path, in the model's order."""
        heads, shared = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        hidden, wide = self.hidden_size, self.intermediate_size
        sizes: dict[str, tuple[int, int]] = {}
        for layer in range(self.num_hidden_layers):
            attention, mlp = f"model.layers.{layer}.self_attn", f"model.layers.{layer}.mlp"
            sizes[f"{attention}.q_proj"] = (heads, hidden)
            sizes[f"{attention}.k_proj"] = (shared, hidden)
            sizes[f"{attention}.v_proj"] = (shared, hidden)
            sizes[f"{attention}.o_proj"] = (hidden, heads)
            sizes[f"{mlp}.gate_proj"] = (wide, hidden)
            sizes[f"{mlp}.up_proj"] = (wide, hidden)
            sizes[f"{mlp}.down_proj"] = (hidden, wide)
        sizes["lm_head"] = (self.vocab_size, hidden)
        return sizes


@dataclass(frozen=True)
class BaseModel:
    """One base model: what can be said about it without loading it."""

    name: str
    arch: str
    vocab_size: int
    max_context_length: int
    """Tokens that one datum may have."""
    eos_tokens: frozenset[int]
    """What ends a sampled sequence unless its request says otherwise."""
    config: DecoderConfig | None = None
    """Of a model that is made from a seed."""
    folder: Path | None = None
    """Of a model that is loaded from files."""

    @property
    def tokenizer_id(self) -> str:
        """The name of its tokenizer."""
        return self.name


def builtin() -> BaseModel:
    """Return the built-in model: tokens 0 to 255 are bytes, 256 ends a text."""
    config = DecoderConfig()
    return BaseModel(
        BUILTIN_MODEL, "qwen3", config.vocab_size, config.max_position_embeddings, frozenset({256}), config=config
    )


class Catalogue:
    """The base models of one engine, the built-in one first."""

    def __init__(self, more: Iterable[BaseModel] = ()) -> None:
        entries = (builtin(), *more)
        self._by_name: Final = {entry.name: entry for entry in entries}

    def __iter__(self) -> Iterator[BaseModel]:
        return iter(self._by_name.values())

    def get(self, name: str) -> BaseModel:
        """Return the base model of that name.

        Raises:
            Refusal: 400 that names the known ones.
        """
        known = self._by_name.get(name)
        if known is None:
            raise Refusal(400, f"unknown base model {name[:64]!r}; known: {', '.join(self._by_name)}")
        return known
