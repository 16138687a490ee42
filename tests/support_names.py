"""A named child for tests of names: it notes what it is sent, crashes on request, and can fail to begin."""

import threading
from typing import Any

from support_clients import eventually
from tinkex.actors import ChildSpec, GenRef, GenServer, on, whereis
from tinkex.actors.testing import VirtualClock
from tinkex.protocol import Err, Ok, Request, Result, TinkexError, messages

BROKEN = threading.Event()


class Crash(Request[None], frozen=True):
    pass


class Note(Request[int], frozen=True):
    number: int


class Told(Request[list[int]], frozen=True):
    pass


class Patience(Request[float | None], frozen=True):
    pass


class Hold(Request[None], frozen=True):
    gate: threading.Event


class Worker(GenServer[Any]):
    """Notes the numbers that it was sent, in order."""

    def __init__(self) -> None:
        super().__init__()
        if BROKEN.is_set():
            raise TinkexError("broken on request", kind="validation", category="user")
        self._told: list[int] = []

    @on(Crash)
    def _crash(self, message: Crash) -> Result[None]:
        raise RuntimeError("boom")

    @on(Note)
    def _note(self, message: Note) -> Result[int]:
        self._told.append(message.number)
        return Ok(message.number)

    @on(Told)
    def _all(self, message: Told) -> Result[list[int]]:
        return Ok(list(self._told))

    @on(Patience)
    def _patience(self, message: Patience) -> Result[float | None]:
        return Ok(message.await_timeout)

    @on(Hold)
    def _hold(self, message: Hold) -> Result[None]:
        message.gate.wait(20)
        return Ok(None)


def spec(child_id: str = "a", name: str | None = "worker", **options: Any) -> ChildSpec:
    return ChildSpec(child_id, Worker, name=name, **options)


def start(supervisor: GenRef[Any], *arguments: Any, **options: Any) -> GenRef[Any]:
    ref: GenRef[Any] = supervisor.ask(messages.StartChild(spec(*arguments, **options))).unwrap()
    return ref


def advanced(clock: VirtualClock, seconds: float = 10.0) -> bool:
    clock.advance(seconds)
    return True


def down(supervisor: GenRef[Any], clock: VirtualClock, name: str = "worker") -> GenRef[Any]:
    """Start a child and have it crash twice, so that it is down until the clock is moved."""
    ref = start(supervisor, name=name)
    ref.ask(Crash())
    eventually(lambda: whereis(name))
    again = whereis(name)
    assert again is not None
    again.ask(Crash())
    eventually(clock.pending)
    assert whereis(name) is None
    return ref


def refused(result: object, kind: str = "actor_dead", outcome: str | None = "not_sent") -> TinkexError:
    assert isinstance(result, Err)
    assert (result.error.kind, result.error.data.get("outcome")) == (kind, outcome)
    return result.error
