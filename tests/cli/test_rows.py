"""Rows are read from files of any size as they stand, or refused with file, line and what is wrong."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinkex.cli._base._config_sections import DataSection
from tinkex.cli._data._row_file import RowFile
from tinkex.cli._data._rows import Chat, Completion, Message, Row, Text, parse_row
from tinkex.protocol import TinkexError

PROMPT = b'{"prompt": "ab>", "completion": "ba"}'


def opened(folder: Path, content: bytes, name: str = "rows.jsonl", **data: Any) -> RowFile:
    path = folder / name
    path.write_bytes(content)
    return RowFile(path, DataSection(path=str(path), **data))


def refused(folder: Path, content: bytes, name: str = "rows.jsonl", **data: Any) -> str:
    with pytest.raises(TinkexError) as raised:
        opened(folder, content, name, **data)
    assert (raised.value.kind, raised.value.category) == ("validation", "user")
    return str(raised.value)


@pytest.mark.parametrize(
    ("line", "data", "row"),
    [
        (PROMPT, {}, Completion("ab>", "ba")),
        (b'{"text": "a\\n\xc3\xa9", "id": 3}', {}, Text("a\né")),
        (b'{"prompt": "", "completion": "x"}', {}, Completion("", "x")),
        (
            b'{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho", "name": null}]}',
            {},
            Chat((Message("user", "hi"), Message("assistant", "ho"))),
        ),
        (b'{"text": "t", "prompt": "p", "completion": "c"}', {}, Completion("p", "c")),
        (b'{"text": "t", "prompt": "p", "completion": "c"}', {"kind": "text"}, Text("t")),
        (b'{"q": "p", "a": "c"}', {"prompt_column": "q", "completion_column": "a"}, Completion("p", "c")),
        (b'{"body": "t"}', {"text_column": "body"}, Text("t")),
    ],
)
def test_a_row_is_what_its_columns_say(line: bytes, data: dict[str, Any], row: Row) -> None:
    assert parse_row(line, DataSection(path="a.jsonl", **data), "here") == row


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"[1]", "is no JSON object: Expected `object`"),
        (b'{"text": "a"', "is no JSON object"),
        (b'{"text": "\xff"}', "is not UTF-8"),
        (b'{"text": ' + b"[" * 100_000, "is no JSON object"),
        (b'{"text": "\\ud800"}', "is no JSON object"),
        (b'{"txt": "a", "id": 3}', "has neither 'messages' nor 'prompt' and 'completion' nor 'text', but 'txt', 'id'"),
        (b"{}", "but no column at all"),
        (b'{"text": 3}', "text must be text, not 3"),
        (b'{"text": ""}', "text is empty"),
        (b'{"prompt": "a", "completion": ""}', "completion is empty"),
        (b'{"prompt": null, "completion": "a"}', "prompt must be text, not None"),
        (b'{"messages": []}', "messages must be a list of messages"),
        (b'{"messages": {"role": "user"}}', "messages must be a list of messages"),
        (b'{"messages": ["hi"]}', "messages[0] must be an object with role and content, not 'hi'"),
        (b'{"messages": [{"role": "bot", "content": "x"}]}', "messages[0].role must be one of system, user, assistant"),
        (b'{"messages": [{"role": ["user"], "content": "x"}]}', "messages[0].role must be one of"),
        (b'{"messages": [{"role": "user", "content": [{"type": "text"}]}]}', "messages[0].content must be text"),
        (b'{"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]}', "messages[0] has 'tool_calls'"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "no message of the assistant"),
        (b'{"messages": [{"role": "assistant", "content": ""}]}', "no message of the assistant"),
    ],
)
def test_a_line_that_is_wrong_is_named(line: bytes, says: str, tmp_path: Path) -> None:
    sentence = refused(tmp_path, PROMPT + b"\n\n" + line + b"\n" + PROMPT)
    assert sentence.startswith(f"{tmp_path}/rows.jsonl, line 3: ")
    assert says in sentence


def test_rows_of_a_kind_that_is_told_need_its_columns() -> None:
    for kind, column in (("chat", "messages"), ("completion", "completion"), ("text", "text")):
        data = DataSection(path="a.jsonl", kind=kind)  # type: ignore[arg-type]
        with pytest.raises(TinkexError, match=f"here: has no column '{column}', but 'prompt'"):
            parse_row(b'{"prompt": "a"}', data, "here")


LINES = st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=6)


@given(st.lists(LINES, min_size=1, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.booleans())
def test_every_line_that_is_not_blank_is_a_row_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], newline: str, ends: bool, mark: bool
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    wanted = [(number, line) for number, line in enumerate(lines, 1) if line.encode().strip()]
    written = [json.dumps({"text": line}) if line.encode().strip() else line for line in lines]
    content = (b"\xef\xbb\xbf" if mark else b"") + (newline.join(written) + newline * ends).encode()
    if not wanted:
        assert "has no rows" in refused(folder, content)
        return
    rows = opened(folder, content)
    assert list(rows) == [Text(line) for _, line in wanted]
    assert [rows[-at] for at in range(1, len(wanted) + 1)] == list(rows)[::-1]
    assert [rows.where(at) for at in range(len(rows))] == [f"{folder}/rows.jsonl, line {n}" for n, _ in wanted]


def test_the_lines_of_a_text_are_rows_if_told_so(tmp_path: Path) -> None:
    rows = opened(tmp_path, b"emma\n\n  olivia\r\nava", "names.txt", split="lines")
    assert list(rows) == [Text("emma"), Text("  olivia"), Text("ava")]
    assert rows.where(1) == f"{tmp_path}/names.txt, line 3"
    assert "line 2: is not UTF-8" in refused(tmp_path, b"a\n\xff\n", "names.txt", split="lines")


@given(st.text(min_size=1, max_size=120), st.integers(16, 40))
@example("a" * 14 + "€", 16)
@example("a" * 15 + "😀" + "b" * 13 + "😀", 16)
@example("€", 16)
def test_the_chunks_of_a_text_are_the_text_cut_between_characters(
    tmp_path_factory: pytest.TempPathFactory, text: str, size: int
) -> None:
    raw = text.encode(errors="replace")
    rows = opened(tmp_path_factory.mktemp("text"), raw, "a.txt", chunk_bytes=size)
    pieces = [row for row in rows if isinstance(row, Text)]
    assert "".join(piece.text for piece in pieces).encode() == raw
    assert [piece.ends for piece in pieces] == [False] * (len(rows) - 1) + [True]
    assert all(piece.text for piece in pieces)
    assert all(size - 3 <= len(piece.text.encode()) <= size + 3 for piece in pieces[:-1])
    assert len(pieces[-1].text.encode()) <= size + 6


def test_a_text_that_is_none_is_refused_with_its_byte(tmp_path: Path) -> None:
    assert "is not UTF-8 at byte 1048580" in refused(tmp_path, b"a" * (1024 * 1024 + 4) + b"\xff", "a.txt")
    assert "is not UTF-8 at byte 1048575" in refused(tmp_path, b"a" * (1024 * 1024 - 1) + b"\xc3x", "a.txt")
    assert "is not UTF-8 at byte 1" in refused(tmp_path, b"a\xe2\x82", "a.txt")
    assert "has no rows" in refused(tmp_path, b"", "a.txt")


@pytest.mark.parametrize("index", [2, -3, 10**30])
def test_a_row_that_is_not_there_is_an_index_error(index: int, tmp_path: Path) -> None:
    rows = opened(tmp_path, PROMPT + b"\n" + PROMPT)
    assert rows[0:5] == [rows[0], rows[1]]
    with pytest.raises(IndexError):
        rows[index]


def replace(path: Path, content: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(content)
    other.replace(path)


@pytest.mark.parametrize("change", [Path.write_bytes, replace])
def test_a_file_that_is_changed_while_it_is_in_use_is_noticed(
    change: Callable[[Path, bytes], Any], tmp_path: Path
) -> None:
    rows = opened(tmp_path, PROMPT + b"\n" + PROMPT)
    change(rows.path, PROMPT + b"\n" + PROMPT.replace(b"ab", b"xy"))
    os.utime(rows.path, ns=(1, 1))
    with pytest.raises(TinkexError, match=r"rows\.jsonl was changed since the training began"):
        rows[1]
    change(rows.path, PROMPT + b"\n" + PROMPT)
    assert rows[1] == Completion("ab>", "ba"), "the same bytes are the same file, whenever they were written"
    rows.path.unlink()
    with pytest.raises(TinkexError, match="cannot be read: No such file"):
        rows[0]


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    contents = [PROMPT, PROMPT + b"\n", PROMPT + b"\n" + PROMPT, PROMPT.replace(b"ab", b"ba")]
    digests = [opened(tmp_path, content).digest for content in contents]
    assert len(set(digests)) == len(contents)
    assert digests[0] == opened(tmp_path, PROMPT).digest == opened(tmp_path, PROMPT, "a.txt").digest


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "no.jsonl"
    with pytest.raises(TinkexError, match=r"no\.jsonl cannot be read: No such file"):
        RowFile(path, DataSection(path=str(path)))


def test_little_is_kept_of_many_rows(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "many.jsonl"
    path.write_bytes(b"".join(b'{"text": "%080d"}\n' % number for number in range(20_000)))
    tracemalloc.start()
    try:
        rows = RowFile(path, DataSection(path=str(path)))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows[12_345] == Text(f"{12_345:080d}")
    assert kept < 20_000 * 16, "of 1.9 MB"
