"""What one engine is told at start."""

import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinkex.engine._base._errors import EngineError
from tinkex.engine._base._fault_plan import FaultPlan
from tinkex.protocol import ApiKey

_PORTS = range(65536)


@dataclass(frozen=True)
class EngineConfig:
    """The settings of one engine; times are seconds.

    Raises:
        EngineError: one sentence that names the setting and what to do.
    """

    root: Path
    """The folder of its database and checkpoints; made if it is missing; one process at a time."""
    host: str = "127.0.0.1"
    port: int = 0
    """0 takes a free one."""
    models: Path | None = None
    """A folder whose sub-folders are base models in Hugging Face's layout."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute: ``auto`` takes CUDA where there is one."""
    threads: int = 1
    """Of the compute library: 1 is steady for the built-in model."""
    api_key: ApiKey | None = None
    """Where set, every request below ``/api/v1`` must carry it."""
    session_timeout: float = 300.0
    """A session without a heartbeat for so long ends, and its models are unloaded."""
    long_poll: float = 30.0
    """How long a poll for a result is held."""
    gap_timeout: float = 300.0
    """How long requests wait for a missing lower number before they fail."""
    result_retention: float = 600.0
    """How long a result can be asked for again after it was first read."""
    sweep_interval: float = 1.0
    """Between two looks at what has expired."""
    max_body_bytes: int = 64 * 1024 * 1024
    """Larger requests are answered 413."""
    max_pending: int = 16_384
    """Requests that wait for their results; with more, new ones are answered 429."""
    max_models: int = 1024
    """Live models; with more, new ones are answered 429."""
    max_sessions: int = 4096
    """Active sessions; with more, new ones are answered 429."""
    max_samplers: int = 256
    """Sampling sessions that one session may have; beyond it, its oldest ends."""
    download_time: float = 900.0
    """How long a link to an archive or a file can be used."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in Host headers to be served beside loopback's and ``host`` itself."""
    faults: FaultPlan | None = None
    """What goes wrong on request, for tests of clients."""

    def __post_init__(self) -> None:
        times = ("session_timeout", "long_poll", "gap_timeout", "result_retention", "sweep_interval", "download_time")
        for name in times:
            if not 0.0 < getattr(self, name) < float("inf"):
                raise EngineError(f"{name} must be a number of seconds above 0, not {getattr(self, name)!r}")
        for name in ("threads", "max_body_bytes", "max_pending", "max_models", "max_sessions", "max_samplers"):
            if getattr(self, name) < 1:
                raise EngineError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.port not in _PORTS:
            raise EngineError(f"port must be 0 to 65535, not {self.port!r}")
        if not is_loopback(self.host) and self.api_key is None:
            raise EngineError(
                f"host {self.host!r} can be reached from other machines: set an API key, or stay on 127.0.0.1"
            )

    @property
    def hosts(self) -> frozenset[str]:
        """The names under which the engine may be addressed, lower case, without ports."""
        own = {"localhost", "127.0.0.1", "::1", self.host, *self.allowed_hosts}
        return frozenset(name.lower() for name in own)

    @property
    def any_address(self) -> bool:
        """Whether it listens on all addresses, so that any of them may stand in a Host header."""
        return self.host in {"0.0.0.0", "::", ""}  # noqa: S104 - asked, not bound


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that host."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def owner_of(key: str) -> str:
    """Return the column value under which a key's sessions and checkpoints are kept: a hash, never the key."""
    return hashlib.blake2b(key.encode(), digest_size=16, person=b"tinkex-owner").hexdigest() if key else ""
