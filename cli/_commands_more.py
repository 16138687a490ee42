"""Further words: supervising, verifying, and data to try it with."""

from pathlib import Path

import click


@click.group(name="example-data")
def example_data() -> None:
    """Write small data to try training with."""


@example_data.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--rows", default=2000, show_default=True, type=click.IntRange(1, 10_000_000), help="How many.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Another one makes other rows.")
def reverse(path: Path, rows: int, seed: int) -> None:
    """Write prompts and completions of strings to be reversed, as JSONL."""
    from tinkex.cli._fail import BAD_INPUT, Failure  # noqa: PLC0415 - each command loads what it needs only
    from tinkex.cli._reverse_rows import write_reverse_rows  # noqa: PLC0415 - as above
    from tinkex.protocol import TinkexError  # noqa: PLC0415 - as above

    try:
        write_reverse_rows(path, rows, seed)
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT) from error
    print(f"{rows} rows in {path}")


COMMANDS = (example_data,)
