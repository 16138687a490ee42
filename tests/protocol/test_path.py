from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_protocol import names
from tinkex.protocol import TinkerPath, TinkexError

KINDS = ("weights", "sampler_weights", "external_weights")
runs = st.from_regex(r"[A-Za-z0-9_-]{1,8}(:train:[0-9]{1,3})?", fullmatch=True)


@given(runs, st.sampled_from(KINDS), names)
def test_path_and_text_are_each_others_inverse(run: str, kind: str, name: str) -> None:
    text = f"tinker://{run}/{kind}/{name}"
    path = TinkerPath.parse(text)
    assert (path.run_id, path.kind, path.name) == (run, kind, name)
    assert str(path) == text
    assert path.checkpoint_id == f"{kind}/{name}"


@given(st.text())
def test_any_text_is_read_exactly_or_refused(text: str) -> None:
    for candidate in (text, "tinker://" + text):
        try:
            path = TinkerPath.parse(candidate)
        except TinkexError as error:
            assert error.kind == "validation"  # noqa: PT017 - both ways are right
        else:
            assert str(path) == candidate


@given(runs, st.sampled_from(["weights", "sampler_weights"]), names)
def test_the_twin_of_the_twin_is_the_path(run: str, kind: Any, name: str) -> None:
    path = TinkerPath(run, kind, name)
    assert path.twin() != path
    assert (path.twin().run_id, path.twin().name) == (run, name)
    assert path.twin().twin() == path


def test_external_weights_have_no_twin() -> None:
    with pytest.raises(TinkexError, match="no twin"):
        TinkerPath("run", "external_weights", "x").twin()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "not None"),
        (7, "not 7"),
        (b"tinker://run/weights/x", "must be text"),
        ("", "is empty"),
        ("run/weights/x", "must begin with tinker://"),
        ("http://run/weights/x", "must begin with tinker://"),
        ("TINKER://run/weights/x", "must begin with tinker://"),
        (" tinker://run/weights/x", "must begin with tinker://"),
        ("tinker://", "has 1 parts"),
        ("tinker://run", "has 1 parts"),
        ("tinker://run/x", "has 2 parts"),
        ("tinker://run/weights/x/y", "has 4 parts"),
        ("tinker://run/weights/x/", "has 4 parts"),
        ("tinker://run/models/x", "kind 'models'"),
        ("tinker://run//x", "kind ''"),
        ("tinker:///weights/x", "run is empty"),
        ("tinker://run/weights/", "name is empty"),
        ("tinker://../weights/x", "run is a relative folder"),
        ("tinker://run/weights/..", "name is a relative folder"),
        ("tinker://run/weights/a b", "name has a space"),
        ("tinker://run/weights/a\nb", "name has a space"),
        ("tinker://run/weights/a?b", "name has a space"),
        ("tinker://run/weights/a#b", "name has a space"),
        ("tinker://run/weights/%2e%2e", "name has a space"),
        ("tinker://run/weights/a\\b", "name has a space"),
        ("tinker://ru\ud800n/weights/a", "run has a space"),
    ],
)
def test_a_malformed_path_says_what_is_wrong(text: Any, why: str) -> None:
    with pytest.raises(TinkexError, match=why) as caught:
        TinkerPath.parse(text)
    assert (caught.value.kind, caught.value.category) == ("validation", "user")


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        (("run", "model", "x"), "kind is one of"),
        (("a/b", "weights", "x"), "run has"),
        (("run", "weights", "a/b"), "name has"),
        (("run", "weights", None), "name must be text"),
    ],
)
def test_no_path_exists_that_could_not_be_parsed(parts: Any, why: str) -> None:
    with pytest.raises(TinkexError, match=why):
        TinkerPath(*parts)


@given(names)
def test_good_names_pass_and_make_paths(name: str) -> None:
    TinkerPath.check_name(name)
    assert TinkerPath.parse(f"tinker://run/weights/{name}").name == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "a b", " a", "a\n", "é", "a\x00", "a" * 256, "a" * 300, "a:b", "a\\b", "a%2fb"],
)
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(TinkexError, match="name is 1 to 255") as caught:
        TinkerPath.check_name(name)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", [None, 3, b"x"])
def test_a_name_is_text(name: Any) -> None:
    with pytest.raises(TinkexError, match="is text, not"):
        TinkerPath.check_name(name)


def test_a_name_may_be_255_characters_long() -> None:
    TinkerPath.check_name("a" * 255)
