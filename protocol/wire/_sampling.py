"""Sampling: sessions, requests and what comes back."""

from typing import ClassVar

from msgspec import field

from tinkex.protocol._model_input import ModelInput
from tinkex.protocol._tensor import TensorData
from tinkex.protocol.wire._base import Body

StopReason = str
"""``stop`` or ``length``."""

TopK = list[list[tuple[int, float]] | None]
"""For each token the k likeliest and their logprobs, likeliest first; None where there is nothing to tell."""


class CreateSamplingSessionRequest(Body, frozen=True):
    """``POST /api/v1/create_sampling_session``; from a base model, or from a checkpoint's weights."""

    session_id: str
    sampling_session_seq_id: int
    """From 0 in each session."""
    base_model: str | None = None
    model_path: str | None = None
    type: str = "create_sampling_session"


class CreateSamplingSessionReply(Body, frozen=True):
    """There is a sampling session."""

    sampling_session_id: str
    type: str = "create_sampling_session"


class JoinSamplingSessionRequest(Body, frozen=True):
    """``POST /api/v1/join_sampling_session``."""

    sampling_session_id: str
    type: str = "join_sampling_session"


class JoinSamplingSessionReply(Body, frozen=True):
    """Another client of a sampling session; the first is 0."""

    client_counter: int


class SamplerReply(Body, frozen=True):
    """``GET /api/v1/samplers/{sampling_session_id}``."""

    SENDS_NULL: ClassVar[bool] = True

    sampler_id: str
    base_model: str
    model_path: str | None = None


class SamplingParams(Body, frozen=True):
    """How tokens are drawn; a ``stop`` of None is the model's own end of text, an empty list is no stop at all."""

    max_tokens: int | None = None
    seed: int | None = None
    stop: str | list[str | int] | None = None
    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0


class SampleRequest(Body, frozen=True):
    """``POST /api/v1/asample``; (sampling_session_id, seq_id) names it, in no order."""

    prompt: ModelInput
    sampling_session_id: str | None = None
    seq_id: int | None = None
    num_samples: int = 1
    sampling_params: SamplingParams = field(default_factory=SamplingParams)
    prompt_logprobs: bool = False
    topk_prompt_logprobs: int = 0
    topk_sample_logprobs: int = 0
    target_prompt_logprobs: TensorData | None = None
    """int64 [len(prompt) - 1, K]; -1 is passed over."""
    prompt_alt_tokens_k: int = 0
    prompt_logprobs_last_n: int | None = None
    type: str = "sample"


class SampleFuture(Body, frozen=True):
    """A result to come, and a name for each sequence in it."""

    request_id: str
    sample_sequence_ids: list[str]


class CancelFutureRequest(Body, frozen=True):
    """``POST /api/v1/cancel_future``."""

    request_id: str


class SampledSequence(Body, frozen=True):
    """One sequence; what stopped it is its last token."""

    stop_reason: StopReason
    tokens: list[int]
    logprobs: list[float] | None = None
    topk_sampled_logprobs: TopK | None = None


class SampleResult(Body, frozen=True):
    """What was drawn. The prompt's first logprob is None: nothing comes before it."""

    sequences: list[SampledSequence]
    prompt_logprobs: list[float | None] | None = None
    topk_prompt_logprobs: TopK | None = None
    target_prompt_logprobs: TensorData | None = None
    """float32 in the shape of the request's; 0 where that has -1."""
    type: str = "sample"
