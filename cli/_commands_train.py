"""The words that train: ``tinkex train`` and ``tinkex resume``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

root_option = click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder of all runs; default: the variable TINKEX_RUNS, else ./runs.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line on standard output.")
base_url_option = click.option("--base-url", help="The Tinker-compatible server.")
run_argument = click.argument("run")

_GRACE = 30.0
_LEVELS = ["debug", "info", "warning", "error"]


def _training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what both commands take."""
    for option in (
        click.option("--log-level", default="error", show_default=True, type=click.Choice(_LEVELS)),
        click.option(
            "--take-over", is_flag=True, help="Take the run from another process, which loses what it has not saved."
        ),
        click.option(
            "--grace",
            "grace_seconds",
            default=_GRACE,
            show_default=True,
            type=click.FloatRange(0.0, min_open=True),
            help="Seconds for the save after Ctrl-C or SIGTERM.",
        ),
        json_option,
        root_option,
        click.option(
            "--engine", is_flag=True, help="Train on an embedded engine, kept in the folder engine of --root."
        ),
        base_url_option,
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="SECTION.KEY=VALUE",
            help="In place of what the configuration says; may be repeated.",
        ),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))
@_training_options
@click.option("--from-weights", metavar="PATH", help="Begin from a checkpoint's weights alone, without its optimizer.")
@click.option("--name", help="The run's name; default: that of the configuration, else of its file.")
def train(configs: tuple[Path, ...], as_json: bool, **options: Any) -> int:
    """Begin a run for each configuration file, and train it to its end.

    The status is 0 for finished, 75 for stopped and resumable, 1 for failed, 2 for bad input, 3 for no server.
    """
    from tinkex.cli._jobs._train import TrainOptions, run_train  # noqa: PLC0415 - each command loads what it needs only

    return run_train(configs, TrainOptions(json=as_json, **options))


@click.command()
@run_argument
@_training_options
def resume(run: str, as_json: bool, **options: Any) -> int:
    """Go on with a run from its last durable checkpoint, as if nothing had happened.

    The status is that of `tinkex train`.
    """
    from tinkex.cli._jobs._resume import run_resume  # noqa: PLC0415 - as above
    from tinkex.cli._jobs._train import TrainOptions  # noqa: PLC0415 - as above

    return run_resume(run, TrainOptions(json=as_json, **options))


COMMANDS = (train, resume)
