"""Engines that are killed and started again in no time."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

ZYGOTE = Path(__file__).parent / "engine" / "zygote.py"


class Zygote:
    """The process that forks them."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._pid: int | None = None

    async def start(self, root: Path, dies_at: int = 0) -> str:
        """Start an engine, which may kill itself at so many touches of its files; return its URL."""
        self._tell(f"start {dies_at} {root}")
        answer = await self._hear()
        self._pid = int(answer["pid"])
        return str(answer["url"])

    def kill(self) -> None:
        """Kill the engine, wherever it is, if it is not dead already."""
        assert self._pid is not None
        os.kill(self._pid, signal.SIGKILL)

    async def reap(self) -> None:
        """Wait until the killed engine is no more."""
        self._tell(f"reap {self._pid}")
        self._pid = None
        await self._hear()

    def end(self) -> None:
        """Leave nothing running."""
        if self._pid is not None:
            self.kill()
        if self._process.returncode is None:
            self._process.kill()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    async def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), 60)
            assert line, "the zygote has ended"
            if line.startswith(b"{"):
                answer: dict[str, Any] = json.loads(line)
                return answer


@asynccontextmanager
async def zygote() -> AsyncGenerator[Zygote]:
    """Give a zygote that is ready; afterwards nothing of it runs."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ZYGOTE), stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
    )
    mother = Zygote(process)
    try:
        assert (await mother._hear())["ready"]
        yield mother
    finally:
        mother.end()
        await process.wait()
