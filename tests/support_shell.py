"""The command in this process, and in children that are forked from one parent, so that none of them imports."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import structlog

from tinkex.cli import main

NEST = Path(__file__).parent / "shell_zygote.py"
ROWS = "abcdefgh"


class Done(NamedTuple):
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


class Shell:
    """A folder in which commands are run, without what the environment says of servers and runs."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._patch = monkeypatch
        self._captured = capfd
        monkeypatch.chdir(folder)
        for name in list(os.environ):
            if name.startswith("TINK"):
                monkeypatch.delenv(name)

    @property
    def root(self) -> Path:
        return self.folder / "runs"

    def tinkex(self, *words: str, **variables: str) -> Done:
        """Run the command in this process."""
        with self._patch.context() as patch, _logs_as_they_were():
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["tinkex", *words])
            with pytest.raises(SystemExit) as ended:
                main()
        out, err = self._captured.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, out, err)

    def config(self, name: str = "r", *, rows: int = 24, **sections: Any) -> Path:
        """Write rows, and a configuration that trains on them: two in each of 12 updates, a save after each third."""
        data = self.folder / "rows.jsonl"
        if not data.exists():
            pairs = [(f"{ROWS[: 2 + row % 5]}{row}", str(row)) for row in range(rows)]
            data.write_text("".join(json.dumps({"prompt": a, "completion": b}) + "\n" for a, b in pairs))
        tables: dict[str, dict[str, Any]] = {
            "data": {"path": "rows.jsonl"},
            "model": {"rank": 4},
            "training": {"batch_size": 2},
            "checkpoints": {"every_updates": 3},
            "rebuild": {"backoff_seconds": 0.01},
        }
        for section, table in sections.items():
            tables.setdefault(section, {}).update(table)
        text = "".join(
            f"[{section}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
            for section, table in tables.items()
        )
        path = self.folder / f"{name}.toml"
        path.write_text(text)
        return path


@contextmanager
def _logs_as_they_were() -> Generator[None]:
    config, handlers, level = structlog.get_config(), list(logging.root.handlers), logging.root.level
    try:
        yield
    finally:
        structlog.configure(**config)
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


class Child:
    """A command in a process of its own, whose output goes to files."""

    def __init__(self, pid: int, out: Path, err: Path, reap: Callable[[int], int]) -> None:
        self.pid = pid
        self._out, self._err = out, err
        self._reap = reap
        self._status: int | None = None

    @property
    def out(self) -> str:
        return self._out.read_text() if self._out.is_file() else ""

    @property
    def err(self) -> str:
        return self._err.read_text()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def says(self, word: str, seconds: float = 60.0) -> None:
        """Wait until the child has printed ``word``."""
        until, pause = time.monotonic() + seconds, threading.Event()
        while word not in self.out + self.err:
            assert time.monotonic() < until, (word, self.out[-2000:], self.err[-2000:])
            pause.wait(0.01)

    def end(self) -> Done:
        """Wait for its end."""
        if self._status is None:
            self._status = self._reap(self.pid)
        return Done(self._status, self.out, self.err)

    def kill(self) -> None:
        """End it, if it has not."""
        if self._status is None:
            self.signal(signal.SIGKILL)
            self.end()


class Nest:
    """The parent."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._children: list[Child] = []

    def start(self, folder: Path, *words: str, out: Path | None = None, **variables: str) -> Child:
        """Start a command in ``folder``, which prints to ``out`` there, or to a file."""
        number = len(self._children)
        err = folder / f"err-{number}"
        err.touch()
        if out is None:
            out = folder / f"out-{number}"
            out.touch()
        answer = self._ask(words=words, folder=str(folder), out=str(out), err=str(err), variables=variables)
        child = Child(answer["pid"], out, err, lambda pid: int(self._ask(reap=pid)["status"]))
        self._children.append(child)
        return child

    def end(self) -> None:
        """Leave nothing running."""
        for child in self._children:
            child.kill()

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def nest() -> Generator[Nest]:
    """Give the parent; afterwards nothing of it runs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TINK")}
    with subprocess.Popen(
        [sys.executable, str(NEST)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        made = Nest(process)
        try:
            yield made
        finally:
            made.end()
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30.0)
