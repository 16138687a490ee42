"""Stores, folders and manifests of supervised runs, small and whole."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import Manifest, TinkexError, manifest_name

RUN = "words"


def a_manifest(epoch: int, update: int, **fields: Any) -> Manifest:
    """Return a manifest of run ``words``."""
    given: dict[str, Any] = {
        "run": RUN,
        "path": f"tinker://run-{epoch}/weights/{manifest_name(epoch, update)}",
        "cursor": {"at": update},
        "parent": None,
        "fingerprint": {"data": "d" * 64, "program": "p"},
        **fields,
    }
    return Manifest(epoch=epoch, update=update, **given)


@contextmanager
def a_store(root: Path) -> Generator[tuple[RunStore, RunFolder]]:
    """Give a store with one run that nobody took, and the folder of that run."""
    store = RunStore.open(root)
    try:
        store.add(RUN, {"rank": 4})
        yield store, RunFolder(root, RUN)
    finally:
        store.close()


def commit(store: RunStore, folder: RunFolder, manifest: Manifest) -> None:
    """Commit a manifest as its trainer does."""
    folder.write_manifest(manifest)
    assert store.move_latest(folder.name, manifest.epoch, manifest.name)


def failure(call: Any, *args: Any, **kwargs: Any) -> TinkexError:
    """Return the error that a call raises."""
    try:
        call(*args, **kwargs)
    except TinkexError as error:
        return error
    raise AssertionError("it raised nothing")
