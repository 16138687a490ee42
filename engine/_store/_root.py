"""The folder of one engine: its lock, and checkpoint folders that are whole or not there."""

import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import Final

from tinkex.engine._base._errors import EngineError


class Root:
    """One engine's folder, held by one process at a time.

    ``checkpoints/<folder>`` are complete; ``unfinished/<folder>`` are being written. Names are drawn, never given by a
    request.

    Raises:
        EngineError: where the folder cannot be made or written, or another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.checkpoints: Final = path / "checkpoints"
        self.unfinished: Final = path / "unfinished"
        try:
            for folder in (self.checkpoints, self.unfinished):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EngineError(f"the root {path} cannot be written ({error.strerror}); choose another --root") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise EngineError(
                f"another engine uses the root {path}; stop it first, or choose another --root"
            ) from error

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.path / "engine.sqlite3"

    def close(self) -> None:
        """Let another process have the folder."""
        os.close(self._lock)

    def begin(self) -> Path:
        """Make a new folder to write a checkpoint into."""
        folder = self.unfinished / secrets.token_hex(12)
        folder.mkdir()
        return folder

    def commit(self, folder: Path) -> None:
        """Move a written folder to its place, for good."""
        sync_folder(folder)
        os.replace(folder, self.checkpoints / folder.name)  # noqa: PTH105 - the call that the guarantee rests on
        sync_folder(self.checkpoints)

    def discard(self, folder: Path) -> None:
        """Remove an unfinished folder, or one that was committed but got no row."""
        shutil.rmtree(folder, ignore_errors=True)
        self.remove(folder.name)

    def remove(self, name: str) -> None:
        """Remove a checkpoint's folder, if it is there."""
        shutil.rmtree(self.checkpoints / name, ignore_errors=True)

    def sweep(self, known: set[str]) -> list[str]:
        """Remove what no row knows of: leftovers of saves and deletions that were cut off; return their names."""
        left = [entry.name for entry in self.unfinished.iterdir()]
        orphans = [entry.name for entry in self.checkpoints.iterdir() if entry.name not in known]
        for name in left:
            shutil.rmtree(self.unfinished / name, ignore_errors=True)
        for name in orphans:
            self.remove(name)
        return left + orphans


def write_file(file: Path, data: bytes) -> None:
    """Write a new file; its bytes are on disk afterwards."""
    with file.open("xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
