"""How a driver is measured: its own clocks and memory, and the stub's counts. Nothing but the standard library."""

import json
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fast_path.memory import memory


class Control:
    """A connection to the stub's private paths, on a plain socket so that it costs nothing while it is not used."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)

    def begin(self, *, delay: float = 0.0, digest: bool = False) -> None:
        """Begin to count anew; results are there ``delay`` seconds after their requests from now on."""
        self._ask("begin", {"delay": delay, "digest": digest})

    def report(self) -> Any:
        """Return what was counted since."""
        return self._ask("report", {})

    def _ask(self, what: str, body: dict[str, Any]) -> Any:
        content = json.dumps(body).encode()
        with socket.create_connection((self._address.hostname or "", self._address.port or 0)) as line:
            line.sendall(b"POST /stub/%b HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (what.encode(), len(content)))
            line.sendall(content)
            received = b""
            while (at := received.find(b"\r\n\r\n")) < 0:
                received += line.recv(65536)
            size = int(received[:at].lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            while len(received) < at + 4 + size:
                received += line.recv(65536)
        return json.loads(received[at + 4 :])


class Meter:
    """CPU of all threads, wall and latencies between ``start`` and ``stop``."""

    def __init__(self) -> None:
        self.latencies = list[float]()
        self._found = dict[str, Any]()

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        self._found = {"cpu": cpu - self._cpu, "wall": wall - self._wall, "peak_rss": memory("VmHWM")}

    def figures(self, operations: int) -> dict[str, Any]:
        """Return what was found, in seconds, bytes and operations."""
        found = {**self._found, "operations": operations}
        if self.latencies:
            ordered = sorted(self.latencies)
            found |= {f"p{part}": quantile(ordered, part / 100) for part in (50, 95, 99)}
        return found


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the value below which that part of ``ordered`` lies."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def threads() -> int:
    """Return how many threads this process has, those of libraries among them."""
    return len(list(Path("/proc/self/task").iterdir()))
