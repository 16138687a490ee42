"""An engine of a command's own, in a process of its own."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tinkex.cli._base._fail import NO_SERVER, Failure

STOP_SECONDS: Final = 10.0
ROOT_SECONDS: Final = 10.0
"""How long the engine of a command that was killed may take to leave its folder."""

_LOOK_SECONDS: Final = 0.1
_ANNOUNCED: Final = "tinkex engine: "


@contextmanager
def engine_process(root: Path) -> Generator[str]:
    """Run ``tinkex serve`` on a free port over ``root``; give its address, and end it with the block.

    It ends with this process too, even where that is killed: the pipe that it reads from breaks then.

    Raises:
        Failure: it did not start; its own sentence is passed on.
    """
    _wait_for(root)
    command = [sys.executable, "-m", "tinkex.cli", "serve", "--port", "0", "--root", str(root), "--until-eof"]
    environment = {name: value for name, value in os.environ.items() if name != "TINKEX_ENGINE_KEY"}
    process = subprocess.Popen(  # noqa: S603 - our own command, no shell
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C ends the command, and the command ends its engine
    )
    try:
        yield _address(process)
    finally:
        _end(process)


def _address(process: subprocess.Popen[str]) -> str:
    if process.stdout is None:
        raise AssertionError("stdout is a pipe")
    for line in process.stdout:
        if line.startswith(_ANNOUNCED):
            return line.removeprefix(_ANNOUNCED).strip()
    raise Failure("the embedded engine did not start; what it said stands above", NO_SERVER)


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _wait_for(root: Path) -> None:
    """Wait while another engine holds the folder: that of a command that was killed is just leaving it."""
    until = time.monotonic() + ROOT_SECONDS
    while _is_held(root):
        if time.monotonic() >= until:
            raise Failure(
                f"another process has an engine in {root}: train several runs by one command, or start "
                f"`tinkex serve --root {root}` when that one has ended, and pass its address as --base-url to all",
                NO_SERVER,
            )
        time.sleep(_LOOK_SECONDS)


def _is_held(root: Path) -> bool:
    try:
        lock = os.open(root / "engine.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
