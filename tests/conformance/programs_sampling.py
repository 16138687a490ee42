"""Programs that sample."""

import math
from typing import Any

from conformance.user import TEXT, User, done, logprobs, program, refused, train, types

PROMPT = types.ModelInput.from_ints(list(TEXT[:20]))


def draw(client: Any, count: int = 1, **params: Any) -> Any:
    given = types.SamplingParams(**{"max_tokens": 8, "seed": 3, **params})
    return client.sample(PROMPT, count, given).result()


@program
def a_base_model_is_sampled_from(user: User) -> None:
    client = done(user.service.create_sampling_client(base_model=user.base))
    answer = draw(client, 3, temperature=0.7, top_k=50, top_p=0.9)
    assert len(answer.sequences) == 3
    for sequence in answer.sequences:
        assert len(sequence.tokens) == len(sequence.logprobs) <= 8
        assert sequence.stop_reason in ("length", "stop")
    again = draw(client, 3, temperature=0.7, top_k=50, top_p=0.9)
    assert [one.tokens for one in again.sequences] == [one.tokens for one in answer.sequences]


@program
def what_was_trained_is_what_is_sampled(user: User) -> None:
    client = user.create()
    train(client, 60)
    path = client.save_weights_for_sampler("to-sample").result().path
    sampler = done(user.service.create_sampling_client(model_path=path))
    answer = draw(sampler, temperature=0.0, max_tokens=30, stop=[])
    assert bytes(answer.sequences[0].tokens) == TEXT[20:50], answer.sequences[0].tokens


@program
def compute_logprobs_agrees_with_forward(user: User) -> None:
    client = user.create()
    train(client, 3)
    sampler = done(client.save_weights_and_get_sampling_client("anything"))
    found = sampler.compute_logprobs(types.ModelInput.from_ints(list(TEXT))).result()
    assert found[0] is None
    assert all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(found[1:], logprobs(client), strict=True))


@program
def logprobs_of_the_prompt_come_with_the_likeliest_tokens(user: User) -> None:
    client = done(user.service.create_sampling_client(base_model=user.base))
    params = types.SamplingParams(max_tokens=1, temperature=0.0)
    answer = client.sample(PROMPT, 1, params, include_prompt_logprobs=True, topk_prompt_logprobs=2).result()
    assert len(answer.prompt_logprobs) == len(answer.topk_prompt_logprobs) == 20
    assert answer.prompt_logprobs[0] is None
    assert [len(row) for row in answer.topk_prompt_logprobs[1:]] == [2] * 19


@program
def a_stop_ends_the_sequence(user: User) -> None:
    client = user.create()
    train(client, 60)
    sampler = done(client.save_weights_and_get_sampling_client())
    for stop in ("question", [list(TEXT)[28]]):
        sequence = draw(sampler, temperature=0.0, max_tokens=60, stop=stop).sequences[0]
        assert sequence.stop_reason == "stop"
        text = bytes(sequence.tokens).decode()
        assert text.endswith("question" if isinstance(stop, str) else chr(stop[0]))


@program
def training_goes_on_beside_a_sampler(user: User) -> None:
    client = user.create()
    train(client, 2)
    sampler = done(client.save_weights_and_get_sampling_client())
    before = draw(sampler, temperature=0.0).sequences[0].logprobs
    train(client, 2)
    assert draw(sampler, temperature=0.0).sequences[0].logprobs == before
    newer = done(client.save_weights_and_get_sampling_client())
    assert draw(newer, temperature=0.0).sequences[0].logprobs != before


@program
def what_cannot_be_sampled_is_refused(user: User) -> None:
    refused(lambda: user.service.create_sampling_client(base_model="no/such-model"), says="no/such-model")
    client = done(user.service.create_sampling_client(base_model=user.base))
    refused(lambda: client.sample(types.ModelInput.from_ints([10**6]), 1, types.SamplingParams(max_tokens=1)))
    assert len(draw(client).sequences) == 1
