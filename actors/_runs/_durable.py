"""Files that are there whole or not at all, also after a loss of power."""

import contextlib
import os
import uuid
from pathlib import Path


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it, where they are not, so that they are still there after a loss of power.

    Raises:
        OSError: it cannot be made, or is no folder.
    """
    missing: list[Path] = []
    at = folder
    while not at.exists() and at != at.parent:
        missing.append(at)
        at = at.parent
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on the disk.

    Raises:
        OSError: the disk refuses.
    """
    fd = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_once(path: Path, raw: bytes, draft: str) -> bool:
    """Put ``raw`` at ``path``, whole and on the disk when this returns, unless something is there already.

    Args:
        path: where.
        raw: what.
        draft: how the name of the draft begins that is written first, in the same folder; a crash may leave it behind.

    Returns:
        Whether it was written; False where there was a file of that name, which is as it was.

    Raises:
        OSError: it cannot be written; nothing is at ``path`` then, or all of it.
    """
    new = path.with_name(f"{draft}.{uuid.uuid4().hex}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        try:
            write_all(fd, raw)
            os.fsync(fd)
        finally:
            os.close(fd)
        try:
            os.link(new, path)  # never over another one, as a rename would
        except FileExistsError:
            return False
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def write_all(fd: int, raw: bytes) -> None:
    """Write ``raw`` whole.

    Raises:
        OSError: the disk refuses; a part may be written.
    """
    left = memoryview(raw)
    while left:
        left = left[os.write(fd, left) :]
