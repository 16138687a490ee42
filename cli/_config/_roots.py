"""Where runs are, and finding one there."""

import difflib
import os
import shlex
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tinkex.actors import RunStore
from tinkex.actors._runs._rows import RunRow
from tinkex.cli._base._fail import BAD_INPUT, Failure
from tinkex.cli._config._train_config import DEFAULT_ROOT
from tinkex.protocol import TinkexError

ROOT_VARIABLE: Final = "TINKEX_RUNS"


def told_root(option: Path | None) -> Path | None:
    """Return the folder of all runs that ``--root`` or the variable names, None where neither does."""
    if option is not None:
        return option.expanduser().absolute()
    variable = os.environ.get(ROOT_VARIABLE)
    return Path(variable).expanduser().absolute() if variable else None


def root_of(option: Path | None) -> Path:
    """Return the folder of all runs: ``--root``, else ``TINKEX_RUNS``, else ``runs`` below the current one."""
    return told_root(option) or Path(DEFAULT_ROOT).absolute()


@contextmanager
def open_store(root: Path, *, create: bool = False) -> Generator[RunStore]:
    """Open the run store of a folder for a block; what goes wrong with it ends the command.

    Raises:
        Failure: there is no run store, or it cannot be used.
    """
    if not create and not root.is_dir():
        raise Failure(
            f"there is no folder {root}: name the one that your runs were started in with --root or {ROOT_VARIABLE}",
            BAD_INPUT,
        )
    store: RunStore | None = None
    try:
        store = RunStore.open(root, create)
        yield store
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT if error.user_error else 1) from error
    finally:
        if store is not None:
            store.close()


def row_of(store: RunStore, name: str) -> RunRow:
    """Return a run.

    Raises:
        Failure: there is none of that name; the sentence names those that are there.
    """
    row = store.run(name)
    if row is not None:
        return row
    names = [found.name for found in store.runs()]
    if not names:
        raise Failure(
            f"there is no run {name!r} in {store.root}, nor any other; name its folder with --root", BAD_INPUT
        )
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"its runs are {', '.join(names[-_MOST:])}"
    raise Failure(f"there is no run {name!r} in {store.root}; {hint}", BAD_INPUT)


def resume_command(name: str, root: Path) -> str:
    """Return what to type to go on with a run."""
    plain = root == root_of(None)
    return f"tinkex resume {shlex.quote(name)}" + ("" if plain else f" --root {shlex.quote(str(root))}")


_MOST: Final = 8
"""Names that a sentence lists."""
