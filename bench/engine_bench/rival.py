"""The rival's process, from the side that drives it."""

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine_bench.shapes import Shape


class Bare:
    """The rival in a process of its own."""

    def __init__(self, shape: Shape, model: Path, adapter: Path) -> None:
        command = [sys.executable, "-m", "engine_bench.bare", shape.name, str(model), str(adapter)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def step(self, kind: str) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{kind}\n")
        self.process.stdin.flush()
        return self.answer()


@contextmanager
def bare(shape: Shape, model: Path, adapter: Path) -> Generator[Bare]:
    rival = Bare(shape, model, adapter)
    try:
        yield rival
    finally:
        rival.process.kill()
        rival.process.wait()
