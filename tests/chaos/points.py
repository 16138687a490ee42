"""The moments at which a trainer's process can be struck: before each of its writes and sends."""

import os
import re
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx

_TABLE = re.compile(r"\b(?:INTO|UPDATE|FROM)\s+(\w+)", re.IGNORECASE)
_WRITES = frozenset({"BEGIN", "COMMIT", "ROLLBACK", "INSERT", "UPDATE", "DELETE", "CREATE"})
_ID = re.compile(r"(sessions|training_runs|models)/[^/]+")

TRAINS = ("forward_backward", "optim_step", "save_weights")
"""The sends that train or save: nobody may do that who was taken over."""


class Aim(NamedTuple):
    """Where a process stops: at the ``nth`` point from now whose label begins with ``label``."""

    label: str
    nth: int


class Points:
    """Counts the points of this process, and stops it whole at the one that it is told.

    A label says what is about to be done, ``sqlite COMMIT runs``, ``link manifests`` or ``http POST optim_step``; those
    of ``wire`` are steps within an exchange.
    """

    def __init__(self, root: Path) -> None:
        self.labels: list[str] = []
        self.sent_since: list[tuple[str, int]] = []
        """What was sent since it went on, and how that was answered."""
        self.woken = False
        """Whether it stood still, and goes on."""
        self.told: Callable[[str], None] = lambda _label: None
        self._root = str(root)
        self._lock = threading.Lock()
        self._aim: Aim | None = None
        self._fds: dict[int, str] = {}

    def aim(self, aim: Aim | None) -> None:
        """Stop there, and nowhere else."""
        with self._lock:
            self._aim = aim

    def reach(self, label: str) -> None:
        """Note that ``label`` is about to be done, and stop before it if it is the one."""
        with self._lock:
            self.labels.append(label)
            aim = self._aim
            if aim is None or not label.startswith(aim.label):
                return
            self._aim = aim = aim._replace(nth=aim.nth - 1)
            if aim.nth > 0:
                return
            self._aim = None
        self.told(label)
        # To this very thread: the stop begins before it does anything more.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        self.woken = True

    # Hooks, once in a process

    def install(self) -> None:
        """Have this process's files, databases and network count from now on."""
        self._wrap_paths("rename", "replace", "link", "unlink", "mkdir")
        self._wrap_files()
        self._wrap_sqlite()

    def _where(self, path: Any) -> str | None:
        """Name the kind of a file below the root; None is not ours."""
        text = str(path)
        if not text.startswith(self._root):
            return None
        parts = Path(text[len(self._root) :].strip("/")).parts
        return next((name for name in ("manifests", "events", "ledger") if name in parts), "root")

    def _wrap_paths(self, *names: str) -> None:
        for name in names:
            setattr(os, name, self._wrapped(name, getattr(os, name), self._where))

    def _wrapped(self, name: str, inner: Any, where: Callable[[Any], str | None]) -> Any:
        def wrapped(target: Any, *args: Any, **more: Any) -> Any:
            ours = where(target)
            if ours is not None:
                self.reach(f"{name} {ours}")
            return inner(target, *args, **more)

        return wrapped

    def _wrap_files(self) -> None:
        opened, closed = os.open, os.close

        def open_(path: Any, flags: int, *args: Any, **more: Any) -> int:
            where = self._where(path)
            if where is not None and flags & os.O_CREAT:
                self.reach(f"open {where}")
            fd = opened(path, flags, *args, **more)
            if where is not None:
                self._fds[fd] = where
            return fd

        def close(fd: int) -> None:
            self._fds.pop(fd, None)
            closed(fd)

        os.open, os.close = open_, close
        for name in ("write", "fsync"):
            setattr(os, name, self._wrapped(name, getattr(os, name), self._fds.get))

    def _wrap_sqlite(self) -> None:
        points = self

        class Connection(sqlite3.Connection):
            table = ""

            def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
                word = sql.split(None, 1)[0].upper()
                if word in _WRITES:
                    found = _TABLE.search(sql)
                    self.table = found[1] if found is not None else "" if word == "BEGIN" else self.table
                    points.reach(f"sqlite {word} {self.table}".rstrip())
                return super().execute(sql, parameters)

        inner: Any = sqlite3.connect

        def connect(*args: Any, **more: Any) -> Any:
            return inner(*args, **{**more, "factory": Connection})

        sqlite3.connect = connect


class Wire(httpx.AsyncBaseTransport):
    """The network, whose every send is a point."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self._inner: httpx.AsyncHTTPTransport | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = _ID.sub(r"\1/*", request.url.path.removeprefix("/api/v1/"))
        self._points.reach(f"http {request.method} {path}")
        late = self._points.woken
        request.extensions["trace"] = self._trace
        if self._inner is None:
            self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=None))
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError:
            if late:
                self._points.sent_since.append((path, 0))
            raise
        if late:
            self._points.sent_since.append((path, response.status_code))
        return response

    async def aclose(self) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            await inner.aclose()

    async def _trace(self, event: str, _info: dict[str, Any]) -> None:
        self._points.reach(f"wire {event}")
