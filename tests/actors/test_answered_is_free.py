"""What an answered call held is free at once: a run of days must not live on its garbage collector."""

import gc
import weakref
from collections.abc import Generator

import numpy as np
import pytest

from support_clients import create
from support_servers import Hosted, client
from tinkex.protocol import AdamParams, Datum, ModelInput, messages


@pytest.fixture
def uncollected() -> Generator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_the_data_of_an_answered_pass_is_free_without_the_collector() -> None:
    with client(Hosted()) as ref:
        training = create(ref)
        weights = np.ones(3, dtype=np.float32)
        weights.flags.writeable = False  # so that it is lent, not copied
        kept = weakref.ref(weights)
        inputs = {"target_tokens": [1, 2, 3], "weights": weights}
        reply = training.ask(messages.ForwardBackward([Datum(ModelInput.from_ints([1, 2, 3]), inputs)]), block=False)
        assert reply.get().is_ok
        del weights, inputs, reply
        assert training.ask(messages.OptimStep(AdamParams())).is_ok  # its actor has turned to something else
        training.ask(messages.Status())
        assert kept() is None
