"""Large bodies without page faults."""

from functools import lru_cache
from typing import Final

LARGE_BODY: Final = 1 << 20
KEPT: Final = 1 << 23


def expect_large(size: int) -> None:
    """Prepare the process's heap for bodies of ``size`` bytes, once, where that is large.

    With several passes of some megabytes on their way, glibc gives their memory back to the system between one and the
    next, and each page costs a fault when it is used again: 500 for 2 MB, about 1 ms. It stops when a block as large as
    ``KEPT`` was freed once, and keeps up to twice as much in hand; where the user has set thresholds of his own, and
    under other allocators, nothing changes. Any thread.
    """
    if size >= LARGE_BODY:
        _free_one()


@lru_cache(maxsize=1)
def _free_one() -> None:
    bytes(KEPT)  # zeros that nobody reads: no page of it is ever touched
