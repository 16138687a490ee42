"""AdamW against torch's own."""

import pytest
import torch

from tinkex.engine._compute._adamw import Moments, adamw_step, clip
from tinkex.protocol import AdamParams

SIZE = 257


def random(seed: int) -> torch.Tensor:
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_are_those_of_torch(decay: float) -> None:
    """Ten steps whose learning rate changes each time give torch's weights and moments, bit for bit."""
    weights, moments = random(0), Moments.zeros(SIZE)
    twin = weights.clone().requires_grad_()
    oracle = torch.optim.AdamW([twin], betas=(0.9, 0.95), eps=1e-12, weight_decay=decay, foreach=False)
    for step in range(1, 11):
        grad, rate = random(step), 1e-2 / step
        twin.grad = grad.clone()
        oracle.param_groups[0]["lr"] = rate
        oracle.step()  # pyright: ignore[reportUnknownMemberType] - torch
        adamw_step(weights, grad, moments, AdamParams(learning_rate=rate, weight_decay=decay))
        assert moments.step == step
    assert torch.equal(weights, twin.detach())
    assert torch.equal(moments.first, oracle.state[twin]["exp_avg"])
    assert torch.equal(moments.second, oracle.state[twin]["exp_avg_sq"])


def test_every_parameter_of_a_step_counts() -> None:
    """Two steps with each parameter changed give other weights."""
    seen: set[bytes] = set()
    defaults = {"learning_rate": 1e-2, "beta1": 0.9, "beta2": 0.95, "eps": 1e-12, "weight_decay": 0.0}
    changes = {"learning_rate": 2e-2, "beta1": 0.8, "beta2": 0.9, "eps": 1e-2, "weight_decay": 0.5}
    for name in ("none", *changes):
        weights, moments = random(0), Moments.zeros(SIZE)
        for step in (1, 2):
            params = AdamParams(**{**defaults, **({name: changes[name]} if name in changes else {})})
            adamw_step(weights, random(step), moments, params)
        seen.add(weights.numpy().tobytes())
    assert len(seen) == 1 + len(changes)


def test_decay_is_decoupled() -> None:
    """Without gradients only ``1 - lr * wd`` acts."""
    weights = random(0)
    before = weights.clone()
    adamw_step(weights, torch.zeros(SIZE), Moments.zeros(SIZE), AdamParams(learning_rate=0.1, weight_decay=0.5))
    assert torch.equal(weights, before * 0.95)


def test_clip_scales_only_longer_gradients() -> None:
    """To exactly the limit, direction kept; 0 is off; the norm before is returned."""
    grad = torch.tensor([3.0, 4.0])
    assert clip(grad, 0.0) == 5.0
    assert clip(grad, 10.0) == 5.0
    assert torch.equal(grad, torch.tensor([3.0, 4.0]))
    assert clip(grad, 1.0) == 5.0
    torch.testing.assert_close(grad, torch.tensor([0.6, 0.8]))
