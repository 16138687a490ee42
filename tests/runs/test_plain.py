"""Plain values: what is written down is read back exactly, or refused with the place that is wrong."""

import enum
import json
import math
import struct
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_run_store import failure
from tinkex.actors._runs._plain import decode, encode, plain

KEYS = st.text(max_size=5).filter(lambda key: key != "$float")
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4))


def bits(value: Any) -> Any:
    """Tell apart what ``==`` does not: 1 and 1.0 and True, 0.0 and -0.0; and take NaN for NaN."""
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else struct.pack("d", value))
    if isinstance(value, list):
        return [bits(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: bits(item) for key, item in cast("dict[str, object]", value).items()}
    return (type(value).__name__, value)


@given(VALUES)
def test_every_plain_value_is_read_back_bit_for_bit(value: Any) -> None:
    raw = encode(value)
    assert bits(decode(raw)) == bits(value)
    assert encode(decode(raw)) == raw
    assert json.loads(raw) is not ...  # any reader of JSON takes it, and no word of Python's own is in it
    for word in (b"NaN", b"Infinity"):
        assert raw.count(word) <= raw.count(b'"' + word) + raw.count(b'"-' + word) + str(value).count(word.decode())


@given(st.dictionaries(KEYS, VALUES, max_size=6), st.randoms())
def test_the_order_of_keys_changes_no_byte(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert encode(dict(items)) == encode(value)


def test_the_normal_form_is_what_comes_back_from_the_disk() -> None:
    class Kind(enum.IntEnum):
        ONE = 1

    class Near(float):
        def __repr__(self) -> str:
            return "nearly"

    value = {"state": (3, (1, 2), None), "kind": Kind.ONE, "near": Near(0.5), "wide": 2**128 + 1}
    assert bits(plain(value)) == bits({"state": [3, [1, 2], None], "kind": 1, "near": 0.5, "wide": 2**128 + 1})
    assert bits(decode(encode(value))) == bits(plain(value))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": [1, {2}]}, "cursor['a'][1]"),
        ({"a": {1: 2}}, "cursor['a']"),
        (b"x", "cursor"),
        ([object()], "cursor[0]"),
        ({"a": {"$float": "NaN"}}, "cursor['a']"),
        ([complex(1, 2)], "cursor[0]"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, where: str) -> None:
    for check in (plain, encode):
        error = failure(check, value, "cursor")
        assert error.kind == "validation"
        assert str(error).startswith(f"{where} must ")


def test_a_value_that_holds_itself_or_is_too_long_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    assert "holds itself" in str(failure(plain, ring, "cursor"))
    assert "holds itself" in str(failure(encode, ring, "cursor"))
    assert "cursor cannot be written down" in str(failure(encode, 10**5000, "cursor"))


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"NaN", b'{"$float":"two"}', b'{"$float":"NaN","a":1}', b"\xff", b"1 2", b"[" * 10**5, b"\0\0"]
)
def test_what_is_no_whole_value_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(raw)
