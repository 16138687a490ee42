"""What cannot be sampled is refused in words, and costs nothing."""

from pathlib import Path

import pytest

from support_engine import Body, serving
from support_sampling import base_sampler
from tinkex.engine import BUILTIN_MODEL


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"sampling_params": {"temperature": -1}}, "temperature"),
        ({"sampling_params": {"top_p": 0}}, "top_p"),
        ({"sampling_params": {"top_k": -2}}, "top_k"),
        ({"sampling_params": {"max_tokens": 0}}, "max_tokens"),
        ({"sampling_params": {"seed": 2**70}}, "seed"),
        ({"sampling_params": {"stop": [512]}}, "stop has token 512"),
        ({"sampling_params": {"stop": ["a", 1]}}, "not both"),
        ({"sampling_params": {"stop": [""]}}, "1 to 256 letters"),
        ({"sampling_params": {"stop": ["a"] * 65}}, "at most 64"),
        ({"num_samples": 0}, "num_samples"),
        ({"topk_prompt_logprobs": 129}, "topk_prompt_logprobs"),
        ({"topk_sample_logprobs": -1}, "topk_sample_logprobs"),
        ({"prompt_alt_tokens_k": 1}, "not published"),
        ({"prompt_logprobs_last_n": 1}, "needs prompt_logprobs"),
        ({"prompt_logprobs": True, "prompt_logprobs_last_n": 15}, "prompt_logprobs_last_n must be 1 to 14"),
        ({"target_prompt_logprobs": {"data": [1], "dtype": "int64", "shape": [1, 1]}}, "of shape [14, K]"),
        ({"target_prompt_logprobs": {"data": [512] * 14, "dtype": "int64", "shape": [14, 1]}}, "has token 512"),
        ({"target_prompt_logprobs": {"data": [-2] * 14, "dtype": "int64", "shape": [14, 1]}}, "or -1"),
        ({"prompt": {"chunks": []}}, "prompt has 0 tokens"),
        ({"prompt": {"chunks": [{"tokens": [1] * 2048, "type": "encoded_text"}]}}, "samples after 1 to 2047"),
        ({"prompt": {"chunks": [{"tokens": [512], "type": "encoded_text"}]}}, "has token 512"),
        ({"prompt": {"chunks": [{"tokens": [-1], "type": "encoded_text"}]}}, "token"),
        ({"sampling_params": {"stop": [-1]}}, "stop has token -1"),
        ({"sampling_session_id": None}, "needs sampling_session_id"),
        ({"seq_id": None}, "needs seq_id"),
    ],
)
async def test_what_cannot_be_sampled_is_refused_in_words(tmp_path: Path, fields: Body, says: str) -> None:
    """And its number can be used again."""
    async with serving(tmp_path) as client:
        sampler = await base_sampler(client)
        body = sampler.body()
        assert says in await client.refused("asample", {**body, **fields})
        assert len((await client.ok("asample", body))["sequences"]) == 1


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({}, 400, "needs base_model or model_path"),
        ({"base_model": "no/such"}, 400, "unknown base model"),
        ({"model_path": "tinker://nobody/weights/x"}, 404, "there is no checkpoint"),
        ({"model_path": "http://x"}, 400, "tinker://"),
        ({"sampling_session_seq_id": -1, "base_model": BUILTIN_MODEL}, 400, "sampling_session_seq_id"),
        ({"session_id": "nobody", "base_model": BUILTIN_MODEL}, 404, "unknown session"),
    ],
)
async def test_what_is_no_source_of_samples_is_refused(tmp_path: Path, fields: Body, status: int, says: str) -> None:
    async with serving(tmp_path) as client:
        await client.begin()
        body = {"session_id": client.session_id, "sampling_session_seq_id": 0, **fields}
        assert says in await client.refused("create_sampling_session", body, status)
