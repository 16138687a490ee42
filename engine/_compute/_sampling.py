"""One request to sample, computed in slices, so that a long one holds up nobody. Lives in the compute thread."""

import copy
from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor

from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._base._stops import Stops
from tinkex.engine._compute._causal_lm import CausalLM, Lora
from tinkex.engine._compute._draw import draw
from tinkex.engine._compute._examples import to_tensor, to_tokens, to_wire
from tinkex.protocol import TensorData, wire
from tinkex.protocol.wire import SampledSequence, SampleRequest, SampleResult

_SLICE: Final = 32
"""Tokens after which others get a turn."""

_SEEDS: Final = 1 << 63


@dataclass(frozen=True)
class SampleOrder:
    """A checked request to sample."""

    request: SampleRequest
    seed: int
    """Of the first sequence; each next one has the next number."""
    max_tokens: int
    stops: Stops


class Sampling:
    """A request on its way; ``advance`` until it gives the result.

    All logprobs are the model's own, before temperature, top_k and top_p: those that a forward pass of the same
    weights computes.
    """

    def __init__(self, order: SampleOrder, model: CausalLM, lora: Lora, device: str) -> None:
        self._order: Final = order
        self._model: Final = model
        self._lora: Final = lora
        self._device: Final = device
        self._prompt: Final = to_tokens(order.request.prompt)
        self._begun = False
        self._result = SampleResult([])
        self._prefix: object = None
        self._first = torch.empty(0)
        """The logits after the prompt."""
        self._sequence: _Sequence | None = None
        self._sequences: list[SampledSequence] = []

    @torch.no_grad()
    def advance(self) -> SampleResult | None:
        """Compute a slice; return the result once there is nothing left to do.

        Raises:
            OperationFailed: where the logits are no finite numbers.
        """
        if not self._begun:
            self._read_prompt()
            self._begun = True
            return None
        request, order = self._order.request, self._order
        if len(self._sequences) == request.num_samples:
            return wire.SampleResult(
                sequences=self._sequences,
                prompt_logprobs=self._result.prompt_logprobs,
                topk_prompt_logprobs=self._result.topk_prompt_logprobs,
                target_prompt_logprobs=self._result.target_prompt_logprobs,
            )
        if self._sequence is None:
            seed = (order.seed + len(self._sequences)) % _SEEDS
            self._sequence = _Sequence(copy.deepcopy(self._prefix), self._first, seed, request.topk_sample_logprobs)
        done = self._sequence
        for _ in range(_SLICE):
            token = done.take(request.sampling_params)
            stopped = order.stops.end(done.tokens)
            if stopped or len(done.tokens) == order.max_tokens:
                self._sequences.append(done.finished("stop" if stopped else "length"))
                self._sequence = None
                break
            done.logits = self._extend(done.cache, torch.tensor([token]))[-1]
        return None

    def _extend(self, cache: object, tokens: Tensor) -> Tensor:
        logits = self._model.extend(cache, tokens.to(self._device), self._lora).cpu()
        if not bool(torch.isfinite(logits[-1]).all()):
            raise OperationFailed("the model's logits have NaN or infinite values; its weights cannot be sampled from")
        return logits

    def _read_prompt(self) -> None:
        request, prompt = self._order.request, self._prompt
        self._prefix = self._model.begin()
        logits = self._extend(self._prefix, prompt)
        self._first = logits[-1]
        asked = request.prompt_logprobs or request.topk_prompt_logprobs or request.target_prompt_logprobs is not None
        if not asked:
            return
        scores = torch.log_softmax(logits[:-1], dim=-1)
        chosen: list[float | None] | None = None
        if request.prompt_logprobs:
            values = numbers(scores.gather(-1, prompt[1:].unsqueeze(-1)).squeeze(-1))
            undefined = len(prompt) - min(request.prompt_logprobs_last_n or len(prompt), len(prompt) - 1)
            chosen = [None] * undefined + values[undefined - 1 :]
        likeliest: wire.TopK | None = None
        if request.topk_prompt_logprobs:
            likeliest = [None, *(topk(row, request.topk_prompt_logprobs) for row in scores)]
        targets: TensorData | None = None
        if request.target_prompt_logprobs is not None:
            wanted = to_tensor(request.target_prompt_logprobs)
            found = scores.gather(-1, wanted.clamp(min=0))
            targets = to_wire(torch.where(wanted < 0, torch.zeros_like(found), found))
        self._result = SampleResult([], chosen, likeliest, targets)


class _Sequence:
    """One sequence while it grows."""

    def __init__(self, cache: object, logits: Tensor, seed: int, k: int) -> None:
        self.cache: Final = cache
        self.logits = logits
        self.tokens: list[int] = []
        self._source: Final = torch.Generator().manual_seed(seed)
        self._logprobs: list[float] = []
        self._k: Final = k
        self._likeliest: wire.TopK = []

    def take(self, params: wire.SamplingParams) -> int:
        """Draw the next token."""
        token = draw(self.logits, params, self._source)
        scores = torch.log_softmax(self.logits, dim=-1)
        self.tokens.append(token)
        self._logprobs.append(float(scores[token]))
        if self._k:
            self._likeliest.append(topk(scores, self._k))
        return token

    def finished(self, reason: str) -> SampledSequence:
        """Return the sequence as the wire has it."""
        return SampledSequence(reason, self.tokens, self._logprobs, self._likeliest if self._k else None)


def topk(scores: Tensor, k: int) -> list[tuple[int, float]]:
    """Return the k likeliest tokens of ``scores`` [vocab] with their logprobs, likeliest first."""
    values, tokens = scores.topk(min(k, len(scores)))
    return list(zip(map(int, numbers(tokens)), numbers(values), strict=True))


def numbers(values: Tensor) -> list[float]:
    """Return the numbers of a flat tensor."""
    return cast("list[float]", values.tolist())  # pyright: ignore[reportUnknownMemberType] - torch
