"""An engine of the demo's own, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tinkex.cli._fail import NO_SERVER, Failure

STOP_SECONDS: Final = 10.0
_ANNOUNCED: Final = "tinkex engine: "


@contextmanager
def engine_process(root: Path) -> Generator[str]:
    """Run ``tinkex serve`` on a free port over ``root``; give its address, and end it with the block.

    Raises:
        Failure: it did not start; its own sentence is passed on.
    """
    command = [sys.executable, "-m", "tinkex.cli", "serve", "--port", "0", "--root", str(root)]
    environment = {name: value for name, value in os.environ.items() if name != "TINKEX_ENGINE_KEY"}
    process = subprocess.Popen(  # noqa: S603 - our own command, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C ends the demo, and the demo ends its engine
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
    if process.stdout is not None:
        process.stdout.close()
