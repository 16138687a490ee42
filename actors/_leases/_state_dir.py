"""The folder in which processes leave word of what they hold on servers."""

import os
import stat
from pathlib import Path
from typing import Final

from tinkex.protocol import TinkexError

_OTHERS_MAY_WRITE: Final = 0o022


def open_state_dir(path: str) -> Path:
    """Return the folder at ``path``; made, for its owner alone, where there is none.

    Raises:
        TinkexError: kind ``validation``: it cannot be made or is no folder, is a symbolic link, belongs to somebody
            else, or others may write into it: they could have us release what we never held.
    """
    folder = Path(path)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise refused(path, f"cannot be made: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        raise refused(path, "is a symbolic link; name the folder itself")
    if not stat.S_ISDIR(found.st_mode):
        raise refused(path, "is no folder")
    if hasattr(os, "geteuid"):
        if found.st_uid != os.geteuid():
            raise refused(path, "belongs to another user; choose a folder of your own")
        if found.st_mode & _OTHERS_MAY_WRITE:
            raise refused(path, "may be written by others; chmod 700 it, or choose another")
    return folder


def refused(path: str, why: str) -> TinkexError:
    """Build the error of a state folder that cannot be used."""
    return TinkexError(f"state_dir {path!r} {why}", kind="validation", category="user", data={"state_dir": path})
