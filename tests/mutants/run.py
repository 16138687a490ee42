"""Removes each named protection in a copy of the tree and expects a named test to fail: ``make mutants``.

Names on the command line choose some of them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from mutants.protections import PROTECTIONS, Protection

HOUSE = Path(__file__).resolve().parents[2]
ROOMS = ("actors", "bench", "cli", "engine", "protocol", "src", "tests", "docs")
SECONDS = 300
WORKERS = 2


def copy_house(target: Path) -> None:
    """Copy what the tests need; links stay links, so that the copy imports itself."""
    skip = shutil.ignore_patterns("__pycache__")
    for room in ROOMS:
        shutil.copytree(HOUSE / room, target / room, symlinks=True, ignore=skip)
    shutil.copy(HOUSE / "pyproject.toml", target)


def run(scratch: Path, protection: Protection) -> str | None:
    """Remove ``protection`` and run its test; return what is wrong, or None where the test fails as it must."""
    house = scratch / protection.name.replace(" ", "-")
    copy_house(house)
    source = house / protection.path
    text = source.read_text()
    if text.count(protection.stands) != 1:
        return f"{protection.path} holds it {text.count(protection.stands)} times"
    source.write_text(text.replace(protection.stands, protection.broken))
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--timeout=60", *protection.tests]
    environment = {**os.environ, "PYTHONPATH": str(house / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ran = subprocess.run(
            command, cwd=house, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None  # it hangs without the protection: that is a failure, too
    finally:
        shutil.rmtree(house)
    if ran.returncode == 0:
        return "its test passes without it"
    if ran.returncode != 1:
        return f"its test did not run (exit status {ran.returncode}): {ran.stdout[-400:]}"
    return None


def timed(scratch: Path, protection: Protection) -> tuple[str | None, float]:
    """Return what is wrong, and how many seconds it took to know."""
    begun = time.monotonic()
    return run(scratch, protection), time.monotonic() - begun


def main(names: list[str]) -> int:
    """Print a line for each protection; 1 where one is not watched."""
    chosen = [protection for protection in PROTECTIONS if not names or protection.name in names]
    bad = 0
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(WORKERS) as pool:
        outcomes = pool.map(partial(timed, Path(folder)), chosen)
        for protection, (wrong, seconds) in zip(chosen, outcomes, strict=True):
            bad += wrong is not None
            print(f"{'NOT CAUGHT' if wrong else 'caught':10} {seconds:5.1f} s  {protection.name}", flush=True)
            if wrong is not None:
                print(f"           {wrong}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} protections are watched by their tests")
    return 1 if bad or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
