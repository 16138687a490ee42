"""What a request to sample may ask for: pure checks, each ending in a 400 that names the field."""

import math
import secrets
from typing import Final

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import Refusal
from tinkex.engine._base._stops import MAX_STOPS, Stops
from tinkex.engine._base._text import decoder_of
from tinkex.protocol import ModelInput, TensorData
from tinkex.protocol.wire import SampleRequest, SamplingParams

MAX_SAMPLES: Final = 1024
MAX_TOPK: Final = 128
MAX_STOP_LENGTH: Final = 256
MAX_SEED: Final = 2**64 - 1


def check_sample(request: SampleRequest, base: BaseModel) -> None:
    """Refuse what cannot be sampled."""
    _check_prompt(request.prompt, base)
    _within("num_samples", request.num_samples, 1, MAX_SAMPLES)
    _within("topk_prompt_logprobs", request.topk_prompt_logprobs, 0, MAX_TOPK)
    _within("topk_sample_logprobs", request.topk_sample_logprobs, 0, MAX_TOPK)
    if request.prompt_alt_tokens_k:
        raise Refusal(400, "prompt_alt_tokens_k must be 0: what it gives is not published, so it is not guessed")
    if request.prompt_logprobs_last_n is not None:
        if not request.prompt_logprobs:
            raise Refusal(400, "prompt_logprobs_last_n needs prompt_logprobs")
        _within("prompt_logprobs_last_n", request.prompt_logprobs_last_n, 1, request.prompt.length - 1)
    if request.target_prompt_logprobs is not None:
        _check_targets(request.target_prompt_logprobs, request.prompt.length, base)
    _check_params(request.sampling_params, base)


def max_tokens(request: SampleRequest, base: BaseModel) -> int:
    """Return how many tokens a sequence may have: what is asked for, and no more than fit the context."""
    room = base.max_context_length - request.prompt.length
    wanted = request.sampling_params.max_tokens
    return room if wanted is None else min(wanted, room)


def first_seed(params: SamplingParams) -> int:
    """Return the seed of the first sequence, drawn if none is given."""
    return secrets.randbits(62) if params.seed is None else params.seed


def stops_of(params: SamplingParams, base: BaseModel) -> Stops:
    """Return what ends a sequence.

    Raises:
        Refusal: 400.
    """
    if params.stop is None:
        return Stops(base.eos_tokens)
    given = [params.stop] if isinstance(params.stop, str) else params.stop
    if len(given) > MAX_STOPS:
        raise Refusal(400, f"stop has {len(given)} entries; at most {MAX_STOPS} are read")
    strings = tuple(one for one in given if isinstance(one, str))
    tokens = frozenset(one for one in given if isinstance(one, int))
    if strings and tokens:
        raise Refusal(400, "stop must be strings or tokens, not both")
    if not all(0 < len(text) <= MAX_STOP_LENGTH for text in strings):
        raise Refusal(400, f"stop strings must have 1 to {MAX_STOP_LENGTH} letters")
    _check_tokens("stop", tokens, base)
    return Stops(tokens, strings, decoder_of(base) if strings else None)


def _check_prompt(prompt: ModelInput, base: BaseModel) -> None:
    if not 1 <= prompt.length < base.max_context_length:
        raise Refusal(
            400, f"prompt has {prompt.length} tokens; {base.name} samples after 1 to {base.max_context_length - 1}"
        )
    for index, chunk in enumerate(prompt.chunks):
        values = chunk.tokens.to_numpy()
        _check_tokens(f"prompt.chunks[{index}]", [int(values.min(initial=0)), int(values.max(initial=0))], base)


def _check_params(params: SamplingParams, base: BaseModel) -> None:
    if params.max_tokens is not None:
        _within("sampling_params.max_tokens", params.max_tokens, 1, 2**31 - 1)
    if params.seed is not None:
        _within("sampling_params.seed", params.seed, -(2**63), MAX_SEED)
    if not (math.isfinite(params.temperature) and params.temperature >= 0.0):
        raise Refusal(400, f"sampling_params.temperature must be a number from 0 up, not {params.temperature}")
    if not 0.0 < params.top_p <= 1.0:
        raise Refusal(400, f"sampling_params.top_p must be above 0 and at most 1, not {params.top_p}")
    _within("sampling_params.top_k", params.top_k, -1, 2**31 - 1)
    stops_of(params, base)


def _check_targets(targets: TensorData, length: int, base: BaseModel) -> None:
    if targets.dtype != "int64" or len(targets.shape) != 2 or targets.shape[0] != length - 1 or not targets.shape[1]:  # noqa: PLR2004 - rows and columns
        raise Refusal(400, f"target_prompt_logprobs must be int64 of shape [{length - 1}, K], one row for each token")
    values = targets.to_numpy()
    if int(values.min()) < -1:
        raise Refusal(400, "target_prompt_logprobs must be tokens, or -1 for none")
    _check_tokens("target_prompt_logprobs", [max(int(values.max()), 0)], base)


def _check_tokens(name: str, tokens: "frozenset[int] | list[int]", base: BaseModel) -> None:
    for token in tokens:
        if not 0 <= token < base.vocab_size:
            raise Refusal(400, f"{name} has token {token}; {base.name} knows 0 to {base.vocab_size - 1}")


def _within(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Refusal(400, f"{name} must be {low} to {high}, not {value}")
