"""Point 9, at the end of a program and after a fork."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from support_genserver import SECONDS, Block, Probe, no_actor_left, run_in, run_script, wait_until_told
from tinkex.actors._genserver._guard import GUARD_SECONDS, Guard

PROGRAM = """
import os, signal, sys, threading, time
from support_genserver import Block, Call, Later, Ping, Probe, Stubborn, noted
from tinkex.actors import Deferred, GenServer
from tinkex.protocol import Ok

class Says(Probe):
    def __init__(self, name):
        super().__init__()
        self._name = name
    def on_stop(self, reason="normal"):
        print(self._name, "stopped", reason, flush=True)

first, second = Says.start("first"), Says.start("second")
assert first.ask(Ping(1)) == Ok(1)
"""

WAYS_OUT = {
    "return": ("", 0),
    "exception": ("raise ValueError('the program is wrong')", 1),
    "exit": ("sys.exit(3)", 3),
    "ctrl-c": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(30)", -2),
    "ctrl-c in an ask": (
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start(); first.ask(Later(Deferred()))",
        -2,
    ),
}


@pytest.mark.parametrize("way", WAYS_OUT)
def test_program_that_ends_without_stop_stops_its_actors_the_youngest_first(way: str) -> None:
    ending, code = WAYS_OUT[way]
    before = time.monotonic()
    done = run_script(PROGRAM + ending)
    assert done.stdout == "second stopped shutdown\nfirst stopped shutdown\n", done.stderr
    assert done.returncode in (code, 130 if code < 0 else code)
    assert time.monotonic() - before < GUARD_SECONDS
    assert "Fatal" not in done.stderr


def test_program_ends_though_an_actor_is_stuck_and_the_others_are_stopped_all_the_same() -> None:
    script = (
        PROGRAM
        + """
import tinkex.actors._genserver._guard as guards
guards.guard.end.__func__.__defaults__ = (4.0,)
stuck = Probe.start()
stuck.ask(Block(threading.Event()), block=False)
stuck.monitor(lambda down: print("stuck", down.reason, down.error.message.partition("(")[0], flush=True))
"""
    )
    before = time.monotonic()
    done = run_script(script)
    assert "stuck killed Probe" in done.stdout, done.stderr
    assert done.stdout.endswith("second stopped shutdown\nfirst stopped shutdown\n")
    assert done.returncode == 0
    assert time.monotonic() - before < 10


def test_waiting_thread_of_the_program_is_answered_at_the_end() -> None:
    script = (
        PROGRAM
        + """
reply = first.ask(Later(Deferred()), block=False)
reply.add_done_callback(lambda result: print("answered", result.error.kind, flush=True))
"""
    )
    done = run_script(script)
    assert "answered actor_dead" in done.stdout, done.stderr


def test_child_is_stopped_by_its_parent_and_an_orphan_by_the_guard() -> None:
    script = (
        PROGRAM
        + """
class Parent(Says):
    def on_start(self):
        self.child = Says.start("child")
    def on_drain(self):
        self.child.monitor(lambda down: self.post(Call(lambda actor: Ok(actor.drained()))))
        self.child.stop(block=False)

Parent.start("parent")
gone = Parent.start("gone")
gone.kill()
"""
    )
    done = run_script(script)
    assert done.stdout.splitlines() == [
        "child stopped shutdown",  # the orphan of the one that is gone
        "child stopped normal",
        "parent stopped shutdown",
        "second stopped shutdown",
        "first stopped shutdown",
    ], done.stderr


def test_io_and_timers_work_while_the_program_ends() -> None:
    script = (
        PROGRAM
        + """
import asyncio
class Finishes(Probe):
    async def _begin(self):
        pass  # Python 3.12 starts no thread at exit: this starts the io thread before, as a client's session does
    def on_start(self):
        self.spawn(self._begin(), noted)
    def on_drain(self):
        self.spawn(self._finish(), lambda outcome: Call(lambda actor: Ok(actor.late())))
    async def _finish(self):
        await self.runtime.clock.sleep(0.05)
        print("finished", flush=True)
    def late(self):
        self.send_after(0.05, Call(lambda actor: Ok(actor.drained())))
Finishes.start()
"""
    )
    done = run_script(script)
    assert done.stdout.startswith("finished\nsecond"), done.stderr
    assert done.returncode == 0


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_references_in_the_child_of_a_fork_answer_at_once() -> None:
    script = (
        PROGRAM
        + """
