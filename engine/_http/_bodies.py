"""What a request's body holds: its bytes as sent, inflated, and in which form an answer goes back. Pure."""

from typing import Final

import zstandard

from tinkex.engine._base._errors import Refusal

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"
ENCODINGS: Final = frozenset({"identity", "zstd"})


def media_type(header: str) -> str:
    """Return the type in a Content-Type header, without its parameters."""
    return header.partition(";")[0].strip().lower()


def takes_protobuf(accept: str) -> bool:
    """Whether an Accept header names protobuf."""
    return any(media_type(part) == PROTOBUF for part in accept.split(","))


def inflate(raw: bytes, encoding: str, limit: int) -> bytes:
    """Return the body behind its Content-Encoding.

    Args:
        raw: the bytes as sent.
        encoding: ``identity`` or ``zstd``: one frame.
        limit: bytes that it may be inflated to.

    Raises:
        Refusal: 400 where the bytes are no such frame, 413 beyond ``limit``.
    """
    if encoding.strip().lower() != "zstd":
        return raw
    size = 0
    try:
        size = zstandard.frame_content_size(raw)
        if size > limit:
            raise _too_large(limit)
        return zstandard.ZstdDecompressor().decompress(raw, max_output_size=limit, allow_extra_data=False)
    except zstandard.ZstdError as error:
        if size < 0 and "full frame" in str(error):
            raise _too_large(limit) from error
        raise Refusal(400, f"the body is no whole zstd frame: {error}") from error


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than {limit} bytes when inflated; send fewer data at once")
