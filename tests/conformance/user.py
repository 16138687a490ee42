"""A user of the official SDK: what the programs here are written with. Nothing here knows this project."""

import importlib
from collections.abc import Callable
from typing import Any

tinker: Any = importlib.import_module("tinker")
types: Any = tinker.types

KEY = "tml-conformance"
TEXT = b"to be, or not to be, that is the question: whether 'tis nobler in the mind to suffer"
LEARNING = {"learning_rate": 1e-2}
Program = Callable[["User"], None]
PROGRAMS: list[Program] = []


class User:
    """Somebody with a service client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.service = tinker.ServiceClient(base_url=url, api_key=KEY)
        self.rest = self.service.create_rest_client()
        self.base = self.service.get_server_capabilities().supported_models[0].model_name

    def create(self, **options: Any) -> Any:
        return done(self.service.create_lora_training_client(self.base, **{"rank": 8, "seed": 7, **options}))

    def resume(self, path: str, *, optimizer: bool) -> Any:
        make = self.service.create_training_client_from_state
        return done((self.service.create_training_client_from_state_with_optimizer if optimizer else make)(path))


def program(function: Program) -> Program:
    PROGRAMS.append(function)
    return function


def done(value: Any) -> Any:
    """Return what a future of either SDK brings, or a value that is none."""
    return value.result() if hasattr(value, "result") else value


def datum(text: bytes = TEXT, **inputs: Any) -> Any:
    tokens = list(text)
    given = inputs or {"weights": [1.0] * (len(tokens) - 1)}
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]), loss_fn_inputs={"target_tokens": tokens[1:], **given}
    )


def train(client: Any, steps: int, data: list[Any] | None = None) -> list[float]:
    """Train pipelined; return the loss of each step."""
    futures = [
        (
            client.forward_backward(data or [datum()], "cross_entropy"),
            client.optim_step(types.AdamParams(**LEARNING)),
        )
        for _ in range(steps)
    ]
    losses = [passed.result().metrics["loss:sum"] for passed, _ in futures]
    futures[-1][1].result()
    return losses


def logprobs(client: Any, data: list[Any] | None = None) -> list[float]:
    output = client.forward(data or [datum()], "cross_entropy").result()
    return [float(value) for record in output.loss_fn_outputs for value in record["logprobs"].data]


def refused(work: Callable[[], Any], *, says: str = "") -> Exception:
    """Return the error of the SDK that ``work`` ends with."""
    try:
        done(work())
    except Exception as error:  # noqa: BLE001 - whatever the SDK raises is what its user sees
        caught = error
    else:
        raise AssertionError("it was not refused")
    assert says in str(caught), f"{says!r} is not in {caught}"
    return caught
