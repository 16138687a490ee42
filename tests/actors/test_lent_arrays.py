"""An array that was lent is read again when its pass is sent: what it then holds may be no pass any more."""

import threading
from typing import Any

import httpx
import numpy as np

from support_clients import create, data
from support_servers import PROTOBUF, Hosted, client, reply
from tinkex.protocol import AdamParams, Datum, Err, ModelInput, Result, messages


class Lent:
    """A datum over an array whose owner can still write to it."""

    def __init__(self) -> None:
        self._owned = np.array([1, 2, 3])
        view = self._owned[:]
        view.flags.writeable = False
        self.datum = Datum(ModelInput.from_ints(view), {"target_tokens": [1, 2, 3], "weights": [1.0] * 3})

    def spoil(self) -> None:
        self._owned[1] = 2**31


def assert_refused(answer: Result[Any]) -> None:
    assert isinstance(answer, Err)
    assert (answer.error.kind, answer.error.data["outcome"]) == ("validation", "not_sent")
    assert "data[0].model_input.chunks[0].tokens has the token 2147483648, beyond 32 bits" in answer.error.message


class Slow(Hosted):
    """Takes no pass before it is told that the array is spoilt."""

    def __init__(self) -> None:
        super().__init__()
        self.spoilt = threading.Event()

    def run_pass(self, path: str, media: str, raw: bytes) -> httpx.Response:
        assert media != PROTOBUF or self.spoilt.wait(20)
        return super().run_pass(path, media, raw)


def test_a_pass_spoilt_while_it_waits_for_its_turn_is_refused_and_the_client_goes_on() -> None:
    server, lent = Slow(), Lent()
    with client(server) as ref:
        training = create(ref)
        first = training.ask(messages.ForwardBackward(data()), block=False)
        second = training.ask(messages.ForwardBackward([lent.datum]), block=False)
        assert len(training.ask(messages.Status()).unwrap().operations) == 2
        lent.spoil()
        server.spoilt.set()
        assert first.get().is_ok
        assert_refused(second.get())
        assert training.ask(messages.OptimStep(AdamParams())).is_ok
        (model,) = server.models.values()
        assert model.ran == [1, 2]


def test_any_number_of_spoilt_passes_behind_each_other_are_refused_and_the_client_goes_on() -> None:
    server, lent = Slow(), Lent()
    with client(server) as ref:
        training = create(ref)
        first = training.ask(messages.ForwardBackward(data()), block=False)
        others = [training.ask(messages.ForwardBackward([lent.datum]), block=False) for _ in range(1000)]
        assert len(training.ask(messages.Status()).unwrap().operations) == 1001
        lent.spoil()
        server.spoilt.set()
        assert first.get().is_ok
        for other in others:
            assert_refused(other.get())
        assert training.ask(messages.OptimStep(AdamParams())).is_ok
        (model,) = server.models.values()
        assert model.ran == [1, 2]


def test_a_pass_spoilt_before_it_is_written_in_its_second_form_is_refused_and_the_client_goes_on() -> None:
    lent = Lent()

    class Spoils(Hosted):
        def wrong_format(self, media: str) -> httpx.Response:
            lent.spoil()
            return reply(415, {"detail": "protobuf only"})

    server = Spoils()
    with client(server) as ref:
        training = create(ref)
        assert_refused(training.ask(messages.ForwardBackward([lent.datum])))
        assert training.ask(messages.ForwardBackward(data())).is_ok
        assert training.ask(messages.OptimStep(AdamParams())).is_ok
        (model,) = server.models.values()
        assert model.ran == [1, 2]
