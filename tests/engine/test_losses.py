"""The losses against their formulas, written once more token by token."""

import math

import pytest
import torch

from tinkex.engine._compute._losses import CLIP_HIGH, CLIP_LOW, LOSSES
from tinkex.engine._service._validation import LOSS_RULES

P = [-0.1, -2.0, -0.7, -1.3, -0.05]
Q = [-0.3, -1.0, -0.7, -3.0, -0.9]
A = [1.0, -2.0, 0.5, 3.0, -1.5]
W = [1.0, 0.5, 0.0, 2.0, -1.0]


def evaluated(loss_fn: str, config: dict[str, float], **inputs: list[float]) -> tuple[float, list[float]]:
    logprobs = torch.tensor(P, requires_grad=True)
    loss = LOSSES[loss_fn](logprobs, {name: torch.tensor(value) for name, value in inputs.items()}, config)
    (grad,) = torch.autograd.grad(loss, logprobs)
    return loss.item(), [float(value) for value in grad]


def clipped(ratio: float, low: float, high: float) -> float:
    return min(max(ratio, low), high)


def test_cross_entropy_is_minus_the_weighted_sum() -> None:
    """Negative and zero weights are as good as others; nothing is averaged."""
    loss, grad = evaluated("cross_entropy", {}, weights=W)
    assert loss == pytest.approx(-sum(w * p for w, p in zip(W, P, strict=True)))
    assert grad == pytest.approx([-w for w in W])


@pytest.mark.parametrize("mask", [None, W])
def test_importance_sampling_is_minus_the_sum_of_ratio_times_advantage(mask: list[float] | None) -> None:
    """Gradient and value; a mask multiplies."""
    inputs = {"logprobs": Q, "advantages": A} | ({} if mask is None else {"weights": mask})
    loss, grad = evaluated("importance_sampling", {}, **inputs)
    terms = [w * math.exp(p - q) * a for w, p, q, a in zip(mask or [1.0] * 5, P, Q, A, strict=True)]
    assert loss == pytest.approx(-sum(terms))
    assert grad == pytest.approx([-term for term in terms])


@pytest.mark.parametrize("bounds", [{}, {"clip_low_threshold": 0.5, "clip_high_threshold": 3.0}])
@pytest.mark.parametrize("mask", [None, [1.0, 0.0, 1.0, 0.5, 1.0]])
def test_ppo_is_minus_the_sum_of_the_smaller_term(bounds: dict[str, float], mask: list[float] | None) -> None:
    """The thresholds bound the ratio itself, 0.8 and 1.2 unless they are given."""
    inputs = {"logprobs": Q, "advantages": A} | ({} if mask is None else {"weights": mask})
    low, high = bounds.get("clip_low_threshold", CLIP_LOW), bounds.get("clip_high_threshold", CLIP_HIGH)
    loss, _ = evaluated("ppo", bounds, **inputs)
    total = 0.0
    for w, p, q, a in zip(mask or [1.0] * 5, P, Q, A, strict=True):
        ratio = math.exp(p - q)
        total += w * min(ratio * a, clipped(ratio, low, high) * a)
    assert loss == pytest.approx(-total, rel=1e-4)


@pytest.mark.parametrize("bounds", [{}, {"clip_low_threshold": 0.5, "clip_high_threshold": 3.0}])
@pytest.mark.parametrize("mask", [None, W])
def test_cispo_weighs_the_logprobs_by_a_clipped_ratio_without_a_gradient(
    bounds: dict[str, float], mask: list[float] | None
) -> None:
    inputs = {"logprobs": Q, "advantages": A} | ({} if mask is None else {"weights": mask})
    low, high = bounds.get("clip_low_threshold", CLIP_LOW), bounds.get("clip_high_threshold", CLIP_HIGH)
    loss, grad = evaluated("cispo", bounds, **inputs)
    rows = list(zip(mask or [1.0] * 5, P, Q, A, strict=True))
    slopes = [-w * clipped(math.exp(p - q), low, high) * a for w, p, q, a in rows]
    assert loss == pytest.approx(sum(slope * p for slope, p in zip(slopes, P, strict=True)))
    assert grad == pytest.approx(slopes)


@pytest.mark.parametrize("config", [{}, {"beta": 0.7}])
@pytest.mark.parametrize("mask", [None, W])
def test_dro_holds_the_policy_near_the_samplers_by_a_square(config: dict[str, float], mask: list[float] | None) -> None:
    inputs = {"logprobs": Q, "advantages": A} | ({} if mask is None else {"weights": mask})
    beta = config.get("beta", 0.05)
    loss, grad = evaluated("dro", config, **inputs)
    rows = list(zip(mask or [1.0] * 5, P, Q, A, strict=True))
    assert loss == pytest.approx(-sum(w * (p * a - beta / 2 * (p - q) ** 2) for w, p, q, a in rows))
    assert grad == pytest.approx([-w * (a - beta * (p - q)) for w, p, q, a in rows])


@pytest.mark.parametrize("loss_fn", ["importance_sampling", "ppo", "cispo", "dro"])
def test_masked_tokens_count_exactly_nothing(loss_fn: str) -> None:
    """Not even where their ratio would overflow."""
    overflowing = [-1e30 if w == 0.0 else q for w, q in zip(W, Q, strict=True)]
    plain, grad = evaluated(loss_fn, {}, logprobs=Q, advantages=A, weights=W)
    wild, wild_grad = evaluated(loss_fn, {}, logprobs=overflowing, advantages=A, weights=W)
    assert (plain, grad) == (wild, wild_grad)
    assert grad[2] == 0.0


def test_what_is_checked_at_the_door_is_what_can_be_computed() -> None:
    """The table of rules and the table of losses name the same."""
    assert set(LOSS_RULES) == set(LOSSES)
