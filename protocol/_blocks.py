"""Many small buffers looked at as few large ones, so that NumPy is called for each block instead of for each buffer."""

from collections.abc import Iterator, Sequence
from typing import Final

BLOCK_BYTES: Final = 1 << 18
"""Bytes of a block: small enough for a processor's second cache, so that joining costs about as much as reading."""


def blocks(buffers: Sequence[memoryview]) -> Iterator[Sequence[memoryview]]:
    """Yield ``buffers`` in order in runs of at most ``BLOCK_BYTES``; a larger one goes alone. No run is empty."""
    begin = size = 0
    for index, buffer in enumerate(buffers):
        size += len(buffer)
        if size > BLOCK_BYTES and index > begin:
            yield buffers[begin:index]
            begin, size = index, len(buffer)
    if begin < len(buffers):
        yield buffers[begin:]


def joined(run: Sequence[memoryview]) -> memoryview | bytes:
    """Return the bytes of a run; a single buffer is not copied."""
    return run[0] if len(run) == 1 else b"".join(run)
