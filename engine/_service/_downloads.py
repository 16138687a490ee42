"""Links that fetch a checkpoint's files without a key, for a while."""

import secrets
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tinkex.engine._base._errors import Refusal

ADAPTER_FILES: Final = ("adapter_config.json", "adapter_model.safetensors")
"""What other programs read of a checkpoint: PEFT's layout."""

COMPLETE: Final = "checkpoint_complete"
"""An empty file at the end of an archive: nothing is missing before it."""

_PIECE: Final = 1 << 20


@dataclass(frozen=True)
class Link:
    """What a token stands for."""

    folder: str
    file: str | None
    """None for an archive of all that other programs read."""
    expires: float


class Downloads:
    """Tokens and what they stand for. Lives on the event loop.

    Args:
        clock: monotonic seconds.
        seconds: how long a token is good.
    """

    def __init__(self, clock: Callable[[], float], seconds: float) -> None:
        self._clock: Final = clock
        self.seconds: Final = seconds
        self._links: dict[str, Link] = {}

    def offer(self, folder: str, file: str | None = None) -> str:
        """Return a new token for a file of a checkpoint's folder, or for an archive of it."""
        token = secrets.token_urlsafe(24)
        self._links[token] = Link(folder, file, self._clock() + self.seconds)
        return token

    def find(self, token: str) -> Link:
        """Return what a token stands for.

        Raises:
            Refusal: 404.
        """
        link = self._links.get(token)
        if link is None or link.expires <= self._clock():
            raise Refusal(404, "this link is not good any more; ask for a new one")
        return link

    def sweep(self) -> None:
        """Forget what has expired."""
        now = self._clock()
        self._links = {token: link for token, link in self._links.items() if link.expires > now}


def pieces(file: Path) -> Iterator[bytes]:
    """Give a file's bytes."""
    with file.open("rb") as source:
        while piece := source.read(_PIECE):
            yield piece


def archive(folder: Path) -> Iterator[bytes]:
    """Give the bytes of an uncompressed tar of a checkpoint's adapter, its files at the root."""
    for name in ADAPTER_FILES:
        file = folder / name
        head = tarfile.TarInfo(name)
        head.size = file.stat().st_size
        yield head.tobuf(tarfile.USTAR_FORMAT)
        yield from pieces(file)
        yield bytes(-head.size % tarfile.BLOCKSIZE)
    yield tarfile.TarInfo(COMPLETE).tobuf(tarfile.USTAR_FORMAT)
    yield bytes(2 * tarfile.BLOCKSIZE)
