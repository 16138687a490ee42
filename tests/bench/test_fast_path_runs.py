"""The benchmark of the hot path runs whole in its tiny form: each side does the same; its timings mean nothing here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fast_path.processes import WrongError, run, stub
from fast_path.scenarios import SCENARIOS, scenario

ROOT = Path(__file__).parents[2]
OURS = {"A": 2.0, "B": 2.0, "C": 2.0, "E": 2.0, "G": 2.0}
"""Requests of an operation: it is sent, and its result is fetched."""


def bench(program: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "bench" / "fast_path" / program), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False, env=os.environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_all_sides_do_the_same_in_order_and_the_docs_are_left_alone(tmp_path: Path) -> None:
    document = ROOT / "docs" / "benchmarks.md"
    before = document.read_bytes()
    files = ["--json", str(tmp_path / "found.json"), "--plot", str(tmp_path / "found.png")]
    told = bench("run.py", "--tiny", "--repeats", "1", *files)
    assert document.read_bytes() == before
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    found: dict[str, Any] = json.loads((tmp_path / "found.json").read_text())
    assert set(found["runs"]) == {*SCENARIOS, "F"}
    for name in SCENARIOS:
        case, sides = scenario(name, tiny=True), found["runs"][name]
        assert {side: one["operations"] for side, (one,) in sides.items()} == dict.fromkeys(sides, case.operations)
        if case.server == "engine":
            assert len({one["answers"] for (one,) in sides.values()}) == 1
        else:
            _look_at_stub(name, sides)
    rows = {(row["scenario"], row["what"]) for row in found["rows"]}
    assert {("A", "p50"), ("E", "peak memory"), ("F", "import"), ("G", "polls of an operation")} <= rows
    assert "| what | ours | SDK 0.38.0 | floor | ours / SDK | goal |" in told


def _look_at_stub(name: str, sides: dict[str, list[dict[str, Any]]]) -> None:
    case = scenario(name, tiny=True)
    assert set(sides) == ({"sdk", "ours", "floor"} if case.lane == "own" else {"ours", "floor"})
    for side, (one,) in sides.items():
        told = one["stub"]
        assert told["disorder"] == []
        assert told["early"] == 0
        assert told["numbered"] == (case.count if case.kind == "saves" and side != "ours" else told["numbered"])
        assert told["polls"] >= told["numbered"]
        assert told["try_again"] == 0
    if name in OURS:
        (ours,) = sides["ours"]
        assert ours["stub"]["requests"] / case.operations == OURS[name]
        assert ours["stub"]["polls"] == case.operations


def test_a_side_that_does_not_finish_has_no_figures() -> None:
    with pytest.raises(WrongError, match="KeyError"), stub() as url:
        run("ours", "drive_ours", url, "Z")


def test_a_side_that_loses_an_answer_has_no_figures(tmp_path: Path) -> None:
    program = tmp_path / "lazy.py"
    program.write_text(
        "import sys\n"
        "from fast_path import drive_ours\n"
        "whole = drive_ours.Ours.sequential\n"
        "async def lazy(self, count, meter):\n"
        "    await whole(self, count - (meter is not None), meter)\n"
        "drive_ours.Ours.sequential = lazy\n"
        "drive_ours.main()\n"
    )
    with stub() as url:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'bench'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        done = subprocess.run(
            [sys.executable, str(program), url, "A", "--tiny"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode != 0
    assert "AssertionError: answered False where True was due" in done.stderr


@pytest.mark.parametrize("how", ["calls", "cpu"])
def test_a_profile_names_threads_libraries_and_functions(how: str) -> None:
    told = bench("run.py", "--tiny", "--count", "200", "--profile", "A", "--how", how)
    assert "ms of CPU in all" in told
    assert "tinkex-io" in told.partition("threads\n")[2].partition("libraries\n")[0]
    assert ".py:" in told.partition("function\n")[2]


def test_the_benchmark_at_scale_runs_in_its_tiny_form(tmp_path: Path) -> None:
    kept = tmp_path / "found.json"
    told = bench("scale.py", "--tiny", "--json", str(kept), "--plot", str(tmp_path / "found.png"))
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")
    found: dict[str, Any] = json.loads(kept.read_text())["runs"]
    assert [one["size"] for one in found["clients"]] == [1, 4]
    assert [one["together"]["stub"]["numbered"] for one in found["clients"]] == [6, 8]
    assert [one["stub"]["polls"] for one in found["futures"]] == [2, 30]
    assert [one["operations"] for one in found["past"][0]["blocks"]] == [5] * 4
    assert "CPU of an operation beside 3 idle clients" in told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scenarios", "A,Z"], "no scenario Z"),
        (["--only", "theirs"], "no side theirs"),
        (["--repeats", "0"], "at least 1"),
        (["--write", "--tiny"], "for a whole run"),
        (["--write", "--only", "ours"], "for a whole run"),
    ],
)
def test_a_wrong_option_is_refused_with_what_there_is(arguments: list[str], words: str) -> None:
    command = [sys.executable, str(ROOT / "bench" / "fast_path" / "run.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr
