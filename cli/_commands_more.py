"""Further words: supervising, verifying, and data to try it with."""

from pathlib import Path

import click

from tinkex.cli._commands_train import base_url_option, json_option


@click.group(name="example-data")
def example_data() -> None:
    """Write small data to try training with."""


@example_data.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rows", default=2000, show_default=True, type=click.IntRange(1, 10_000_000), help="How many.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another one makes other rows.")
def reverse(path: Path, rows: int, seed: int) -> None:
    """Write prompts and completions of strings to be reversed, as JSONL."""
    from tinkex.cli._base._fail import BAD_INPUT, Failure  # noqa: PLC0415 - each command loads what it needs only
    from tinkex.cli._data._reverse_rows import write_reverse_rows  # noqa: PLC0415 - as above
    from tinkex.protocol import TinkexError  # noqa: PLC0415 - as above

    try:
        write_reverse_rows(path, rows, seed)
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT) from error
    print(f"{rows} rows in {path}")


@click.command(name="verify-resume")
@click.argument("config", required=False, type=click.Path(path_type=Path))
@base_url_option
@click.option("--engine", is_flag=True, help="An embedded engine, made for this and gone with it.")
@click.option("--before", default=3, show_default=True, type=click.IntRange(1, 1000), help="Updates before the save.")
@click.option("--after", default=3, show_default=True, type=click.IntRange(2, 1000), help="Updates after it, thrice.")
@click.option(
    "--tolerance",
    type=click.FloatRange(0.0),
    help="The largest difference of a loss that is as good as none; default: the same bits.",
)
@json_option
def verify(
    config: Path | None,
    base_url: str | None,
    engine: bool,
    before: int,
    after: int,
    tolerance: float | None,
    as_json: bool,
) -> int:
    """Check that a server resumes as if nothing had happened.

    It trains, saves and trains on, then trains the same on from the checkpoint, with its optimizer and without: on the
    data of CONFIG, or on a short text of its own. The status is 0 where the resume is as good as was asked for, else 1.
    """
    from tinkex.cli._jobs._verify import Check, run_verify  # noqa: PLC0415 - each command loads what it needs only

    return run_verify(Check(config, base_url, engine, before, after, tolerance), json=as_json)


COMMANDS = (example_data, verify)
