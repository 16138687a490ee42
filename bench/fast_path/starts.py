"""Scenario F, seen from outside: what an import costs, and how long a process takes to its first optimizer step."""

import functools
import os
import subprocess
import time
from typing import Any, Final

from fast_path.processes import WrongError, environment, interpreter, run

WHAT: Final = "import; first step done; memory after the import"


def imports(side: str, what: str = "import") -> dict[str, Any]:
    """Return seconds of wall and CPU of the import in a fresh process, and its resident bytes then."""
    found: dict[str, Any] = run(side, f"first_{side}", what)
    return found


def first_step(side: str, url: str) -> dict[str, Any]:
    """Return the seconds from before the process's start until it tells that its first step is done, and its CPU.

    Raises:
        WrongError: it told nothing.
    """
    command = [interpreter(side), "-m", f"fast_path.first_{side}", url]
    begun = time.perf_counter()
    process = subprocess.Popen(command, env=environment(side), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        told = process.stdout.readline()
        wall = time.perf_counter() - begun
        words = process.stderr.read()
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    if not told:
        raise WrongError(f"first_{side} told nothing:\n{words.decode()[-4000:]}")
    return {"wall": wall, "cpu": used.ru_utime + used.ru_stime}


def bare_interpreter() -> dict[str, Any]:
    """Return what the interpreter alone takes to start and end."""
    begun = time.perf_counter()
    process = subprocess.Popen([interpreter("ours"), "-c", "pass"], env=environment("ours"))
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0
    return {"wall": time.perf_counter() - begun, "cpu": used.ru_utime + used.ru_stime}


@functools.cache
def keep_bytecode(url: str) -> None:
    """Run both programs once, unmeasured: what a checkout compiles at its first start, an installed package has."""
    first_step("sdk", url)
    first_step("ours", url)


def measure(url: str) -> dict[str, dict[str, Any]]:
    """Measure all of it once, by side."""
    keep_bytecode(url)
    sdk = {"import": imports("sdk"), "first": first_step("sdk", url)}
    ours = {"import": imports("ours"), "bare": imports("ours", "bare"), "first": first_step("ours", url)}
    return {"sdk": sdk, "ours": ours, "floor": {"first": bare_interpreter()}}
