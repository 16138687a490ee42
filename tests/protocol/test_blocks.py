"""Buffers are put together in runs that are all of them, in order, and none too large."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.protocol import _blocks as blocks


@given(st.lists(st.integers(0, 25), max_size=30))
def test_runs_are_all_buffers_in_order_and_as_large_as_they_may_be(sizes: list[int]) -> None:
    buffers = [memoryview(bytes([index]) * size) for index, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 20)
        runs = list(blocks.blocks(buffers))
    assert [buffer for run in runs for buffer in run] == buffers
    assert all(runs)
    totals = [sum(map(len, run)) for run in runs]
    assert all(total <= 20 or len(run) == 1 for total, run in zip(totals, runs, strict=True))
    heads = [len(run[0]) for run in runs[1:]]
    assert all(total + head > 20 for total, head in zip(totals, heads, strict=False)), "no run could hold the next"
    assert b"".join(bytes(blocks.joined(run)) for run in runs) == b"".join(buffers)


def test_a_single_buffer_is_not_copied() -> None:
    buffer = memoryview(b"abc")
    assert blocks.joined([buffer]) is buffer
