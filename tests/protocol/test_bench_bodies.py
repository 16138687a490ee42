"""The benchmark of bodies measures like against like."""

import numpy as np
import pytest

from bodies import (
    Batch,
    batch,
    build,
    figures,
    read_lists,
    read_messages,
    sizes,
    table,
    with_lists,
    with_messages,
)
from tinkex.protocol import wire
from tinkex.protocol.wire.protobuf import decode_result, encode_pass, encode_result


@pytest.fixture
def few() -> Batch:
    return batch(3, 50)


def test_ours_and_its_rivals_write_the_same(few: Batch) -> None:
    assert encode_pass(few.request) == with_messages(few.request)
    assert wire.encode(few.request) == with_lists(few.request)
    assert build(few.lists) == build(few.arrays) == few.data


def test_ours_and_its_rivals_read_the_same(few: Batch) -> None:
    body, text = encode_result(few.result), wire.encode(few.result)
    ours = (decode_result(body), wire.decode(text, wire.ForwardBackwardResult))
    assert ours == (few.result, few.result)
    for theirs in (read_messages(body), read_lists(text)):
        for own, other in zip(few.result.loss_fn_outputs, theirs, strict=True):
            assert own.keys() == other.keys()
            assert all(np.array_equal(own[name].to_numpy(), other[name]) for name in own)


def test_the_table_has_a_line_for_each_figure() -> None:
    found = figures((3, 50), rounds=1)
    lines = table(found).splitlines()
    assert len(lines) == len(found) + 1
    assert all(figure.ours >= 0 for figure in found)
    assert [figure.rival for figure in found if figure.theirs is not None] == ["messages", "msgspec"] * 2
    assert all("3 x 50" in line for line in lines[1:])


def test_sizes_are_told_for_both_kinds_of_tokens() -> None:
    said = sizes((4, 256))
    assert said.startswith("4 x 256: 16,682 bytes in protobuf")
    assert said.count(" to 1 for tokens") == 2
    assert "not worth a frame" in sizes((1, 8))
