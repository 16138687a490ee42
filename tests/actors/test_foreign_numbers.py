"""Numbers and text of other libraries' types, which the checks let pass, are sent and crash nobody."""

import types
from typing import Any

import numpy as np
import pytest

from support_clients import Faults, data
from support_plain_server import PlainServer
from tinkex.actors import ServiceClient
from tinkex.actors.testing import SeededScheduler
from tinkex.protocol import AdamParams, Ok, Request, messages


@pytest.mark.parametrize(
    "message",
    [
        messages.OptimStep(AdamParams(learning_rate=np.float64(0.5))),
        messages.SaveState(np.str_("ckpt"), user_metadata={np.str_("k"): np.str_("v")}),
        messages.Forward(data(), "own_loss", types.MappingProxyType({"beta": np.float64(0.5)})),
    ],
    ids=["a learning rate of numpy", "text of numpy", "a read-only mapping"],
)
def test_what_the_checks_let_pass_is_sent_as_the_number_or_text_that_it_is(message: Request[Any]) -> None:
    faults = Faults(None, PlainServer())
    with SeededScheduler(1, http_transport=faults) as world:
        service = ServiceClient.start(base_url="http://127.0.0.1:1")
        training = service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        result = training.ask(message)
        assert isinstance(result, Ok), result
        assert training.ask(messages.Status()).is_ok
        service.stop()
        world.run_for(10.0)
    (sent,) = faults.sent("/optim_step", "/save_weights", "/forward")
    assert "0.5" in str(sent) or "'ckpt'" in str(sent)
