"""How the io thread's loop resolves names."""

import asyncio
import socket
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from support_io import SOON, Done, value
from tinkex.actors._runtime._io import IoThread
from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._runtime._park import LockParker


@pytest.fixture
def io() -> Generator[IoThread]:
    thread = IoThread()
    yield thread
    assert thread.close()


def resolve(io: IoThread, host: str | bytes | None) -> Outcome[Any]:
    async def look() -> Any:
        return await asyncio.get_running_loop().getaddrinfo(host, 80, type=socket.SOCK_STREAM)

    done = Done()
    io.submit(look(), done)
    return done.wait()


def lookup_threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    started: list[str] = []
    start = threading.Thread.start

    def note(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    return started


@pytest.mark.parametrize("host", ["127.0.0.1", b"127.0.0.1", "::1", None])
def test_numbers_are_resolved_without_a_thread(
    io: IoThread, host: str | bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = lookup_threads(monkeypatch)
    assert resolve(io, host).value == socket.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
    assert "tinkex-lookup" not in started


def test_names_are_resolved_on_a_daemon_thread(io: IoThread, monkeypatch: pytest.MonkeyPatch) -> None:
    started = lookup_threads(monkeypatch)
    assert resolve(io, "localhost").value == socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    assert started.count("tinkex-lookup") == 1


def fake_names(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
    def getaddrinfo(*args: Any) -> Any:
        if args[-1] & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        return answer()

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_an_unknown_name_is_the_callers_error(io: IoThread, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    fake_names(monkeypatch, unknown)
    assert isinstance(resolve(io, "nowhere.test").error, socket.gaierror)


def test_where_no_thread_can_start_names_are_resolved_on_the_loop(
    io: IoThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    io.submit(value(1), Done())

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    fake_names(monkeypatch, lambda: ["found on", threading.get_ident()])
    assert resolve(io, "engine.test").value == ["found on", io.loop_thread_ident]


def test_a_question_that_is_open_is_asked_once(io: IoThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand connections to one server at once must not start a thousand threads."""
    asked: list[str] = []
    answered = threading.Event()

    def slow() -> list[str]:
        asked.append("engine.test")
        assert answered.wait(SOON)
        return ["address"]

    async def look_often() -> Any:
        loop = asyncio.get_running_loop()
        lookups = [asyncio.ensure_future(loop.getaddrinfo("engine.test", 80)) for _ in range(1_000)]
        await asyncio.sleep(0)
        lookups[0].cancel()
        answered.set()
        return await asyncio.gather(*lookups, return_exceptions=True)

    fake_names(monkeypatch, slow)
    done = Done()
    io.submit(look_often(), done)
    first, *others = done.wait().unwrap()
    assert isinstance(first, asyncio.CancelledError)
    assert others == [["address"]] * 999
    assert asked == ["engine.test"]
    assert resolve(io, "engine.test").value == ["address"]
    assert len(asked) == 2


def test_an_answer_that_nobody_waits_for_any_more_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a cancelled lookup nor a closed loop makes the lookup's thread fail."""
    asked, answered = LockParker(), threading.Event()

    def slow() -> list[str]:
        asked.unpark()
        assert answered.wait(SOON)
        return ["late"]

    fake_names(monkeypatch, slow)
    io = IoThread()

    async def look() -> None:
        await asyncio.get_running_loop().getaddrinfo("engine.test", 80)

    def lookups() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "tinkex-lookup"]

    cancelled = Done()
    task = io.submit(look(), cancelled)
    assert asked.park(SOON)
    (first,) = lookups()
    task.cancel()
    assert cancelled.wait() == Outcome(cancelled=True)
    answered.set()
    first.join()
    answered.clear()
    io.submit(look(), Done())
    assert asked.park(SOON)
    (second,) = lookups()
    io.close()
    answered.set()
    second.join()
