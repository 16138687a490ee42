"""The command: ``tinkex demo``, ``serve`` and ``supervise``, and the words that train and look after runs."""

import sys
from pathlib import Path
from typing import Literal

import click

import tinkex
from tinkex.cli._base._fail import BAD_INPUT, INTERRUPTED, Failure
from tinkex.cli._commands_more import COMMANDS as MORE
from tinkex.cli._commands_runs import COMMANDS as RUNS
from tinkex.cli._commands_train import COMMANDS as TRAINING


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tinkex.__version__, prog_name="tinkex")
def cli() -> None:
    """Train, save and resume LoRA models over the Tinker API, supervised, or on an engine of your own."""


@cli.command()
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address to listen on; beyond loopback a key is needed."
)
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--root", required=True, type=click.Path(path_type=Path), help="Folder that keeps runs and checkpoints.")
@click.option("--models", type=click.Path(path_type=Path), help="Folder whose sub-folders are base models.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="Where to compute; auto takes CUDA where there is one.",
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 256), help="Compute threads.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    help="File that holds the API key clients must show; default: the variable TINKEX_ENGINE_KEY, else none.",
)
@click.option(
    "--log-level", default="warning", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
@click.option("--fault", "faults", multiple=True, metavar="KIND[=RATE]", help="Let this go wrong; may be repeated.")
@click.option("--fault-seed", default=0, show_default=True, help="Repeats the same faults.")
@click.option("--until-eof", is_flag=True, hidden=True, help="End with standard input, too: a parent holds it open.")
def serve(
    host: str,
    port: int,
    root: Path,
    models: Path | None,
    device: Literal["auto", "cpu", "cuda"],
    threads: int,
    key_file: Path | None,
    log_level: str,
    faults: tuple[str, ...],
    fault_seed: int,
    until_eof: bool,
) -> None:
    """Serve the embedded Tinker-compatible engine until it is interrupted."""
    from tinkex.cli._servers._serve import Place, run_serve  # noqa: PLC0415 - each command loads what it needs only

    where = Place(host=host, port=port, root=root, models=models, device=device, threads=threads)
    run_serve(where, key_file=key_file, log_level=log_level, faults=faults, fault_seed=fault_seed, until_eof=until_eof)


@cli.command()
@click.option("--base-url", help="Another Tinker-compatible server; default: an engine of its own.")
@click.option("--base-model", help="Default: the first model that the server names.")
@click.option("--data", type=click.Path(path_type=Path), help="Text to train on; default: a short public-domain one.")
@click.option("--steps", default=30, show_default=True, type=click.IntRange(1, 10_000), help="Steps before the save.")
@click.option("--more", default=10, show_default=True, type=click.IntRange(2, 1000), help="Steps after it, thrice.")
@click.option(
    "--plot", default=Path("tinkex-loss.png"), show_default=True, type=click.Path(path_type=Path), help="The loss plot."
)
@click.option(
    "--log-level", default="error", show_default=True, type=click.Choice(["debug", "info", "warning", "error"])
)
def demo(
    base_url: str | None,
    base_model: str | None,
    data: Path | None,
    steps: int,
    more: int,
    plot: Path,
    log_level: str,
) -> None:
    """Train, save, resume bit for bit, and show that a failed resume leaves nothing behind."""
    from tinkex.cli._demo._demo import Plan, run_demo  # noqa: PLC0415 - each command loads what it needs only

    run_demo(Plan(base_url, base_model, data, steps, more, plot, log_level))


@cli.command(context_settings={"ignore_unknown_options": True})
@click.option("--max-restarts", default=10, show_default=True, type=click.IntRange(0), help="Within the window.")
@click.option("--window", default=3600.0, show_default=True, help="Seconds that a restart counts.")
@click.option("--grace", default=60.0, show_default=True, help="Seconds from a request to end to a kill.")
@click.option("--backoff", default=1.0, show_default=True, help="Seconds before the first restart; they double.")
@click.option("--frozen-after", default=30.0, show_default=True, help="Seconds of silence that count as frozen.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def supervise(
    max_restarts: int, window: float, grace: float, backoff: float, frozen_after: float, command: tuple[str, ...]
) -> int:
    """Run COMMAND, start it again when it dies, freezes or gets stuck, and end with its status."""
    from tinkex.cli._jobs._supervise import Limits, run_supervise  # noqa: PLC0415 - each command loads what it needs only

    limits = Limits(
        max_restarts=max_restarts,
        window_seconds=window,
        grace_seconds=grace,
        backoff_seconds=backoff,
        frozen_seconds=frozen_after,
    )
    return run_supervise(command, limits)


for _command in (*TRAINING, *RUNS, *MORE):
    cli.add_command(_command)


def main() -> None:
    """Run the command and exit.

    The status is 0 for success, 1 for a result that is not as it must be, 2 for bad input, 3 for a server that cannot
    be used, 75 for a run that was stopped and can be resumed, 130 after Ctrl-C. That of ``supervise`` is the one of the
    command it ran.
    """
    try:
        status = cli.main(standalone_mode=False)
    except Failure as failure:
        print(f"tinkex: {failure}", file=sys.stderr)
        sys.exit(failure.status)
    except click.ClickException as error:
        error.show()
        sys.exit(BAD_INPUT)
    except (click.Abort, KeyboardInterrupt):
        print("tinkex: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)
