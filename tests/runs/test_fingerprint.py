"""Fingerprints: what differs is named, with both values, and equal things have equal digests."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_run_store import a_manifest, failure
from tinkex.actors._runs._fingerprint import (
    Difference,
    differences,
    digest_file,
    digest_of,
    refuse_resume,
    surroundings_warning,
)
from tinkex.protocol import manifest_name

PARTS = st.dictionaries(st.sampled_from(["base_model", "data", "lora", "program"]), st.sampled_from(["a", "b", ""]))
MANIFEST = a_manifest(3, 400)


@given(PARTS, PARTS)
def test_every_part_that_differs_is_named_and_no_other(old: dict[str, str], new: dict[str, str]) -> None:
    found = differences(old, new)
    assert [item.part for item in found] == sorted(item.part for item in found)
    assert {item.part for item in found} == {part for part in old | new if old.get(part) != new.get(part)}
    assert all((item.old, item.new) == (old.get(item.part), new.get(item.part)) for item in found)
    assert differences(new, old) == [Difference(item.part, item.new, item.old) for item in found]
    assert differences(old, old) == []


def test_a_refusal_says_what_differs_and_what_to_do() -> None:
    found = differences({"data": "3f" * 32, "lora": "rank=4"}, {"data": "9b" * 32, "tokenizer": "bytes"})
    error = refuse_resume(MANIFEST, found)
    assert (error.kind, error.category, error.retryable) == ("resume_refused", "user", False)
    assert str(error) == (
        "run 'words' cannot go on from e00003-u000000400, which was made with other inputs: "
        f"data was {'3f' * 12}..., is {'9b' * 12}...; lora was rank=4, is not set; "
        "tokenizer was not set, is bytes; restore what it was made with, or begin a new run, from its weights "
        "alone if they are wanted"
    )
    assert error.data["differences"] == [
        {"part": "data", "old": "3f" * 32, "new": "9b" * 32},
        {"part": "lora", "old": "rank=4", "new": None},
        {"part": "tokenizer", "old": None, "new": "bytes"},
    ]
    assert error.data["manifest"] == manifest_name(3, 400)
    assert error.data["path"] == MANIFEST.path


def test_digests_that_begin_alike_are_told_apart_in_the_sentence() -> None:
    head = "sha256:" + "0" * 40
    text = str(refuse_resume(MANIFEST, differences({"data": head + "1"}, {"data": head + "2"})))
    assert "1, is " in text
    assert "2; " in text


def test_other_surroundings_are_a_warning() -> None:
    text = surroundings_warning(MANIFEST, differences({"threads": "2"}, {"threads": "4\n"}))
    assert text is not None
    assert "threads was 2, is '4\\n'" in text
    assert "may differ in the last digits" in text
    assert surroundings_warning(MANIFEST, []) is None


def test_a_digest_is_of_the_value_and_of_nothing_else() -> None:
    assert digest_of({"b": [1, 2], "a": 0.1}) == digest_of({"a": 0.1, "b": (1, 2)})
    assert digest_of({"b": [1, 2]}) == hashlib.sha256(b'{"b":[1,2]}').hexdigest()
    different: list[Any] = [1, 1.0, True, "1", None, [1], {"a": 1}, 0.0, -0.0, float("nan"), "NaN", "", [], {}, 2**80]
    assert len({digest_of(value) for value in different}) == len(different)
    assert failure(digest_of, {1: 2}).kind == "validation"


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_files_digest_is_of_all_its_bytes(tmp_path: Path, size: int) -> None:
    file = tmp_path / "data.jsonl"
    file.write_bytes(b"x" * size)
    assert digest_file(file) == digest_file(str(file)) == hashlib.sha256(b"x" * size).hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        error = failure(digest_file, path)
        assert error.kind == "validation"
        assert str(path) in str(error)
