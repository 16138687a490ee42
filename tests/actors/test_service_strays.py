"""What is under way at a service client when it ends: no client is started for nobody, no accepted question is lost."""

import threading
from typing import Any

import httpx
import pykka
import pytest

from support_clients import Faults, eventually
from support_plain_server import PlainServer
from tinkex.actors import GenServer, ServiceClient, Supervisor, TrainingClient
from tinkex.actors._genserver._client import Continue
from tinkex.actors._leases._lease import Lease, LeaseBook
from tinkex.actors.testing import runtime
from tinkex.protocol import ChildSpec, Err, RecoveryPolicy, messages

URL = "http://127.0.0.1:1"


def _bug() -> None:
    raise RuntimeError("a bug")


class Plain(GenServer[Any]):
    """Nobody."""


class Slow(GenServer[Any]):
    """Takes its time to start, and so keeps its supervisor from starting others."""

    def __init__(self, begun: threading.Event, go_on: threading.Event) -> None:
        super().__init__()
        self._begun, self._go_on = begun, go_on

    def on_start(self) -> None:
        self._begun.set()
        assert self._go_on.wait(20)


@pytest.mark.parametrize("ending", ["kill", "crash"])
@pytest.mark.parametrize("cancelled", [False, True])
def test_a_client_whose_start_is_still_queued_does_not_outlive_a_service_that_ends_at_once(
    ending: str, cancelled: bool
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    with runtime(http_transport=Faults(inner=PlainServer())):
        supervisor = Supervisor.start()
        service = ServiceClient.start(base_url=URL, supervisor=supervisor)
        service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()  # the session is there
        starting = supervisor.ask(messages.StartChild(ChildSpec("slow", Slow, args=(begun, go_on))), block=False)
        assert begun.wait(20)
        creating = service.ask(messages.CreateLoraTrainingClient("m", rank=4), block=False)
        eventually(lambda: [it.step for it in service.ask(messages.Status()).unwrap().operations] == ["start_client"])
        if cancelled:
            creating.cancel()
        if ending == "kill":
            service.kill()
        else:
            service.tell(Continue("a bug", _bug))
        assert isinstance(creating.get(timeout=20), Err)
        go_on.set()
        starting.get(timeout=20).unwrap()
        eventually(lambda: not service.is_alive())
        eventually(lambda: len(supervisor.ask(messages.WhichChildren()).unwrap().children) == 1)
        assert pykka.ActorRegistry.get_by_class(TrainingClient) == []
        supervisor.stop()


def test_a_service_that_is_killed_in_the_middle_of_a_start_leaves_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    with runtime(http_transport=Faults(inner=PlainServer())):
        supervisor = Supervisor.start()
        service = ServiceClient.start(base_url=URL, supervisor=supervisor)
        service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        intend = LeaseBook.intend

        def killing(book: LeaseBook, *args: Any, **kwargs: Any) -> Lease:
            service.kill()
            return intend(book, *args, **kwargs)

        monkeypatch.setattr(LeaseBook, "intend", killing)
        assert isinstance(service.ask(messages.CreateLoraTrainingClient("m", rank=4)), Err)
        assert service.join(20)
        assert supervisor.ask(messages.StartChild(ChildSpec("last", Plain))).is_ok, "and all that was asked before"
        eventually(lambda: len(supervisor.ask(messages.WhichChildren()).unwrap().children) == 1)
        supervisor.stop()


def test_a_service_that_cannot_wait_for_its_supervisor_leaves_no_child_to_it() -> None:
    begun, go_on = threading.Event(), threading.Event()
    with runtime(http_transport=Faults(inner=PlainServer())):
        supervisor = Supervisor.start()
        service = ServiceClient.start(base_url=URL, supervisor=supervisor, recovery=RecoveryPolicy())
        service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        starting = supervisor.ask(messages.StartChild(ChildSpec("slow", Slow, args=(begun, go_on))), block=False)
        assert begun.wait(20)
        service.stop(shutdown=0.5)
        assert pykka.ActorRegistry.get_by_class(TrainingClient) == []
        go_on.set()
        starting.get(timeout=20).unwrap()
        eventually(lambda: len(supervisor.ask(messages.WhichChildren()).unwrap().children) == 1)
        supervisor.stop()


@pytest.mark.parametrize("patience", [8.0, 0.4])
def test_a_stop_lets_an_accepted_question_finish_within_its_time(patience: float) -> None:
    asked, let_go = threading.Event(), threading.Event()

    def rule(request: httpx.Request, _count: int) -> httpx.Response | None:
        if request.method != "DELETE":
            return None
        asked.set()
        return httpx.Response(503, json={"detail": "later"}) if not let_go.is_set() else None

    with runtime(http_transport=Faults(rule, PlainServer())):
        service = ServiceClient.start(base_url=URL)
        service.ask(messages.CreateLoraTrainingClient("m", rank=4)).unwrap()
        deleting = service.ask(messages.DeleteCheckpoint("tinker://r/weights/a"), block=False)
        assert asked.wait(20)
        ending = service.stop(block=False, shutdown=patience)
        eventually(lambda: pykka.ActorRegistry.get_by_class(Supervisor) == [])
        if patience > 1.0:
            assert not deleting.done()
            let_go.set()
        result = deleting.get(timeout=20)
        assert ending.get(timeout=20)
        if patience > 1.0:
            assert result.is_ok
        else:
            assert isinstance(result, Err)
            assert result.error.kind == "actor_dead"
