"""Where the tensors of a LoRA adapter lie in its flat buffers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from torch import Tensor

LORA_ALPHA: Final = 32
"""The adapter's output is scaled by ``LORA_ALPHA / rank``, whatever the rank."""

BYTES_PER_PARAMETER: Final = 16
"""Four float32: weight, gradient and the two moments of AdamW."""

_ATTENTION: Final = frozenset({"q_proj", "k_proj", "v_proj", "o_proj"})
_MLP: Final = frozenset({"gate_proj", "up_proj", "down_proj"})

PROJECTIONS: Final = _ATTENTION | _MLP | {"lm_head"}
"""The last names of the modules that LoRA adapts, the same in all families of decoders that are served."""


class LoraSpec(msgspec.Struct, frozen=True):
    """The adapter of one model, its seed settled."""

    rank: int
    seed: int
    train_mlp: bool
    train_attn: bool
    train_unembed: bool

    @property
    def shape(self) -> str:
        """What two adapters must have in common, in words."""
        parts = {"attn": self.train_attn, "mlp": self.train_mlp, "unembed": self.train_unembed}
        return f"rank {self.rank} on {'+'.join(name for name, wanted in parts.items() if wanted)}"

    def targets(self, module: str) -> bool:
        """Whether the module of this path is adapted."""
        last = module.rpartition(".")[2]
        if last in _ATTENTION:
            return self.train_attn
        return self.train_mlp if last in _MLP else self.train_unembed


@dataclass(frozen=True)
class Slot:
    """One tensor of an adapter."""

    module: str
    part: str
    """``lora_A`` or ``lora_B``."""
    shape: tuple[int, int]
    offset: int

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.shape)

    def of(self, buffer: "Tensor") -> "Tensor":
        """Return this tensor's place in a flat buffer, as a view of its shape."""
        return buffer[self.offset : self.offset + self.size].view(self.shape)

    @property
    def key(self) -> str:
        """The tensor's name in a PEFT adapter file."""
        return f"base_model.model.{self.module}.{self.part}.weight"


@dataclass(frozen=True)
class Layout:
    """All tensors of an adapter, back to back in the model's order, A before B."""

    slots: tuple[Slot, ...]
    rank: int

    @classmethod
    def of(cls, projections: Mapping[str, tuple[int, int]], spec: LoraSpec) -> "Layout":
        """Lay out the adapter that ``spec`` asks for over modules of these (out, in) sizes."""
        slots: list[Slot] = []
        offset = 0
        for module, (wide_out, wide_in) in projections.items():
            if not spec.targets(module):
                continue
            for part, shape in (("lora_A", (spec.rank, wide_in)), ("lora_B", (wide_out, spec.rank))):
                slots.append(Slot(module, part, shape, offset))
                offset += math.prod(shape)
        return cls(tuple(slots), spec.rank)

    @cached_property
    def size(self) -> int:
        """Elements of one flat buffer."""
        return sum(slot.size for slot in self.slots)

    @property
    def scale(self) -> float:
        """What the adapter's output is multiplied by."""
        return LORA_ALPHA / self.rank

    @property
    def nbytes(self) -> int:
        """Memory of an adapter with gradients and moments."""
        return self.size * BYTES_PER_PARAMETER
