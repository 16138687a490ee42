"""On the real engine: passes that add up train as one large batch does, and the loss is that of a learned token."""

from collections.abc import Iterator
from typing import Any

import pytest

from support_clients import create, service
from support_engine_url import engine_url
from support_programs import play, program
from tinkex.actors._programs._dataset_program import DatasetProgram
from tinkex.actors._programs._examples import Example
from tinkex.actors._programs._schedule import Schedule
from tinkex.protocol import messages

TEXTS = ("the quick brown fox", "jumps", "over the lazy dog, and then again", "x = 1", "lorem ipsum")
ROWS = [Example(list(text.encode()), [0.0] * 2 + [1.0] * (len(text) - 2)) for text in TEXTS]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_url(tmp_path_factory.mktemp("engine")) as address:
        yield address


def losses(client: Any, of: DatasetProgram) -> list[float]:
    """Train, and return each update's loss: the sum over its passes."""
    found: list[float] = []
    for update, (_, batch) in enumerate(play(of)):
        outputs = [client.ask(messages.ForwardBackward(list(part))).unwrap() for part in batch.micro_batches]
        client.ask(messages.OptimStep(of.adam_params(update))).unwrap()
        found.append(sum(output.metrics["loss:sum"] for output in outputs))
        if not update:
            learned = [
                logprob
                for part, output in zip(batch.micro_batches, outputs, strict=True)
                for datum, one in zip(part, output.loss_fn_outputs, strict=True)
                for logprob, weight in zip(
                    one["logprobs"].tolist(), datum.loss_fn_inputs["weights"].tolist(), strict=True
                )
                if weight
            ]
            assert found[0] == pytest.approx(-sum(learned) / len(learned), rel=1e-5), "nats per learned token"
    return found


def test_gradients_of_several_passes_train_as_one_large_batch_does(url: str) -> None:
    fields: dict[str, Any] = {"batch_size": 5, "passes": 6, "schedule": Schedule(learning_rate=1e-2, warmup_updates=2)}
    with service(url) as (of, _):
        whole = losses(create(of, seed=3), program(ROWS, **fields))
        parts = losses(create(of, seed=3), program(ROWS, micro_batch_size=2, **fields))
    assert parts == pytest.approx(whole, rel=1e-3)
    assert whole[-1] < whole[0] * 0.9, "it learns"