import pykka, warnings
warnings.simplefilter("ignore")
busy = Probe.start()
gate = threading.Event()
running = busy.ask(Block(gate), block=False)
queued = busy.ask(Ping(), block=False)
open_reply = first.ask(Later(Deferred()), block=False)
first.ask(Ping())
asking = threading.Thread(target=lambda: [first.ask(Ping(n)) for n in range(20000)])
asking.start()
pid = os.fork()
if pid == 0:
    def kind(result):
        return result.error.kind
    told = []
    first.monitor(told.append)
    try:
        first.tell(Ping())
    except pykka.ActorDeadError:
        told.append("dead")
    print(kind(first.ask(Ping(), timeout=5)), kind(first.ask(Ping(), block=False).get(timeout=5)), flush=True)
    print(*(kind(reply.get(timeout=5)) for reply in (running, queued, open_reply)), flush=True)
    print(first.is_alive(), first.stop(), first.kill(), first.join(), told[0].reason, told[1], flush=True)
    own = Says.start("own")
    print(own.ask(Ping(7)), own.stop(), flush=True)
    own = Says.start("left")
    sys.exit(0)
_, status = os.waitpid(pid, 0)
asking.join()
gate.set()
print("parent", status, first.ask(Ping(8)), flush=True)
"""
    )
    done = run_script(script)
    assert done.stdout.splitlines() == [
        "actor_dead actor_dead",
        "actor_dead actor_dead actor_dead",
        "False False False True killed dead",
        "own stopped normal",
        "Ok(value=7) True",
        "left stopped shutdown",
        "parent 0 Ok(value=8)",
        "second stopped shutdown",
        "first stopped shutdown",
    ], done.stderr


class Root:
    """A reference that does as the test says."""

    def __init__(self, urn: str, log: list[str], *, stuck: bool = False) -> None:
        self.actor_urn = urn
        self.actor_class = Probe
        self._log = log
        self._stuck = stuck
        self._watchers: list[Callable[[Any], object]] = []
        self.guard: Guard | None = None

    def _end(self) -> None:
        assert self.guard is not None
        self.guard.forget(self.actor_urn)
        for watcher in self._watchers:
            watcher(None)

    def stop(self, *, block: bool, reason: str, shutdown: float) -> None:
        assert not block
        assert 0.0 <= shutdown <= Probe.shutdown
        self._log.append(f"stop {self.actor_urn} {reason}")
        if not self._stuck:
            self._end()

    def kill(self, reason: str) -> bool:
        self._log.append(f"kill {self.actor_urn} {reason}")
        self._end()
        return True

    def join(self, timeout: float) -> bool:
        return timeout >= 0.0

    def monitor(self, watcher: Callable[[Any], object]) -> None:
        self._watchers.append(watcher)


def _guard(*roots: Root) -> Guard:
    guard = Guard()
    for root in roots:
        root.guard = guard
        guard.enlist(root, None)
    return guard


def test_guard_gives_each_root_its_share_and_kills_who_does_not_use_it() -> None:
    log: list[str] = []
    roots = [Root("a", log), Root("b", log, stuck=True), Root("c", log)]
    _guard(*roots).end(0.2)
    assert log == ["stop c shutdown", "stop b shutdown", "kill b the program ended", "stop a shutdown"]


def test_guard_without_time_kills() -> None:
    log: list[str] = []
    guard = _guard(Root("a", log), Root("b", log))
    child = Root("child", log)
    child.guard = guard
    guard.enlist(child, "b")
    guard.end(0.0)
    assert log == [f"kill {name} the program ended" for name in ("b", "a", "child")]


def test_ctrl_c_while_the_guard_waits_kills_at_once() -> None:
    log: list[str] = []

    class Interrupting(Root):
        def stop(self, *, block: bool, reason: str, shutdown: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _guard(Root("a", log), Interrupting("b", log)).end()
    assert log == ["kill b the program ended", "kill a the program ended"]


def test_busy_actor_is_not_known_any_more_once_it_has_ended() -> None:
    from tinkex.actors._genserver._guard import guard

    gate = threading.Event()
    with no_actor_left():
        before = len(guard._living)
        ref = Probe.start()
        ref.ask(Block(gate), block=False)
        assert len(guard._living) == before + 1
        ref.kill()
        assert wait_until_told(ref.monitor).reason == "killed"
        assert len(guard._living) == before
        gate.set()
        assert ref.join(SECONDS)


def test_actor_that_is_started_by_an_actor_is_no_root() -> None:
    from tinkex.actors._genserver._guard import guard

    with no_actor_left():
        children: list[Any] = []
        parent = Probe.start()
        run_in(parent, lambda _actor: children.append(Probe.start()))
        roots = {root.actor_urn for root in guard._youngest_first()}
        assert parent.actor_urn in roots
        assert children[0].actor_urn not in roots
        parent.stop()
        assert children[0].actor_urn in {root.actor_urn for root in guard._youngest_first()}
        children[0].stop()


assert sys.platform != "win32", "signals and forks are tested as POSIX has them"
