"""The processes of a run: the stub, and each driver fresh, in the environment that its side has."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
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
    """Return the variables for a process of ``side``: nothing of the user's that a client would read."""
    found = {name: value for name, value in os.environ.items() if not name.startswith(("TINKER_", "TINKEX_"))}
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
        raise WrongError(
            f"{SDK} is missing; make bench makes it, or say make {SDK.parents[1].relative_to(BENCH.parent)}/.ready"
        )
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


def driver(side: str, url: str, scenario: str, extra: Sequence[str] = ()) -> Any:
    """Run one driver to its end and return what it found.

    Raises:
        WrongError: it failed; its last words are told.
    """
    command = [interpreter(side), "-m", f"fast_path.drive_{side}", url, scenario, *extra]
    done = subprocess.run(command, env=environment(side), capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        raise WrongError(f"{side} failed in {scenario}:\n{done.stderr[-4000:]}")
    sys.stderr.write(done.stderr if "--profile" in extra else "")
    return json.loads(done.stdout.splitlines()[-1])
