"""A real engine for tests of other rooms."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tinkex.engine import EngineConfig, running_engine


@contextmanager
def engine_url(root: Path, **options: Any) -> Generator[str]:
    """Run an engine over ``root`` in this process and give its address."""
    with running_engine(EngineConfig(root=root, **options)) as url:
        yield url


def health(url: str) -> dict[str, Any]:
    # No certificates are read: tests ask this often, over plain http.
    with httpx.Client(timeout=30.0, trust_env=False, verify=False) as http:
        body: dict[str, Any] = http.get(f"{url}/api/v1/healthz").json()
    return body
