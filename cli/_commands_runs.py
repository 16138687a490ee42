"""The words that look at runs and tell them something, from any process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tinkex.cli._commands_train import base_url_option, json_option, root_option, run_argument

_timeout_option = click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0.0, min_open=True),
    help="Seconds to wait for the answer.",
)


@click.command()
@root_option
@json_option
def runs(root: Path | None, as_json: bool) -> None:
    """List all runs."""
    from tinkex.cli._shown._run_told import show_runs  # noqa: PLC0415 - each command loads what it needs only

    show_runs(root, json=as_json)


@click.command()
@run_argument
@root_option
@json_option
def status(run: str, root: Path | None, as_json: bool) -> None:
    """Show how a run is."""
    from tinkex.cli._shown._run_told import show_status  # noqa: PLC0415 - as above

    show_status(run, root, json=as_json)


@click.command()
@run_argument
@root_option
def why(run: str, root: Path | None) -> None:
    """Say in one sentence why a run is as it is."""
    from tinkex.cli._shown._run_told import show_why  # noqa: PLC0415 - as above

    show_why(run, root)


def _telling(command: Callable[..., Any]) -> Callable[..., Any]:
    return run_argument(root_option(_timeout_option(command)))


@click.command(name="checkpoint-now")
@_telling
def checkpoint_now(run: str, root: Path | None, timeout: float) -> None:
    """Have a run save, and wait until the checkpoint is durable."""
    from tinkex.cli._jobs._remote import tell_run  # noqa: PLC0415 - as above

    tell_run(run, "checkpoint_now", root, timeout=timeout)


@click.command()
@_telling
@click.option("--now", is_flag=True, help="Without a save: what no checkpoint holds is to be done again.")
def stop(run: str, root: Path | None, timeout: float, now: bool) -> None:
    """Have a run save and stop, so that it can be resumed."""
    from tinkex.cli._jobs._remote import tell_run  # noqa: PLC0415 - as above

    tell_run(run, "stop_now" if now else "stop", root, timeout=timeout)


@click.command()
@_telling
def pause(run: str, root: Path | None, timeout: float) -> None:
    """Have a run send no further update until `tinkex unpause`."""
    from tinkex.cli._jobs._remote import tell_run  # noqa: PLC0415 - as above

    tell_run(run, "pause", root, timeout=timeout)


@click.command()
@_telling
def unpause(run: str, root: Path | None, timeout: float) -> None:
    """Have a paused run go on."""
    from tinkex.cli._jobs._remote import tell_run  # noqa: PLC0415 - as above

    tell_run(run, "resume", root, timeout=timeout)


@click.command()
@run_argument
@root_option
@base_url_option
@click.option("--keep-last", type=click.IntRange(1), help="The newest so many; default: what the run is configured to.")
@click.option("--keep-best", type=click.IntRange(0), help="The so many with the least metric.")
@click.option("--keep-every", type=click.IntRange(1), help="Those whose update is a multiple of it.")
@click.option("--metric", help="Of --keep-best; default: loss.")
@click.option("--yes", "really", is_flag=True, help="Do it; else it is only shown.")
def prune(run: str, root: Path | None, base_url: str | None, really: bool, **rules: Any) -> None:
    """Show which checkpoints of a run are kept and deleted, and why; with --yes, delete."""
    from tinkex.cli._jobs._prune import Rules, run_prune  # noqa: PLC0415 - as above

    run_prune(run, root, Rules(**rules), base_url=base_url, really=really)


@click.command()
@run_argument
@click.argument("checkpoint", metavar="MANIFEST|UPDATE")
@root_option
@click.option("--remove", is_flag=True, help="Pin it no longer.")
def pin(run: str, checkpoint: str, root: Path | None, remove: bool) -> None:
    """Keep a checkpoint, whatever the policy says."""
    from tinkex.cli._jobs._prune import run_pin  # noqa: PLC0415 - as above

    run_pin(run, checkpoint, root, remove=remove)


COMMANDS = (runs, status, why, checkpoint_now, stop, pause, unpause, prune, pin)
