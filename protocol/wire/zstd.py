"""A request's body as one zstd frame, where that makes it smaller by more than it costs.

Measured on passes (tokens, targets, masks of weights; ``make bench-bodies``): 3.5 to 1 where tokens are as frequent as
words are, 2.7 to 1 where they have no pattern at all, at about 2 ms of processor for each megabyte. So it pays on any
network, and does not within one machine.
"""

import sys
from typing import Final

MIN_BYTES: Final = 1 << 14
"""What fits the first window of a TCP connection (ten segments) arrives no sooner when it is smaller."""

LEVEL: Final = 1
"""The usual level, 3, takes 1.1 to 2 times as long, for four fifths of the size at best."""

WORTH: Final = 0.9
"""The part of a body's size that its frame must stay under."""


def compress(body: bytes) -> bytes | None:
    """Return ``body`` as one zstd frame that holds its size, for ``Content-Encoding: zstd``.

    Returns:
        None where the body is better sent as it is: it is small, the frame is hardly smaller, or neither Python (from
        3.14) nor the ``zstandard`` package, which comes with the ``engine`` extra, can make one.
    """
    if len(body) < MIN_BYTES:
        return None
    frame = _frame(body)
    return None if frame is None or len(frame) > WORTH * len(body) else frame


def _frame(body: bytes) -> bytes | None:
    if sys.version_info >= (3, 14):  # pragma: no cover - which of the two it is
        from compression import zstd  # noqa: PLC0415 - only when first needed

        return zstd.compress(body, level=LEVEL)
    try:
        import zstandard  # noqa: PLC0415 - only when first needed
    except ImportError:
        return None
    # A compressor of its own, as none may be used by two threads, costs 10 microseconds.
    return zstandard.ZstdCompressor(level=LEVEL).compress(body)
