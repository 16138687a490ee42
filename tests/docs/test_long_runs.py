"""The guide to long runs: its configuration is the one that is run, its commands are there."""

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from tinkex.cli._config._train_config import load_config
from tinkex.cli._main import cli

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/guides/long_runs.md").read_text()


def script() -> Any:
    spec = importlib.util.spec_from_file_location("long_run", ROOT / "bench/long_run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"`(tinkex [^`]+)`", GUIDE)
    return [shlex.split(line)[1:] for line in lines if line.startswith("tinkex ")]


def test_the_configuration_of_the_guide_is_the_one_that_makes_its_figures(tmp_path: Path) -> None:
    (toml,) = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    assert toml == script().CONFIG
    (tmp_path / "reverse.toml").write_text(toml)
    config = load_config(tmp_path / "reverse.toml", ["schedule.learning_rate=3e-3"])
    assert config.schedule.learning_rate == 3e-3


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_guide_is_one(words: list[str]) -> None:
    name, *rest = words
    command = cli.get_command(click.Context(cli), name)
    if isinstance(command, click.Group):
        command = command.get_command(click.Context(command), rest.pop(0))
    assert command is not None
    options = [word for word in rest[: rest.index("--") if "--" in rest else None] if word.startswith("--")]
    known = {option for item in command.params for option in item.opts}
    assert set(options) <= known, known


def test_the_figures_say_that_the_killed_run_is_the_undisturbed_one() -> None:
    figures = GUIDE.partition("<!-- figures -->")[2].partition("<!-- end of figures -->")[0]
    assert figures.count(": yes") == 3
    assert ": NO" not in figures
    assert (ROOT / "docs/guides/long_runs.png").stat().st_size > 5_000
