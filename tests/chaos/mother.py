"""The driver's end of the zygote: starts engines and trainers, strikes them, and hears what becomes of them."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
PATIENCE = 120.0
"""Seconds after which something that is waited for counts as never coming."""


@dataclass(eq=False)
class Child:
    """A process, as far as it is known."""

    pid: int
    kind: str
    url: str = ""
    stopped: bool = False
    at: str | None = None
    """The point that it says it stopped at."""
    begun: bool = False
    """Whether it is a trainer that has said that its run begins."""
    code: int | None = None
    """Its exit status, negative for a signal; None while it lives."""
    report: dict[str, Any] = field(default_factory=dict[str, Any])
    """What a trainer said at its end."""

    @property
    def alive(self) -> bool:
        """Whether it was not heard to have ended."""
        return self.code is None


class Mother:
    """The preloaded process. One thread."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.log = log
        self.children: dict[int, Child] = {}
        self._process = process
        self._buffer = b""
        self._heard: list[dict[str, Any]] = []

    def engine(self, root: Path, port: int) -> Child:
        """Start an engine and wait until it listens."""
        child = self._start("engine", root=str(root), port=port)
        self.until(lambda: bool(child.url) or not child.alive, "the engine listens")
        assert child.alive, f"the engine ended by itself: {child.code}"
        return child

    def trainer(self, **order: Any) -> Child:
        """Start a trainer."""
        return self._start("trainer", **order)

    def _start(self, kind: str, **order: Any) -> Child:
        known = set(self.children)
        self._tell(start=kind, **order)
        self.until(lambda: set(self.children) != known, "a child is forked")
        (pid,) = set(self.children) - known
        self.children[pid].kind = kind
        return self.children[pid]

    def strike(self, child: Child, number: int) -> None:
        """Send a signal, if the child is still there."""
        self._tell(signal=number, pid=child.pid)

    def aim(self, child: Child, label: str, nth: int) -> None:
        """Have the child stop itself there."""
        self._tell(tell=json.dumps({"label": label, "nth": nth}), pid=child.pid)

    def kill(self, *children: Child) -> None:
        """Kill them, and wait until they are no more."""
        for child in children:
            self.strike(child, signal.SIGKILL)
        for child in children:
            self.ended(child, "the killed one is no more")

    def freeze(self, child: Child) -> None:
        """Stop it, and wait until it stands still or has ended."""
        self.strike(child, signal.SIGSTOP)
        self.until(lambda: child.stopped or not child.alive, "it stands still")

    def thaw(self, child: Child) -> None:
        """Let it go on."""
        self.strike(child, signal.SIGCONT)
        self.until(lambda: not child.stopped or not child.alive, "it goes on")

    def ended(self, child: Child, what: str) -> None:
        """Listen until it has ended."""
        self.until(lambda: not child.alive, what)

    def until(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Listen until ``condition`` holds."""
        assert self.within(seconds, condition), f"for {seconds:g} s it was waited that {what}"

    def within(self, seconds: float, condition: Callable[[], bool] = lambda: False, beat: float | None = None) -> bool:
        """Listen for so long, or until ``condition`` holds; tell whether it does. ``beat`` looks without news too."""
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._hear(left if beat is None else min(beat, left))
        return True

    # The wire

    def _tell(self, **order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()

    def _hear(self, seconds: float) -> None:
        assert self._process.stdout is not None
        out = self._process.stdout.fileno()
        if not select.select([out], [], [], seconds)[0]:
            return
        read = os.read(out, 65536)
        assert read, "the zygote has ended"
        *lines, self._buffer = (self._buffer + read).split(b"\n")
        for line in lines:
            self._note(json.loads(line))

    def _note(self, said: dict[str, Any]) -> None:
        if "ready" in said:
            self._heard.append(said)
            return
        key = next(name for name in ("forked", "stopped", "continued", "died", "ended", "pid") if name in said)
        pid = said[key]
        # A child may speak before its parent tells of it.
        child = self.children.setdefault(pid, Child(pid, "?")) if key in ("forked", "pid") else self.children[pid]
        match key:
            case "stopped" | "continued":
                child.stopped = key == "stopped"
            case "died":
                child.code, child.stopped = said["code"], False
            case "ended":
                child.report = said
            case _:
                child.url = said.get("url", child.url)
                child.begun = said.get("begun", child.begun)
                child.at = said.get("at", child.at)

    def ready(self) -> None:
        """Wait until it has imported everything."""
        self.until(lambda: bool(self._heard), "the zygote is ready")

    def end(self) -> None:
        """Leave nothing running."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def mother(folder: Path) -> Generator[Mother]:
    """Give a preloaded process; afterwards nothing of it runs."""
    log = folder / "log"
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with log.open("ab") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "chaos.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=err,
            env={**os.environ, "PYTHONPATH": path},
        )
    made = Mother(process, log)
    try:
        made.ready()
        yield made
    finally:
        made.end()


def free_port(seed: int) -> int:
    """Return a port below those that outgoing connections take: so it is still free after its server was killed."""
    for step in range(200):
        port = 20_000 + (seed * 7919 + step * 101) % 12_000
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                tried.bind(("127.0.0.1", port))
                return port
    raise AssertionError("no port is free")
