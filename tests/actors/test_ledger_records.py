"""What a ledger's lines add up to, whatever was written and wherever it ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._leases._ledger_records import (
    FoundDead,
    Header,
    Held,
    ModelIntended,
    ModelOpened,
    ModelReleased,
    Record,
    SessionIntended,
    SessionOpened,
    SessionReleased,
    decode,
    encode,
    read,
)
from tinkex.protocol import LoraConfig

HEADER = Header("http://127.0.0.1:1", 7, 11, "boot", "host", "0.1.0", 1.5)

keys = st.sampled_from(["a", "b", "c"])
numbers = st.integers(0, 3)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
maps = st.dictionaries(texts, texts, max_size=2)
times = st.floats(0, 2e9)
loras = st.builds(LoraConfig, rank=st.integers(1, 1024), seed=st.none() | st.integers(0, 2**53))
records: st.SearchStrategy[Any] = st.one_of(
    st.builds(SessionIntended, keys, st.lists(texts, max_size=2), maps, times),
    st.builds(SessionOpened, keys, texts),
    st.builds(SessionReleased, keys),
    st.builds(ModelIntended, keys, numbers, texts, loras, st.none() | maps, times),
    st.builds(ModelOpened, keys, numbers, texts),
    st.builds(ModelReleased, keys, numbers),
    st.builds(FoundDead, times),
    st.just(HEADER),
)
histories = st.lists(records, max_size=30)


def added(history: list[Record]) -> Held:
    held = Held()
    for record in history:
        held.add(record)
    return held


@given(histories, st.data())
def test_a_ledger_that_is_cut_anywhere_reads_as_a_prefix_of_what_was_written(
    history: list[Record], data: st.DataObject
) -> None:
    raw = encode(history)
    cut = data.draw(st.integers(0, len(raw)))
    found = list(decode(raw[:cut]))
    assert found == history[: len(found)]
    whole = raw[:cut].count(b"\n")
    assert len(found) - whole in (0, 1), "a line that is whole but for its end is read too"
    assert read(raw[:cut]) == added(history[: len(found)])


@given(histories, st.lists(st.tuples(st.integers(0, 30), st.binary(max_size=40)), max_size=4))
def test_lines_that_say_nothing_here_are_skipped(history: list[Record], noise: list[tuple[int, bytes]]) -> None:
    lines = [encode([record]) for record in history]
    for place, junk in noise:
        lines.insert(place, b'{"kind":"of a later time","x":' + junk.replace(b"\n", b"") + b"\n")
    lines.insert(0, b'{"kind":"of a later time","key":"a"}\n{"kind":"session_opened","key":7}\n[]\n\xff\n\n')
    assert list(decode(b"".join(lines))) == history


@given(histories)
def test_writing_it_anew_leaves_what_is_held_as_it_is(history: list[Record]) -> None:
    held = added(history)
    again = read(encode(held.records()))
    assert again == held
    assert len(encode(held.records())) <= len(encode([HEADER, *history]))


@given(histories)
def test_what_was_intended_and_not_released_is_held_and_nothing_else(history: list[Record]) -> None:
    sessions: dict[str, set[int]] = {}
    for record in history:
        match record:
            case SessionIntended():
                sessions.setdefault(record.key, set())
            case SessionReleased():
                sessions.pop(record.key, None)
            case ModelIntended() if record.key in sessions:
                sessions[record.key].add(record.model_seq_id)
            case ModelReleased() if record.key in sessions:
                sessions[record.key].discard(record.model_seq_id)
            case _:
                pass
    assert {key: set(held.models) for key, held in added(history).sessions.items()} == sessions


def test_a_key_has_no_place_in_any_record() -> None:
    fields = {name for record in Record.__args__ for name in record.__struct_fields__}
    assert not {name for name in fields if "api" in name or "secret" in name or "token" in name}


def test_a_text_that_is_none_is_refused_when_it_is_written() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode([SessionOpened("a", "\ud800")])
