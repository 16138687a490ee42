"""AdamW on flat buffers."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from tinkex.protocol import AdamParams


@dataclass
class Moments:
    """The optimizer's state: two flat moments and the count of steps taken."""

    first: Tensor
    second: Tensor
    step: int = 0

    @classmethod
    def zeros(cls, size: int, device: str | torch.device = "cpu") -> "Moments":
        """The state before the first step."""
        return cls(torch.zeros(size, device=device), torch.zeros(size, device=device))

    def to(self, device: torch.device) -> "Moments":
        """Return the state on a device."""
        return Moments(self.first.to(device), self.second.to(device), self.step)


def clip(grad: Tensor, limit: float) -> float:
    """Scale ``grad`` in place to the L2 norm ``limit`` where it is longer (0 is off); return the norm it had."""
    norm = float(torch.linalg.vector_norm(grad))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - torch
    if limit > 0.0 and norm > limit:
        grad.mul_(limit / norm)
    return norm


def adamw_step(weights: Tensor, grad: Tensor, moments: Moments, params: AdamParams) -> None:
    """Take one step in place, in torch's own order of operations: decay, moments, bias correction, update.

    ``weights``, ``grad`` and both moments are flat float32 buffers of one length.
    """
    moments.step += 1
    weights.mul_(1.0 - params.learning_rate * params.weight_decay)
    moments.first.lerp_(grad, 1.0 - params.beta1)
    moments.second.mul_(params.beta2).addcmul_(grad, grad, value=1.0 - params.beta2)
    first_bias = 1.0 - params.beta1**moments.step
    second_bias = math.sqrt(1.0 - params.beta2**moments.step)
    scale = (moments.second.sqrt() / second_bias).add_(params.eps)
    weights.addcdiv_(moments.first, scale, value=-params.learning_rate / first_bias)
