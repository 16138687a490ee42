"""A refused resume says what differs, not only that something does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_programs import program
from tinkex.actors._programs._schedule import Schedule
from tinkex.actors._runs._in_words import in_words


def test_settings_of_programs_are_named_one_by_one() -> None:
    kept = program(batch_size=2, data_digest='{"file": "ab", "kind": null}').fingerprint()
    now = program(
        batch_size=4,
        micro_batch_size=2,
        tokenizer="other",
        schedule=Schedule(learning_rate=0.5, warmup_updates=3),
        data_digest='{"file": "cd", "kind": "chat"}',
    ).fingerprint()
    assert in_words(kept, now) == [
        "program: batch_size was 2, is 4",
        "program: schedule.learning_rate was 0.0001, is 0.5",
        "program: schedule.warmup_updates was 0, is 3",
        "data: file was ab, is cd",
        "data: kind was not set, is chat",
        "tokenizer was bytes, is other",
    ]


@pytest.mark.parametrize(
    ("kept", "now", "wanted"),
    [
        ({"a": "1"}, {}, ["a was 1, is not set"]),
        ({}, {"a": "x" * 100}, [f"a was not set, is {'x' * 24}..."]),
        ({"a": "{}"}, {"a": "[]"}, ["a was {}, is []"]),
        ({"a": '{"b": 1}'}, {"a": "plain"}, ['a was {"b": 1}, is plain']),
        ({"a": '{"b": {"c": 1}}'}, {"a": '{"b": {"d": 1}}'}, ["a: b.c was 1, is not set", "a: b.d was not set, is 1"]),
        ({"a": '{"b": 1}'}, {"a": '{"b":1}'}, ['a was {"b": 1}, is {"b":1}']),
    ],
)
def test_what_is_no_json_is_compared_as_a_whole(kept: dict[str, str], now: dict[str, str], wanted: list[str]) -> None:
    assert in_words(kept, now) == wanted


PARTS = st.dictionaries(st.sampled_from("abc"), st.sampled_from(["1", "", '{"x": 1}', '{"x": 2}', '{"x":1}', "{}"]))


@given(PARTS, PARTS)
def test_there_is_a_difference_exactly_where_fingerprints_differ(kept: dict[str, str], now: dict[str, str]) -> None:
    assert bool(in_words(kept, now)) == (kept != now)
    assert in_words(kept, kept) == []
