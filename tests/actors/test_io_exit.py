"""The io thread in a forked child and while the interpreter ends."""

# pyright: reportPrivateUsage=false

import os
import subprocess
import sys
import threading
from collections.abc import Generator

import pytest

from support_io import SOON, Done, forever, value
from tinkex.actors._runtime._io import IoThread
from tinkex.actors._runtime._outcome import Outcome


@pytest.fixture
def io() -> Generator[IoThread]:
    thread = IoThread()
    yield thread
    assert thread.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_after_a_fork_the_child_has_a_thread_of_its_own(io: IoThread) -> None:
    begun, mine = threading.Event(), Done()
    task = io.submit(forever(begun), mine)
    assert begun.wait(SOON)
    io._lock.acquire()  # as if another thread were just submitting
    child = os.fork()
    if child == 0:
        code = 1
        try:
            done = Done()
            open_before, ident_before = io.open_tasks(), io.loop_thread_ident
            io.submit(value(5), done)
            right = (open_before, ident_before, done.wait(), io.close()) == (0, None, Outcome(value=5), True)
            code = 0 if right and mine.outcomes == [] else 2
        finally:
            os._exit(code)
    io._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    task.cancel()
    assert mine.wait() == Outcome(cancelled=True)


FORK = """
import asyncio, os, sys, threading, warnings
from tinkex.actors._runtime._runtime import Runtime

warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
runtime = Runtime.current()

def wait_for(coro):
    done = threading.Event()
    runtime.io.submit(coro, lambda outcome: done.set())
    assert done.wait(30)

runtime.io.submit(asyncio.sleep(3600), lambda outcome: print("wrong"))
runtime.clock.call_later(3600, lambda: print("wrong"))
wait_for(asyncio.sleep(0))
child = os.fork()
wait_for(asyncio.sleep(0.01))
if child == 0:
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert runtime.io.open_tasks() == 1
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_parent_and_child_of_a_fork_end_without_a_word() -> None:
    """The child neither frees nor complains of what the parent still uses."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", FORK], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


EXIT = """
import atexit, asyncio, socket, threading
from tinkex.actors._runtime._runtime import Runtime

server = socket.create_server(("127.0.0.1", 0))
runtime = Runtime.current()
done = threading.Event()

async def connect():
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo("localhost", server.getsockname()[1], type=socket.SOCK_STREAM)
    reader, writer = await asyncio.open_connection("localhost", server.getsockname()[1], family=socket.AF_INET)
    writer.close()
    await runtime.clock.sleep(0.01)
    return len(found) > 0

@atexit.register
def last():
    runtime.io.submit(connect(), lambda outcome: (print(outcome, flush=True), done.set()))
    assert done.wait(30)
    timer = threading.Event()
    runtime.clock.call_later(0.0, timer.set)
    print(timer.wait(30), runtime.io.drain(30), flush=True)
    server.close()

begun = threading.Event()
runtime.start_thread("actor", begun.set)
begun.wait(30)
runtime.io.submit(asyncio.sleep(0), lambda outcome: None)
runtime.io.submit(asyncio.sleep(3600), lambda outcome: None).cancel()
"""


def test_names_connections_and_timers_work_while_the_interpreter_ends() -> None:
    """At exit executors refuse work; the last requests of a program need names resolved all the same."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", EXIT], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines() == ["Outcome(value=True, error=None, cancelled=False)", "True True"]
    assert ended.returncode == 0


HANGS = """
import asyncio, socket, threading
from tinkex.actors._runtime._runtime import Runtime

asked, never = threading.Event(), threading.Event()

def hang(host, port, family=0, type=0, proto=0, flags=0):
    if flags & socket.AI_NUMERICHOST:
        raise socket.gaierror(socket.EAI_NONAME, "no number")
    asked.set()
    never.wait()

socket.getaddrinfo = hang

async def look():
    await asyncio.get_running_loop().getaddrinfo("engine", 80)

Runtime.current().io.submit(look(), lambda outcome: None)
assert asked.wait(30)
"""


def test_a_name_server_that_never_answers_does_not_hold_a_program_back_at_its_exit() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
