"""The processes of a run: the stub, and each driver fresh, in the environment that its side has."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

BENCH: Final = Path(__file__).parents[1]
SDK_VERSION: Final = "0.38.0"
SDK: Final = BENCH.parent / ".venv-sdk" / SDK_VERSION / "bin" / "python"
"""The official SDK's interpreter; ``make bench`` makes it."""

SIDES: Final = ("sdk", "ours", "floor")
PATIENCE: Final = 300.0
"""Seconds that a driver may take."""


class WrongError(Exception):
    """A driver did not do what it was to do, so its figures are worth nothing."""


def environment(side: str) -> dict[str, str]:
    """Return the variables for a process of ``side``: nothing of the user's that a client would read.

    Bytecode is kept, whatever this machine's habit: packages that pip installs have it, and so both sides do.
    """
    found = {name: value for name, value in os.environ.items() if not name.startswith(("TINKER_", "TINKEX_"))}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    own = found.pop("PYTHONPATH", "")
    paths = [str(BENCH)] if side == "sdk" else [str(BENCH), *own.split(os.pathsep)]
    return {**found, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "NO_PROXY": "127.0.0.1"}


def interpreter(side: str) -> str:
    """Return the interpreter of ``side``.

    Raises:
        WrongError: the official SDK's is not there.
    """
    if side != "sdk":
        return sys.executable
    if not SDK.exists():
        raise WrongError(f"{SDK} is missing: make bench makes it, and so does make .venv-sdk/{SDK_VERSION}/.ready")
    return str(SDK)


@contextmanager
def stub() -> Generator[str]:
    """Run the stub server and give its address."""
    command = [sys.executable, "-m", "fast_path.stub"]
    with subprocess.Popen(
        command, env=environment("stub"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(30)


@contextmanager
def engine() -> Generator[str]:
    """Run ``tinkex serve`` over a new folder and give its address."""
    with TemporaryDirectory(prefix="tinkex-bench-") as root:
        command = [sys.executable, "-m", "tinkex.cli", "serve", "--port", "0", "--root", root]
        with subprocess.Popen(command, env=environment("engine"), stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                found = re.search(r"http://\S+", process.stdout.readline())
                if found is None:
                    raise WrongError("the engine told no address")
                yield found[0]
            finally:
                process.terminate()
                process.wait(30)


def run(side: str, module: str, *arguments: str, profiled: bool = False) -> Any:
    """Run one program of the benchmark to its end, and return what its last line tells.

    Raises:
        WrongError: it failed; its last words are told.
    """
    command = [interpreter(side), "-m", f"fast_path.{module}", *arguments]
    done = subprocess.run(command, env=environment(side), capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise WrongError(f"{module} {' '.join(arguments)} failed:\n{done.stderr[-4000:]}")
    if profiled:
        sys.stderr.write(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])
