"""How an adapter is made and how a step is taken."""

import msgspec

from tinkex.protocol._checks import check_flag, check_number, check_whole
from tinkex.protocol._errors import TinkexError, validation

MAX_RANK = 1024
_MAX_SEED = 2**63 - 1


class LoraConfig(msgspec.Struct, frozen=True):
    """The LoRA adapter of a new model."""

    rank: int = 32
    """1 to 1024."""
    seed: int | None = None
    """Of the adapter's first weights; None lets the server draw one."""
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        flags = {name: getattr(self, name) for name in ("train_mlp", "train_attn", "train_unembed")}
        error = check_whole("rank", self.rank, 1, MAX_RANK)
        if error is None and self.seed is not None:
            error = check_whole("seed", self.seed, 0, _MAX_SEED)
        for name, flag in flags.items():
            error = error or check_flag(name, flag)
        if error is None and not any(flags.values()):
            error = validation("one of train_mlp, train_attn and train_unembed must be True: nothing would be trained")
        return error


class AdamParams(msgspec.Struct, frozen=True):
    """AdamW's parameters for one step; each step may have others."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    """Decoupled: each step multiplies the weights by ``1 - learning_rate * weight_decay`` first."""
    grad_clip_norm: float = 0.0
    """Global L2 norm to which larger gradients are scaled down; 0 is off."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return (
            check_number("learning_rate", self.learning_rate, 0.0)
            or check_number("beta1", self.beta1, 0.0, below=1.0)
            or check_number("beta2", self.beta2, 0.0, below=1.0)
            or check_number("eps", self.eps, above=0.0)
            or check_number("weight_decay", self.weight_decay, 0.0)
            or check_number("grad_clip_norm", self.grad_clip_norm, 0.0)
        )
