"""What every base model offers, whoever wrote it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

Cache = Any
"""The keys and values of a sequence so far; only the model that made it can read it. ``copy.deepcopy`` forks it."""


@dataclass(frozen=True)
class Lora:
    """The LoRA weights of one pass: (A, B) by module path, and the scale of their product."""

    pairs: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict[str, tuple[Tensor, Tensor]])
    scale: float = 1.0


class CausalLM(Protocol):
    """A frozen decoder that takes LoRA weights as arguments. One sequence a pass, without padding.

    So the bits of a datum's logits never depend on its neighbours. Lives in the compute thread.
    """

    @property
    def projections(self) -> Mapping[str, tuple[int, int]]:
        """The (out, in) sizes of every module that LoRA can adapt, by its path, in the model's order."""
        ...

    def logits(self, tokens: Tensor, lora: Lora) -> Tensor:
        """Turn ``tokens`` [T] int64 into logits [T, vocab] float32."""
        ...

    def begin(self) -> Cache:
        """Return the cache of an empty sequence."""
        ...

    def extend(self, cache: Cache, tokens: Tensor, lora: Lora) -> Tensor:
        """Append ``tokens`` [T] int64 to the sequence of ``cache``; return their logits [T, vocab] float32."""
        ...
