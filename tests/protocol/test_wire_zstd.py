"""Bodies are compressed where it pays, and come back whole."""

import builtins
import random
import sys
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from bodies import batch
from tinkex.protocol.wire import zstd
from tinkex.protocol.wire.protobuf_pass import encode_pass


@given(st.binary(max_size=50), st.integers(zstd.MIN_BYTES, 4 * zstd.MIN_BYTES))
def test_a_frame_holds_its_size_and_gives_the_body_back(pattern: bytes, size: int) -> None:
    body = (pattern or b"a") * (size // (len(pattern) or 1) + 1)
    frame = zstd.compress(body)
    assert frame is not None
    assert len(frame) < len(body) // 10
    assert zstandard.frame_content_size(frame) == len(body)
    assert zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False) == body


def test_small_bodies_are_left_as_they_are() -> None:
    assert zstd.compress(b"") is None
    assert zstd.compress(bytes(zstd.MIN_BYTES - 1)) is None
    assert zstd.compress(bytes(zstd.MIN_BYTES)) is not None


def test_a_body_that_does_not_shrink_is_left_as_it_is() -> None:
    assert zstd.compress(random.Random(7).randbytes(1 << 16)) is None


@pytest.mark.parametrize("words", [True, False])
def test_passes_shrink_to_less_than_half(words: bool) -> None:
    body = encode_pass(batch(8, 512, words=words).request)
    frame = zstd.compress(body)
    assert frame is not None
    assert len(frame) < len(body) / 2


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="Python can compress by itself")
def test_without_the_package_bodies_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **options: Any) -> Any:
        if name == "zstandard":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert zstd.compress(bytes(1 << 16)) is None
