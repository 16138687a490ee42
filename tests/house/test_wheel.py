"""What is shipped: the wheel that is made through the sdist, and nothing beside it."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("actors", "cli", "engine", "protocol")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_rooms_the_front_door_and_the_type_marker(wheel: Path) -> None:
    expected = {"tinkex/__init__.py", "tinkex/py.typed"}
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                expected.add(f"tinkex/{path.relative_to(ROOT)}")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected
    assert "tinkex/cli/data/gettysburg.txt" in held


def test_a_users_project_is_checked_strictly_against_the_wheel(wheel: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("session.py", "accepted.py", "refused/misuse.py"):
        (project / Path(name).name).write_text((ROOT / "tests" / "typing" / name).read_text())
    python = environment(wheel, tmp_path / "venv")
    wanted = marked(project / "misuse.py")
    assert wanted
    assert mypy_errors(python, project) == {("misuse.py", line) for line in wanted}
    assert pyright_errors(python, project) == {("misuse.py", line) for line in wanted}


def environment(wheel: Path, folder: Path) -> Path:
    """Make an environment that holds the wheel, and what it needs from the one that runs the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    (site,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    here = next(path for path in sys.path if path.endswith("site-packages"))
    for needed in ("pykka", "msgspec", "httpx", "numpy", "structlog", "anyio", "typing_extensions.py"):
        (site / needed).symlink_to(Path(here) / needed)
    return folder / "bin" / "python"


def marked(path: Path) -> set[int]:
    return {number for number, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("# error")}


def mypy_errors(python: Path, project: Path) -> set[tuple[str, int]]:
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), "--no-incremental"]
    command += ["--config-file", "", *(path.name for path in sorted(project.glob("*.py")))]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=100, check=False)
    found: set[tuple[str, int]] = set()
    for line in done.stdout.splitlines():
        name, _, rest = line.partition(":")
        if ": error:" in line:
            found.add((name, int(rest.split(":")[0])))
    return found


def pyright_errors(python: Path, project: Path) -> set[tuple[str, int]]:
    import json

    (project / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "include": ["."]}')
    command = [sys.executable, "-m", "pyright", "--pythonpath", str(python), "--outputjson", "-p", str(project)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=110, check=False)
    report = json.loads(done.stdout)
    return {
        (Path(item["file"]).name, item["range"]["start"]["line"] + 1)
        for item in report["generalDiagnostics"]
        if item["severity"] == "error"
    }
