"""Point 3: an exception is a bug and crashes this actor only, in whichever way it was reached."""

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from pykka.messages import ProxyCall

from support_genserver import (
    SECONDS,
    Crash,
    Later,
    Note,
    Ping,
    Probe,
    error_of,
    no_actor_left,
    settled,
    unconfigured_logs,
    wait_until_told,
)
from tinkex.actors import Deferred, GenRef, exposed
from tinkex.protocol import Ok


class Strange(BaseException):
    """Not even an Exception."""


def _ask(ref: GenRef, error: BaseException) -> None:
    assert error_of(ref.ask(Crash(error))).kind == "actor_crashed"


def _tell(ref: GenRef, error: BaseException) -> None:
    ref.tell(Crash(error))


def _proxy(ref: GenRef, error: BaseException) -> None:
    assert error_of(settled(ref.proxy().crash(error))).kind == "actor_crashed"


def _defer(ref: GenRef, error: BaseException) -> None:
    ref.proxy().crash.defer(error)


def _raw(ref: GenRef, error: BaseException) -> None:
    call: Any = ProxyCall(("crash",), (error,), {})
    assert error_of(ref.ask(call)).kind == "actor_crashed"


WAYS = [_ask, _tell, _proxy, _defer, _raw]
ERRORS = [ValueError("boom"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), Strange("odd")]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_exception_crashes_this_actor_once_and_no_other(way: Callable[..., None], error: BaseException) -> None:
    with no_actor_left():
        bystander, plain = Probe.start(), pykka.ThreadingActor.start()
        log: list[str] = []
        ref = Probe.start(log)
        waiting = ref.ask(Later(Deferred[int]()), block=False)
        downs: list[Any] = []
        ref.monitor(downs.append)
        way(ref, error)
        down = wait_until_told(ref.monitor)
        assert ref.join(SECONDS)
        told = error_of(settled(waiting))
        assert told.kind == "actor_crashed"
        assert type(error).__name__ in told.data["cause"]
        assert down.reason == "crashed"
        assert down.error.data["cause"] == told.data["cause"]
        assert downs == [down]
        assert log == ["start", f"failure {type(error).__name__}"]
        assert not ref.is_alive()
        assert bystander.ask(Ping(1)) == Ok(1)
        assert plain.is_alive()
        bystander.stop()
        plain.stop()


def test_error_in_a_posted_message_or_a_property_crashes_too() -> None:
    class Reads(Probe):
        @property
        def broken(self) -> int:
            raise AttributeError("a bug in a property is no missing name")

    with no_actor_left():
        ref = Reads.start()
        assert error_of(settled(ref.proxy().broken)).kind == "actor_crashed"
        assert not ref.is_alive()


def test_type_error_inside_a_proxied_method_is_a_crash_not_a_misfit() -> None:
    class Wrong(Probe):
        def broken(self, number: int) -> int:
            return len(number)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

        def calls_wrongly(self) -> int:
            return self.broken()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

    with no_actor_left():
        for method, args in (("broken", (1,)), ("calls_wrongly", ())):
            ref = Wrong.start()
            error = error_of(settled(getattr(ref.proxy(), method)(*args)))
            assert (error.kind, error.data["cause"][:9]) == ("actor_crashed", "TypeError")


def test_expected_failure_is_a_value_and_the_actor_lives() -> None:
    class Refuses(Probe):
        @exposed
        def refuse(self) -> Any:
            return self.handle(Ping(number=1, await_timeout=-1.0))

    with no_actor_left():
        ref = Refuses.start()
        assert error_of(settled(ref.proxy().refuse())).kind == "validation"
        assert ref.ask(Ping(1)) == Ok(1)
        ref.stop()


def test_hook_that_fails_is_logged_and_hides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Probe):
        def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            raise SystemExit(4)

    with no_actor_left(), unconfigured_logs(), caplog.at_level(logging.ERROR, "tinkex"):
        ref = Fails.start()
        assert "ValueError: first" in error_of(ref.ask(Crash(ValueError("first")))).message
        assert wait_until_told(ref.monitor).error.data["cause"] == "ValueError: first"
    assert "SystemExit: 4" in caplog.text


@pytest.mark.parametrize("error", [ValueError("last"), SystemExit(1)], ids=["exception", "base"])
def test_on_stop_that_fails_is_a_crash(error: BaseException) -> None:
    class Fails(Probe):
        def on_stop(self, reason: str = "normal") -> None:
            raise error

    with no_actor_left():
        ref = Fails.start()
        bystander = Probe.start()
        open_reply = ref.ask(Later(Deferred[int]()), block=False)
        assert ref.stop() is True
        assert wait_until_told(ref.monitor).reason == "crashed"
        assert error_of(settled(open_reply)).kind == "actor_crashed"
        assert error_of(ref.ask(Ping())).kind == "actor_crashed"
        bystander.stop()


def test_crash_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with unconfigured_logs(), caplog.at_level(logging.ERROR, "tinkex"):
        ref = Probe.start()
        ref.ask(Crash(ValueError("look here")))
        ref.join(SECONDS)
    assert "look here" in caplog.text
    assert "Traceback" in caplog.text


def test_error_of_a_crash_does_not_keep_the_actor_alive() -> None:
    actors: list[weakref.ref[Any]] = []

    class Known(Probe):
        def on_start(self) -> None:
            actors.append(weakref.ref(self))

    with no_actor_left():
        ref = Known.start()
        error = error_of(ref.ask(Crash(ValueError("x"))))
        assert ref.join(SECONDS)
        gc.collect()
        assert error.data["cause"]
        assert actors[0]() is None


def test_dead_actor_is_freed_without_the_garbage_collector() -> None:
    actors: list[weakref.ref[Any]] = []

    class Known(Probe):
        def on_start(self) -> None:
            actors.append(weakref.ref(self))

    gc.collect()
    gc.disable()
    try:
        ref = Known.start()
        ref.ask(Ping(1))
        ref.stop()
        assert ref.join(SECONDS)
        give_up = time.monotonic() + SECONDS
        while actors[0]() is not None and time.monotonic() < give_up:
            threading.Event().wait(0.001)  # the thread's very last steps
        assert actors[0]() is None
    finally:
        gc.enable()


def test_crash_after_a_kill_is_logged_only(caplog: pytest.LogCaptureFixture) -> None:
    entered, gate = threading.Event(), threading.Event()

    class Busy(Probe):
        def work(self) -> int:
            entered.set()
            gate.wait(SECONDS)
            raise ValueError("too late")

    with no_actor_left(), unconfigured_logs(), caplog.at_level(logging.ERROR, "tinkex"):
        log: list[str] = []
        ref = Busy.start(log)
        reply = ref.proxy().work()
        assert entered.wait(SECONDS)
        ref.kill()
        gate.set()
        assert ref.join(SECONDS)
        assert error_of(reply.get()).kind == "actor_dead"
        assert wait_until_told(ref.monitor).reason == "killed"
    assert "too late" in caplog.text
    assert log == ["start"]


def test_answer_that_is_an_err_to_a_told_message_leaves_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    with no_actor_left(), unconfigured_logs(), caplog.at_level(logging.WARNING, "tinkex"):
        ref = Probe.start()
        ref.tell(Ping(number=1, await_timeout=-1.0))
        ref.tell(Note("goes on"))
        assert isinstance(ref.ask(Ping(1)), Ok)
        ref.stop()
    assert "await_timeout" in caplog.text
