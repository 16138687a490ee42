"""Actors and messages that the GenServer tests are made of."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pykka
import structlog

from tinkex.actors import Deferred, Down, GenRef, GenServer, Pending, exposed, on
from tinkex.protocol import Err, Ok, Request, Result, TinkexError

SECONDS = 20.0
"""How long a test waits for what must happen, before it fails."""


class Ping(Request[int], frozen=True):
    """Answered with its number."""

    number: int = 0


class Crash(Request[int], frozen=True):
    """Raise this."""

    error: BaseException


class Block(Request[int], frozen=True):
    """Say that it is entered, and wait for the gate."""

    gate: threading.Event


class Later(Request[int], frozen=True):
    """Answered with a deferred of this test's."""

    deferred: Deferred[int]


class Call(Request[Any], frozen=True):
    """Answered with what ``function(actor)`` returns."""

    function: Callable[[Any], Any]


class Note:
    """An internal message."""

    def __init__(self, text: str) -> None:
        self.text = text


def noted(_outcome: object) -> Note:
    """Make the message for an outcome that is of no interest."""
    return Note("done")


class Probe(GenServer):
    """An actor that does what the tests say and writes down what happens to it."""

    def __init__(self, log: list[str] | None = None) -> None:
        super().__init__()
        self.log = [] if log is None else log
        self.entered = threading.Event()
        self.number = 7
        self._secret = 8

    def on_start(self) -> None:
        self.log.append("start")

    def on_stop(self, reason: str = "normal") -> None:
        self.log.append(f"stop {reason}")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self.log.append(f"failure {exception_type.__name__}")

    @on(Ping)
    def _ping(self, message: Ping) -> Result[int]:
        return Ok(message.number)

    @on(Crash)
    def _crash(self, message: Crash) -> Result[int]:
        raise message.error

    @on(Block)
    def _block(self, message: Block) -> Result[int]:
        self.entered.set()
        assert message.gate.wait(SECONDS)
        return Ok(0)

    @on(Later)
    def _later(self, message: Later) -> Deferred[int]:
        return message.deferred

    @on(Call)
    def _call(self, message: Call) -> Result[Any]:
        result: Result[Any] = message.function(self)
        return result

    @on(Note)
    def _note(self, message: Note) -> None:
        self.log.append(message.text)

    @on(Down)
    def _down(self, down: Down) -> None:
        self.log.append(f"down {down.reason}")

    def add(self, first: int, second: int = 1) -> int:
        return first + second

    def crash(self, error: BaseException) -> int:
        raise error

    def _private(self) -> int:
        return self._secret

    def later(self, deferred: Deferred[int]) -> Deferred[int]:
        return deferred

    def blocked(self, gate: threading.Event) -> int:
        self.entered.set()
        assert gate.wait(SECONDS)
        return 1


class Marked(GenServer):
    """An actor that says what it exposes."""

    def __init__(self) -> None:
        super().__init__()
        self.secret = "s"
        self.reads = 0

    @exposed
    def shown(self, number: int) -> int:
        return number

    @property
    @exposed
    def size(self) -> int:
        self.reads += 1
        return 3

    def hidden(self) -> int:
        return 4


class Stubborn(Probe):
    """Does not end its draining by itself."""

    def on_drain(self) -> None:
        self.log.append("drain")


@contextlib.contextmanager
def no_actor_left() -> Generator[None]:
    """Fail if the body leaves an actor or its thread behind."""
    before, known = set(threading.enumerate()), set(pykka.ActorRegistry.get_all())
    left: list[Any] = []
    try:
        yield
    finally:
        left += [ref for ref in pykka.ActorRegistry.get_all() if ref not in known]
        for ref in left:
            kill = getattr(ref, "kill", None) or ref.stop
            kill()
    for thread in threading.enumerate():
        if thread not in before and thread.name.startswith("tinkex-") and thread.name not in LASTING:
            thread.join(SECONDS)
            assert not thread.is_alive(), thread
    assert not left, left


def run_in(ref: GenRef, function: Callable[[Any], object]) -> Any:
    """Run ``function(actor)`` in the actor and return what it returns."""
    return ref.ask(Call(lambda actor: Ok(function(actor)))).unwrap()


def by_stop(ref: GenRef) -> None:
    ref.stop()


def by_kill(ref: GenRef) -> None:
    ref.kill()


def by_crash(ref: GenRef) -> None:
    ref.ask(Crash(ValueError("x")))


ENDS = (by_stop, by_kill, by_crash)
"""The ways in which an actor may end."""

LASTING = frozenset({"tinkex-clock", "tinkex-io"})


def error_of(result: object) -> TinkexError:
    """Return the error of an ``Err``."""
    assert isinstance(result, Err), result
    return result.error


def settled(reply: Pending[Any]) -> Any:
    """Wait for a reply, with an end."""
    return reply.get(timeout=SECONDS)


def wait_until_told(tell: Callable[[Callable[[Any], None]], Any]) -> Any:
    """Wait for what ``tell`` tells the callback that it is given."""
    told: list[Any] = []
    event = threading.Event()

    def callback(value: Any) -> None:
        told.append(value)
        event.set()

    tell(callback)
    assert event.wait(SECONDS)
    return told[0]


@contextlib.contextmanager
def switching_often() -> Generator[None]:
    """Have threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def run_script(source: str, *, timeout: float = 30.0, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, with this folder's helpers."""
    return subprocess.run(
        [sys.executable, "-c", source],
        check=False,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=Path(__file__).parent,
        env={**os.environ, **env},
    )


@contextlib.contextmanager
def unconfigured_logs() -> Generator[None]:
    """Have events logged as in a program that did not configure structlog."""
    before = structlog.get_config()
    structlog.reset_defaults()
    try:
        yield
    finally:
        structlog.configure(**before)
