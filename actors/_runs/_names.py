"""Names of runs, and what the name of a manifest says."""

import re
from typing import Final, NamedTuple

from tinkex.protocol import TinkexError, manifest_name, validation
from tinkex.protocol._checks import shown

STORE_FILE: Final = "runs.sqlite3"

_RUN: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_MANIFEST: Final = re.compile(r"e(\d{5,18})-u(\d{9,18})", re.ASCII)


class Position(NamedTuple):
    """Where in a run a manifest stands; positions sort in the order of their writing."""

    epoch: int
    update: int

    @property
    def name(self) -> str:
        """The manifest's name."""
        return manifest_name(self.epoch, self.update)


def check_run_name(name: object) -> TinkexError | None:
    """Accept what may name a run: it is a folder's name too, on any file system."""
    if not isinstance(name, str):
        return validation(f"a run's name must be text, not {shown(name)}", field="run")
    if not _RUN.fullmatch(name):
        return validation(
            "a run's name is 1 to 100 of A-Z a-z 0-9 . _ - and does not begin with a dot: " + shown(name), field="run"
        )
    if name.lower().startswith(STORE_FILE):
        return validation(f"a run cannot be named {name!r}: the run store's files are named so", field="run")
    return None


def parse_position(name: str) -> Position | None:
    """Return where the manifest ``name`` stands, None where that names no manifest."""
    match = _MANIFEST.fullmatch(name)
    if match is None:
        return None
    position = Position(int(match[1]), int(match[2]))
    return position if position.name == name else None


def position_of(name: str) -> Position:
    """Return where the manifest ``name`` stands.

    Raises:
        TinkexError: kind ``validation``: no manifest is named so.
    """
    position = parse_position(name)
    if position is None:
        raise validation(
            f"a manifest's name is like {manifest_name(1, 100)}, not {shown(name)}", field="manifest", manifest=name
        )
    return position
