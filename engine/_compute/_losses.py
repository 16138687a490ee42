"""The losses: sums over the tokens of one datum, never means."""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor]
Config = Mapping[str, float]
Loss = Callable[[Tensor, Inputs, Config], Tensor]


def cross_entropy(logprobs: Tensor, inputs: Inputs, _config: Config) -> Tensor:
    """Return ``-sum(w * p)``."""
    return -(inputs["weights"] * logprobs).sum()


def importance_sampling(logprobs: Tensor, inputs: Inputs, _config: Config) -> Tensor:
    """Return ``-sum(r * A)`` with ``r = exp(p - q)``; tokens whose mask is 0 count exactly 0."""
    mask, ratio = _ratio(logprobs, inputs)
    return -(mask * (ratio * inputs["advantages"])).sum()


def ppo(logprobs: Tensor, inputs: Inputs, config: Config) -> Tensor:
    """Return ``-sum(min(r * A, clip(r, low, high) * A))``; the thresholds bound the ratio itself."""
    mask, ratio = _ratio(logprobs, inputs)
    advantages = inputs["advantages"]
    clipped = ratio.clamp(config.get("clip_low_threshold", CLIP_LOW), config.get("clip_high_threshold", CLIP_HIGH))
    return -(mask * torch.minimum(ratio * advantages, clipped * advantages)).sum()


def cispo(logprobs: Tensor, inputs: Inputs, config: Config) -> Tensor:
    """Return ``-sum(stopgrad(clip(r, low, high)) * p * A)``."""
    mask, ratio = _ratio(logprobs, inputs)
    clipped = ratio.clamp(config.get("clip_low_threshold", CLIP_LOW), config.get("clip_high_threshold", CLIP_HIGH))
    return -(mask * (clipped.detach() * logprobs * inputs["advantages"])).sum()


def dro(logprobs: Tensor, inputs: Inputs, config: Config) -> Tensor:
    """Return ``-sum(p * A - beta / 2 * (p - q)^2)``."""
    mask = inputs.get("weights", torch.ones_like(logprobs))
    change = torch.where(mask != 0.0, logprobs - inputs["logprobs"], torch.zeros_like(logprobs))
    return -(mask * (logprobs * inputs["advantages"] - config.get("beta", BETA) / 2.0 * change.square())).sum()


def _ratio(logprobs: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Return mask and ratio; where the mask is 0 the ratio is 1, without a gradient: nothing overflows there."""
    change = logprobs - inputs["logprobs"]
    mask = inputs.get("weights")
    if mask is None:
        return torch.ones_like(logprobs), change.exp()
    return mask, torch.where(mask != 0.0, change, torch.zeros_like(change)).exp()


CLIP_LOW: Final = 0.8
CLIP_HIGH: Final = 1.2
BETA: Final = 0.05

LOSSES: Final[Mapping[str, Loss]] = {
    "cross_entropy": cross_entropy,
    "importance_sampling": importance_sampling,
    "ppo": ppo,
    "cispo": cispo,
    "dro": dro,
}
"""By the name that requests give."""
