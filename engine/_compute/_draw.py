"""Which token comes next: temperature, top_k and top_p, in this order. Imports torch."""

import torch
from torch import Tensor

from tinkex.protocol.wire import SamplingParams


def draw(logits: Tensor, params: SamplingParams, source: torch.Generator) -> int:
    """Draw a token from ``logits`` [vocab] float32 on the CPU.

    A temperature of 0 takes the likeliest. top_k keeps the k likeliest (-1 and 0 keep all); top_p the smallest set of
    the likeliest whose probabilities come to at least that, never fewer than one.
    """
    if params.temperature <= 0.0 or params.top_k == 1:
        return int(logits.argmax())
    # The likeliest becomes 0, so that no temperature, however small, makes an infinity of it.
    scaled = (logits.double() - logits.max()) / params.temperature
    probabilities = torch.softmax(scaled, dim=-1)
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    if 0 < params.top_k < len(ordered):
        ordered, tokens = ordered[: params.top_k], tokens[: params.top_k]
        ordered = ordered / ordered.sum()
    if params.top_p < 1.0:
        before = ordered.cumsum(-1) - ordered
        kept = int((before < params.top_p).sum().clamp(min=1))
        ordered, tokens = ordered[:kept], tokens[:kept]
    return int(tokens[int(torch.multinomial(ordered, 1, generator=source))])
