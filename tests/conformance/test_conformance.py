"""The official SDK, unmodified, against the engine: no patch, no setting but URL and key."""

import ast
import json
import os
import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from support_recorder import recording_engine
from tinkex.protocol import ApiKey

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VERSIONS = ("0.38.0", "0.24.1")
DOCUMENT = ROOT / "docs" / "compatibility.md"
BACKGROUND = {"POST /api/v1/session_heartbeat", "POST /api/v1/telemetry", "POST /api/v1/client/dynamic_config"}
"""Sent by the clock, not by what a program does."""

SETTINGS = {"PYTHONPATH": str(HERE.parent), "TINKER_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
"""Where the programs are; and all that the SDK sends by itself."""

BEGIN, END = "<!-- endpoints -->\n", "<!-- end of endpoints -->\n"


def programs() -> list[str]:
    """Return the names of the programs, without the SDK that importing them would need."""
    trees = [ast.parse(file.read_text()) for file in sorted(HERE.glob("programs_*.py"))]
    return [node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef) and is_program(node)]


def is_program(node: ast.FunctionDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "program" for mark in node.decorator_list)


class Report(NamedTuple):
    """What became of one SDK's programs."""

    failures: dict[str, str | None]
    asked: set[str]
    broken: list[str]
    log: str


@lru_cache
def report_of(version: str) -> Report:
    python = ROOT / ".venv-sdk" / version / "bin" / "python"
    if not python.exists():
        pytest.fail(f"tinker {version} is not installed for the tests; say make test, or make conformance")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TINKER", "PYTHON"))}
    with (
        TemporaryDirectory() as folder,
        recording_engine(Path(folder), api_key=ApiKey("tml-conformance")) as (url, recorder),
    ):
        done = subprocess.run(
            [python, "-m", "conformance.run", url],
            env={
                **environment,
                "PYTHONPATH": str(HERE.parent),
                "TINKER_TELEMETRY": "1",
                "HF_HUB_OFFLINE": "1",
                "HOME": folder,
            },
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    failures = {line["program"]: line["failure"] for line in lines}
    return Report(failures, recorder.asked, recorder.broken, done.stderr[-4000:])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("program", programs())
def test_a_program_of_the_official_sdk_works(version: str, program: str) -> None:
    report = report_of(version)
    assert program in report.failures, report.log
    failure = report.failures[program]
    assert failure is None, failure


@pytest.mark.parametrize("version", VERSIONS)
def test_no_program_breaks_the_engine(version: str) -> None:
    assert report_of(version).broken == []


def test_the_docs_say_what_each_version_uses() -> None:
    asked = {version: report_of(version).asked - BACKGROUND for version in VERSIONS}
    rows = [
        f"| `{endpoint}` | " + " | ".join("yes" if endpoint in asked[version] else "" for version in VERSIONS) + " |\n"
        for endpoint in sorted(set[str]().union(*asked.values()), key=lambda found: found.split()[::-1])
    ]
    heads = [f"tinker {version}" for version in VERSIONS]
    table = f"| endpoint | {' | '.join(heads)} |\n|---|{'---|' * len(VERSIONS)}\n{''.join(rows)}"
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    found, _, after = rest.partition(END)
    if os.environ.get("TINKEX_WRITE_DOCS"):
        DOCUMENT.write_text(before + BEGIN + table + END + after)
        found = table
    assert found == table, "docs/compatibility.md is not what the programs did; say make conformance"
