"""SIGTERM and SIGINT: the first asks, the second ends, and whoever handled them before does so again."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from tinkex.actors._trainer._signals import SIGNALS, Signals
from tinkex.protocol import TinkexError

SECONDS = 30.0


@pytest.fixture(autouse=True)
def handlers_are_as_before() -> Generator[None]:
    """Each test leaves the handlers that it found; SIGTERM ends nothing here by mistake."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    after = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


def send(number: int) -> None:
    """Send a signal to this process, whose main thread is the caller: its handler runs before this returns."""
    os.kill(os.getpid(), number)


@contextmanager
def ended_by(kind: type[BaseException]) -> Generator[list[BaseException]]:
    """Expect that what is inside is ended so, wherever it is."""
    caught: list[BaseException] = []
    try:
        yield caught
    except kind as error:
        caught.append(error)
    else:
        pytest.fail("nothing ended it")


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_told_once_and_the_second_ends_at_once(number: signal.Signals) -> None:
    first: list[str] = []
    second: list[str] = []
    ending: type[BaseException] = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with ended_by(ending) as caught, Signals(first.append, second.append) as signals:
        send(number)
        assert (first, second, signals.received) == ([number.name], [], (number.name,))
        send(number)
        pytest.fail("the second ends it")
    assert (first, second) == ([number.name], [number.name])
    assert getattr(caught[0], "code", None) == (None if number == signal.SIGINT else 143)


def test_two_different_signals_are_the_first_and_the_second() -> None:
    told: list[str] = []
    with ended_by(KeyboardInterrupt), Signals(told.append, told.append) as signals:
        send(signal.SIGTERM)
        send(signal.SIGINT)
    assert told == ["SIGTERM", "SIGINT"]
    assert signals.received == ("SIGTERM", "SIGINT")


def test_without_a_signal_nothing_is_told_and_the_former_handlers_are_back() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with Signals(pytest.fail):
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_users_own_handler_hears_every_signal_and_is_back_afterwards() -> None:
    heard: list[str] = []
    told: list[str] = []
    former = signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(signal.Signals(number).name))
    try:
        with ended_by(SystemExit), Signals(told.append):
            send(signal.SIGTERM)
            assert (told, heard) == (["SIGTERM"], ["SIGTERM"])
            send(signal.SIGTERM)
        send(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, former)
    assert (told, heard) == (["SIGTERM"], ["SIGTERM"] * 3)


def test_nested_both_are_told_of_the_first_and_of_the_second() -> None:
    told: list[str] = []
    with (
        ended_by(SystemExit),
        Signals(lambda _name: told.append("outer"), lambda _name: told.append("outer, second")),
        Signals(lambda _name: told.append("inner"), lambda _name: told.append("inner, second")),
    ):
        send(signal.SIGTERM)
        assert told == ["inner", "outer"]
        send(signal.SIGTERM)
    assert told == ["inner", "outer", "inner, second", "outer, second"]


def test_after_the_inner_block_the_outer_one_is_told_alone() -> None:
    inner: list[str] = []
    outer: list[str] = []
    with Signals(outer.append):
        with Signals(inner.append):
            pass
        send(signal.SIGTERM)
    assert (inner, outer) == ([], ["SIGTERM"])


@pytest.mark.parametrize("number", SIGNALS)
def test_what_is_ignored_stays_ignored(number: signal.Signals) -> None:
    former = signal.signal(number, signal.SIG_IGN)
    try:
        with Signals(pytest.fail):
            send(number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, former)


def test_whoever_takes_the_place_inside_the_block_keeps_it_and_may_pass_on() -> None:
    """Ours then tells nobody any more: its block is over."""
    heard: list[str] = []
    told: list[str] = []
    former = signal.signal(signal.SIGTERM, lambda _number, _frame: heard.append("former"))
    try:
        with Signals(told.append):
            ours: Any = signal.getsignal(signal.SIGTERM)

            def theirs(number: int, frame: Any) -> None:
                heard.append("theirs")
                ours(number, frame)

            signal.signal(signal.SIGTERM, theirs)
        send(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, former)
    assert (heard, told) == (["theirs", "former"], [])


def test_another_thread_is_refused_with_a_sentence_and_installs_nothing() -> None:
    caught: list[TinkexError] = []

    def work() -> None:
        with pytest.raises(TinkexError) as refused, Signals(pytest.fail):
            pytest.fail("on another thread")
        caught.append(refused.value)

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=work, name="worker")
    thread.start()
    thread.join()
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert caught[0].kind == "validation"
    assert "main thread only, and this is 'worker'" in caught[0].message


PRELUDE = """
import faulthandler, signal, sys, threading
faulthandler.register(signal.SIGUSR1, all_threads=True)
import tinkex.actors, tinkex.cli, tinkex.protocol
from tinkex.actors._trainer._signals import Signals
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
from tinkex.actors import GenServer, on
from tinkex.protocol import Ok, Request

class Never(Request[int], frozen=True):
    pass

class Silent(GenServer):
    @on(Never)
    def never(self, message):
        from tinkex.actors import Deferred
        self.kept = Deferred()
        return self.kept

    def on_stop(self):
        print("stopped", flush=True)

silent = Silent.start()
event = threading.Event()
def first(name):
    print("first", name, flush=True)
    if sys.argv[1] == "clean":
        event.set()
def second(name):
    print("second", name, flush=True)
"""

WAITS = {"event": "event.wait()", "reply": "silent.ask(Never())", "timeout": "event.wait(1000)"}


def program(wait: str, how: str) -> "subprocess.Popen[str]":
    block = f"with Signals(first, second):\n    print('ready', flush=True)\n    {wait}\nprint('left', flush=True)"
    code = f"{PRELUDE}\n{block}"
    command = [sys.executable, "-W", "error", "-c", code, how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_of(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Wait for the end; of one that does not end, tell where its threads stand."""
    try:
        return process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGUSR1)
        threading.Event().wait(1.0)  # nobody tells when the stacks are written
        process.kill()
        out, errors = process.communicate()
        pytest.fail(f"it did not end: {out}{errors}")


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("number", SIGNALS)
def test_they_come_through_a_long_wait_and_actors_are_stopped_all_the_same(wait: str, number: signal.Signals) -> None:
    """Importing the library has installed no handler: the program itself asserts it."""
    with program(WAITS[wait], "twice") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        process.send_signal(number)
        assert process.stdout.readline() == f"first {number.name}\n"
        process.send_signal(number)
        out, errors = end_of(process)
    assert out == f"second {number.name}\nstopped\n", errors
    assert process.returncode == (-signal.SIGINT if number == signal.SIGINT else 143), errors
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)


def test_after_the_first_a_program_may_end_by_itself() -> None:
    with program(WAITS["event"], "clean") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        process.send_signal(signal.SIGTERM)
        out, errors = end_of(process)
    assert (out, process.returncode) == ("first SIGTERM\nleft\nstopped\n", 0), errors
