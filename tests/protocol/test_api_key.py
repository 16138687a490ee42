import copy
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.protocol import ApiKey, TinkexError, wire

SECRET = "tml-correct-horse-battery"


def fail(key: ApiKey) -> None:
    raise RuntimeError(key)


def test_a_key_shows_itself_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    key = ApiKey(SECRET)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("%s %r", key, {"key": key})
    with pytest.raises(RuntimeError) as caught:
        fail(key)
    trace = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    ways = [str(key), repr(key), f"{key}", f"{key!r:>20}", f"{key:>20}", f"{key!s}", caplog.text, trace]
    for text in ways:
        assert "horse" not in text
    assert (str(key), f"{key:>13}") == ("ApiKey(***)", "  ApiKey(***)")
    assert "ApiKey(***)" in trace


def test_only_reveal_gives_the_text() -> None:
    assert ApiKey(SECRET).reveal() == SECRET
    assert ApiKey("eyJhbGciOiJub25lIn0.e30.").reveal() == "eyJhbGciOiJub25lIn0.e30."
    with pytest.raises(TypeError):
        vars(ApiKey(SECRET))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "begins with"),
        ("sk-secret", "begins with"),
        ("TML-secret", "begins with"),
        ("tml-", "begins with"),
        ("eyJ", "begins with"),
        ("tml-secret\n", "spaces"),
        (" tml-secret", "spaces"),
        ("tml-sec ret", "spaces"),
        ("tml-secret\x00", "spaces"),
        ("tml-secret\x7f", "spaces"),
        ("tml-secrét", "spaces"),
        ("tml-\ud800secret", "spaces"),
        (None, "NoneType"),
        (b"tml-secret", "bytes"),
    ],
)
def test_what_cannot_be_a_key_is_refused_without_being_repeated(text: Any, why: str) -> None:
    with pytest.raises(TinkexError, match=why) as caught:
        ApiKey(text)
    assert caught.value.kind == "validation"
    assert "secr" not in str(caught.value)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_any_printable_ascii_behind_the_prefix_is_a_key(rest: str) -> None:
    assert ApiKey("tml-" + rest).reveal() == "tml-" + rest


def test_keys_compare_by_text_and_cannot_be_changed() -> None:
    key: Any = ApiKey(SECRET)
    assert key == ApiKey(SECRET)
    assert hash(key) == hash(ApiKey(SECRET))
    assert key != ApiKey("tml-other")
    assert key != SECRET
    assert copy.copy(key) is key
    assert copy.deepcopy({"key": key})["key"] is key
    with pytest.raises(AttributeError):
        key._text = "tml-other"
    with pytest.raises(AttributeError):
        del key._text


WAYS_TO_WRITE: list[Callable[[Any], object]] = [
    pickle.dumps,
    lambda key: pickle.dumps(key, 0),
    msgspec.json.encode,
    msgspec.msgpack.encode,
    msgspec.to_builtins,
    wire.encode,
    lambda key: wire.encode({"key": key}),
    ApiKey.__getstate__,
]


@pytest.mark.parametrize("write", WAYS_TO_WRITE)
def test_a_key_cannot_be_written_down(write: Callable[[Any], object]) -> None:
    with pytest.raises((TypeError, NotImplementedError)):
        write(ApiKey(SECRET))
