"""Folders with ledgers in them."""

import contextlib
from collections.abc import Generator
from pathlib import Path

from tinkex.actors._leases._ledger import Ledger, open_ledger
from tinkex.actors._leases._ledger_records import Held, ModelIntended, SessionIntended, read
from tinkex.protocol import LoraConfig

URL = "http://127.0.0.1:1"


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def held_in(path: Path) -> Held:
    return read(path.read_bytes())


def session(key: str) -> SessionIntended:
    return SessionIntended(key, [], {}, 1.0)


def model(key: str, number: int) -> ModelIntended:
    return ModelIntended(key, number, "m", LoraConfig(), None, 1.0)


@contextlib.contextmanager
def ledger(folder: Path, url: str = URL) -> Generator[Ledger]:
    made = open_ledger(str(folder), url, lambda: 0.0)
    try:
        yield made
    finally:
        made.reset_after_fork()  # lets go of the file as the kernel does
