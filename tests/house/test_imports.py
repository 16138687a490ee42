"""What importing costs: nothing that was not asked for."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "google.protobuf", "httpx", "structlog", "litestar", "matplotlib", "rich", "click")


def loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import tinkex",
        "import tinkex.protocol",
        "import tinkex.actors",
        "from tinkex.actors import *",
        "from tinkex.actors import ServiceClient",
    ],
)
def test_importing_the_core_loads_no_library_that_is_not_needed_yet(statement: str) -> None:
    assert loaded(statement) == set()
