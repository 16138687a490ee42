"""A process that has as many threads as it may: nobody waits for what could not begin, and a later try can work."""

import threading
from collections.abc import Callable

from support_servers import URL, Scripted
from tinkex.actors import ServiceClient
from tinkex.actors._runtime._io import IoThread
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._runtime._threads import OsThreads
from tinkex.protocol import AdamParams, Err, messages


class Crowded(OsThreads):
    """Starts none while it is full."""

    full = True

    def start_thread(self, name: str, target: Callable[[], object]) -> threading.Thread:
        if self.full:
            raise RuntimeError("can't start new thread")
        return super().start_thread(name, target)


def test_what_is_asked_is_answered_and_may_be_asked_again() -> None:
    threads = Crowded()
    io = IoThread(threads)
    with Runtime(io=io, http_transport=Scripted()).use():
        service = ServiceClient.start(base_url=URL)
        create = messages.CreateLoraTrainingClient("m", rank=4)
        for message in (messages.GetServerCapabilities(), create):
            answer = service.ask(message, block=False).get(timeout=20)
            assert isinstance(answer, Err)
            assert answer.error.kind == "api_connection"
            assert "can't start new thread" in answer.error.message
        threads.full = False
        training = service.ask(create).unwrap()
        assert training.ask(messages.OptimStep(AdamParams())).is_ok
        service.stop()
    assert io.close()
