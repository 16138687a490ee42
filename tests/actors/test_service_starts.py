"""A service client, and what works for it, in a process that may start no more threads, or is interrupted."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pykka
import pytest

from support_clients import Faults, eventually
from support_plain_server import PlainServer
from tinkex.actors import ServiceClient, Supervisor
from tinkex.actors._leases._leases import Leases
from tinkex.actors._runtime._threads import OsThreads
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import RecoveryPolicy, TinkexError, messages

URL = "http://127.0.0.1:1"


class Refusal:
    """Refuses the threads of these names."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.names: set[str] = set()
        self.refused = threading.Event()
        start_thread = OsThreads.start_thread

        def start(threads: OsThreads, name: str, target: Callable[[], object]) -> threading.Thread:
            if name in self.names:
                self.refused.set()
                raise RuntimeError("can't start new thread")
            return start_thread(threads, name, target)

        monkeypatch.setattr(OsThreads, "start_thread", start)


def _living(name: str) -> list[Any]:
    return [ref for ref in pykka.ActorRegistry.get_by_class_name(name) if ref.is_alive()]


@pytest.mark.parametrize("helper", ["Reaper", "Recoverer"])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_helper_that_found_no_thread_is_started_later(
    helper: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal, clock = Refusal(monkeypatch), VirtualClock()
    if at_once:
        refusal.names.add(helper)
    with runtime(clock=clock, http_transport=Faults(inner=PlainServer())):
        service = ServiceClient.start(base_url=URL, recovery=RecoveryPolicy())
        if not at_once:
            (one,) = eventually(lambda: _living(helper))
            service.ask(messages.Status()).unwrap()
            refusal.names.add(helper)
            one.kill()

            def asked_again() -> bool:
                clock.advance(1.0)
                return refusal.refused.is_set()

            eventually(asked_again)
        assert refusal.refused.wait(20)
        refusal.names.clear()

        def started() -> bool:
            clock.advance(1.0)
            return bool(_living(helper))

        eventually(started)
        service.stop()


def test_a_service_without_a_thread_for_its_supervisor_leaves_no_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Refusal(monkeypatch).names.add("Supervisor")
    with runtime(http_transport=Faults(inner=PlainServer())):
        with pytest.raises(TinkexError, match="can't start new thread"):
            ServiceClient.start(base_url=URL, state_dir=tmp_path)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shared", [True, False])
def test_a_service_that_is_killed_while_it_starts_leaves_nobody_behind(
    shared: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with runtime(http_transport=Faults(inner=PlainServer())):
        supervisor = Supervisor.start() if shared else None
        inherit = Leases.inherit

        def killing(leases: Leases) -> None:
            (service,) = pykka.ActorRegistry.get_by_class(ServiceClient)
            service.kill()  # type: ignore[attr-defined]
            inherit(leases)

        monkeypatch.setattr(Leases, "inherit", killing)
        with pytest.raises(TinkexError):
            ServiceClient.start(base_url=URL, state_dir=tmp_path, supervisor=supervisor, recovery=RecoveryPolicy())
        eventually(lambda: list(tmp_path.iterdir()) == [])
        eventually(lambda: len(pykka.ActorRegistry.get_all()) == shared)
        if supervisor is not None:
            supervisor.stop()
