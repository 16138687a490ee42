"""A process that has imported everything and forks an engine or a trainer for each order: a line of JSON.

So a kill costs milliseconds, not the seconds that importing takes. It tells of every child that stops, goes on or ends,
and when nobody gives orders any more it leaves no child behind.

Orders: ``{"start": "engine" | "trainer", ...}``, ``{"signal": number, "pid": pid}``, ``{"tell": line, "pid": pid}``.
"""

import contextlib
import json
import logging
import os
import select
import signal
import sys
import traceback
from typing import Any

import structlog

from chaos.child import engine, say, trainer
from tinkex.engine._compute import _compute

LOADED = _compute  # torch, before the first fork

structlog.configure(
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False),
        lambda _logger, _name, event: {**event, "pid": os.getpid()},
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["timestamp", "pid", "level", "event"]),
    ],
    logger_factory=structlog.WriteLoggerFactory(sys.stderr),
)


class Zygote:
    """The parent."""

    def __init__(self) -> None:
        self.doors: dict[int, int] = {}
        """From each living child to the pipe that it hears."""
        self.wake, self._waker = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._waker, False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Obey until there is nobody to obey."""
        say(ready=True)
        buffer = b""
        while True:
            readable, _, _ = select.select([0, self.wake], [], [])
            if self.wake in readable:
                os.read(self.wake, 4096)
                self.look()
            if 0 in readable:
                read = os.read(0, 65536)
                if not read:
                    break
                *lines, buffer = (buffer + read).split(b"\n")
                for line in lines:
                    self.obey(json.loads(line))
        for pid in list(self.doors):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def obey(self, order: dict[str, Any]) -> None:
        """Do one thing."""
        if "start" in order:
            self.start(order)
            return
        pid = order["pid"]
        if pid not in self.doors:
            return  # it has ended meanwhile
        if "signal" in order:
            os.kill(pid, order["signal"])
        else:
            os.write(self.doors[pid], order["tell"].encode() + b"\n")

    def start(self, order: dict[str, Any]) -> None:
        """Fork a child."""
        out, door = os.pipe()
        pid = os.fork()
        if pid == 0:
            self.be(order, out, door)
        os.close(out)
        self.doors[pid] = door
        say(forked=pid)

    def be(self, order: dict[str, Any], out: int, door: int) -> None:
        """Be a child; does not return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (*self.doors.values(), door, self.wake, self._waker):
                os.close(other)
            os.dup2(out, 0)
            os.close(out)
            sys.stdin = open(0, closefd=False, encoding="utf-8")  # noqa: SIM115 - as long as the process
            status = engine(order) if order["start"] == "engine" else trainer(order)
        except BaseException:  # noqa: BLE001 - a child ends here, whatever it was
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def look(self) -> None:
        """Tell what became of the children."""
        while True:
            pid = 0
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
                if pid:
                    self.tell(pid, status)
            if not pid:
                return

    def tell(self, pid: int, status: int) -> None:
        """Tell what became of one."""
        if os.WIFSTOPPED(status):
            say(stopped=pid)
        elif os.WIFCONTINUED(status):
            say(continued=pid)
        else:
            os.close(self.doors.pop(pid))
            say(died=pid, code=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    Zygote().serve()
