"""One LoRA adapter: its weights, pending gradients and optimizer state in flat buffers."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._base._layout import Layout
from tinkex.engine._compute._adamw import Moments, adamw_step, clip
from tinkex.engine._compute._causal_lm import CausalLM, Lora
from tinkex.engine._compute._losses import LOSSES
from tinkex.protocol import AdamParams


@dataclass(frozen=True)
class Example:
    """One datum as tensors: tokens [T] and targets [T] or [T, K] int64, the other inputs float32 as the targets."""

    tokens: Tensor
    targets: Tensor
    inputs: Mapping[str, Tensor]


class Adapter:
    """A trainable LoRA adapter over a frozen base model. Lives in the compute thread.

    Weights, gradient and both moments are one float32 buffer each; the A and B of every module are views.
    The first weights are drawn on the CPU, so that a seed means the same on every device.
    """

    def __init__(self, layout: Layout, seed: int, device: str = "cpu") -> None:
        self.layout = layout
        self.weights = torch.zeros(layout.size, device=device)
        self.grad = torch.zeros(layout.size, device=device)
        self.moments = Moments.zeros(layout.size, device)
        self.pending = False
        """Whether ``grad`` has anything that no step has used yet."""
        source = torch.Generator().manual_seed(seed)
        for slot in layout.slots:
            if slot.part == "lora_A":
                bound = 1.0 / math.sqrt(slot.shape[1])
                drawn = torch.empty(slot.shape).uniform_(-bound, bound, generator=source)
                slot.of(self.weights).copy_(drawn)
        self._lora = lora_over(layout, self.weights, self.grad)

    def run(
        self, model: CausalLM, examples: list[Example], loss_fn: str, config: Mapping[str, float], *, backward: bool
    ) -> tuple[list[Tensor], float]:
        """Pass over ``examples`` one by one, in order; return the logprobs of their targets, and the sum of the losses.

        With ``backward`` the gradients are added to ``grad``, in the same order, so that no chunking of a batch
        changes a bit of them.

        Raises:
            OperationFailed: naming the datum whose loss is no finite number, or that the gradients are none.
        """
        outputs: list[Tensor] = []
        total = 0.0
        if backward:
            self.pending = True
        for index, example in enumerate(examples):
            with torch.set_grad_enabled(backward):
                logits = model.logits(example.tokens, self._lora)
                scores = functional.log_softmax(logits, dim=-1)
                # Targets [T, K] ask for K tokens at each place.
                wide = example.targets if example.targets.dim() > 1 else example.targets.unsqueeze(-1)
                logprobs = scores.gather(-1, wide).view(example.targets.shape)
                loss = LOSSES[loss_fn](logprobs, example.inputs, config)
                value = loss.item()
                if not math.isfinite(value):
                    raise OperationFailed(f"the {loss_fn} loss of data[{index}] is {value}; no gradient can come of it")
                if backward:
                    loss.backward()  # type: ignore[no-untyped-call]
            outputs.append(logprobs.detach())
            total += value
        if backward and not finite(self.grad):
            raise OperationFailed(f"the gradients of the {loss_fn} loss have NaN or infinite values")
        return outputs, total

    def step(self, params: AdamParams) -> float:
        """Apply the pending gradients once and clear them; return their L2 norm before clipping.

        Without pending gradients the step is taken with zeros: the moments decay.

        Raises:
            OperationFailed: where weights are no finite numbers afterwards.
        """
        norm = clip(self.grad, params.grad_clip_norm)
        with torch.no_grad():
            adamw_step(self.weights, self.grad, self.moments, params)
        self.grad.zero_()
        self.pending = False
        if not finite(self.weights):
            raise OperationFailed(f"step {self.moments.step} made weights NaN or infinite; is its learning rate right?")
        return norm

    def restore(self, weights: Tensor, moments: Moments | None, grad: Tensor | None) -> None:
        """Take over flat ``weights``, and moments and pending gradients or, for None, fresh ones."""
        size = self.layout.size
        self.weights.copy_(weights)
        self.grad.zero_() if grad is None else self.grad.copy_(grad)
        self.pending = grad is not None
        device = self.weights.device
        self.moments = Moments.zeros(size, device) if moments is None else moments.to(device)


def lora_over(layout: Layout, weights: Tensor, grad: Tensor | None = None) -> Lora:
    """Return the LoRA weights that lie in a flat buffer; with ``grad`` their gradients are added to that one."""
    views: dict[tuple[str, str], Tensor] = {}
    for slot in layout.slots:
        view = views[slot.module, slot.part] = slot.of(weights)
        if grad is not None:
            view.requires_grad_(True)
            view.grad = slot.of(grad)
    modules = dict.fromkeys(slot.module for slot in layout.slots)
    return Lora({module: (views[module, "lora_A"], views[module, "lora_B"]) for module in modules}, layout.scale)


def finite(buffer: Tensor) -> bool:
    """Whether every element is a finite number."""
    return bool(torch.isfinite(buffer).all())
