"""Rows become the tokens that the model is asked with later, and only what it is to write is learned."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_tokenizers import TEMPLATE, write_tokenizer
from tinkex.cli._data._choose_tokenizer import choose_tokenizer
from tinkex.cli._data._folder_tokenizer import FolderTokenizer
from tinkex.cli._data._rows import Chat, Completion, Message, Row, Text
from tinkex.cli._data._tokenizers import BUILTIN_TOKENIZER, END, ROLE_TOKENS, ByteTokenizer, Tokenizer, to_example
from tinkex.protocol import TinkexError

CHAT = Chat((Message("user", "a"), Message("assistant", "b"), Message("user", "c"), Message("assistant", "d")))


def learned(row: Row, tokenizer: Tokenizer, train_on: Any = "completion") -> list[int]:
    example = to_example(row, tokenizer, train_on)
    assert example.weights is not None
    return [token for token, weight in zip(example.tokens.tolist(), example.weights.tolist(), strict=True) if weight]


def test_the_byte_tokenizer_is_the_built_in_models() -> None:
    from tinkex.engine._base._catalogue import builtin
    from tinkex.engine._base._text import bytes_to_text

    model = builtin()
    assert model.tokenizer_id == BUILTIN_TOKENIZER
    assert model.eos_tokens == {END}
    assert max(ROLE_TOKENS.values()) < model.vocab_size
    assert bytes_to_text(to_example(Text("aé"), ByteTokenizer(), "all").tokens.tolist()) == "aé"


@given(st.text(max_size=20), st.text(min_size=1, max_size=20))
def test_bytes_are_prompt_completion_and_the_end_of_which_the_latter_two_are_learned(prompt: str, text: str) -> None:
    row = Completion(prompt, text)
    tokens = to_example(row, ByteTokenizer(), "completion").tokens.tolist()
    assert tokens == [*prompt.encode(), *text.encode(), 256]
    assert learned(row, ByteTokenizer()) == [*text.encode(), 256]
    assert learned(row, ByteTokenizer(), "all") == tokens


def test_bytes_of_a_text_end_where_the_text_does() -> None:
    assert learned(Text("ab"), ByteTokenizer()) == [97, 98, 256]
    assert learned(Text("ab", ends=False), ByteTokenizer()) == [97, 98]


def test_bytes_of_a_conversation_are_messages_behind_their_roles() -> None:
    assert to_example(CHAT, ByteTokenizer(), "completion").tokens.tolist() == [
        *(258, 97, 256, 259, 98, 256),
        *(258, 99, 256, 259, 100, 256),
    ]
    assert learned(CHAT, ByteTokenizer()) == [98, 256, 100, 256]


def text_of(tokens: list[int]) -> str:
    return "".join({1: "[", 2: "]"}.get(token, chr(token)) for token in tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_a_folders_tokenizer_begins_and_ends_texts_as_it_says(folder: Path) -> None:
    tokenizer = FolderTokenizer(folder)
    whole = [text_of(to_example(row, tokenizer, "all").tokens.tolist()) for row in (Text("ab"), Text("ab", ends=False))]
    assert whole == ["[ab]", "[ab"]
    row = Completion("ab", "cd")
    assert text_of(to_example(row, tokenizer, "all").tokens.tolist()) == "[abcd]"
    assert text_of(learned(row, tokenizer)) == "cd]"
    assert text_of(learned(Completion("", "cd"), tokenizer)) == "cd]"


def test_a_conversation_is_what_the_template_makes_of_it_and_the_assistants_words_are_learned(folder: Path) -> None:
    tokenizer = FolderTokenizer(folder)
    whole = "[<user>a]\n<assistant>b]\n<user>c]\n<assistant>d]\n"
    assert text_of(to_example(CHAT, tokenizer, "completion").tokens.tolist()) == whole
    assert text_of(learned(CHAT, tokenizer)) == "b]d]"
    assert text_of(learned(CHAT, tokenizer, "all")) == whole


def test_words_before_which_nothing_stands_are_read_only(folder: Path) -> None:
    first = Chat((Message("assistant", "b"), Message("user", "c"), Message("assistant", "d")))
    assert text_of(learned(first, FolderTokenizer(folder))) == "d]"


LAST_ONLY = (
    "{{ bos_token }}{% for m in messages %}<{{ m.role }}>"
    "{% if m.role == 'assistant' and loop.last %}(thinks){% endif %}{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def test_words_that_a_template_writes_differently_later_are_read_only(tmp_path: Path) -> None:
    tokenizer = FolderTokenizer(write_tokenizer(tmp_path, LAST_ONLY))
    assert text_of(learned(CHAT, tokenizer)) == "(thinks)d]"


def test_a_template_that_tells_no_words_apart_is_said(tmp_path: Path) -> None:
    tokenizer = FolderTokenizer(
        write_tokenizer(tmp_path, "{% for m in messages | reverse %}{{ m.content }}{% endfor %}")
    )
    with pytest.raises(TinkexError, match="does not let tell what the assistant wrote; give rows of prompt"):
        to_example(CHAT, tokenizer, "completion")
    assert text_of(learned(CHAT, tokenizer, "all")) == "dcba"


def test_templates_that_refuse_or_are_missing_are_said(tmp_path: Path) -> None:
    strict = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(TinkexError, match="refuses a conversation: roles must alternate"):
        FolderTokenizer(write_tokenizer(tmp_path / "strict", strict)).pieces(CHAT)
    with pytest.raises(TinkexError, match="has no chat template; give rows of prompt and completion instead"):
        FolderTokenizer(write_tokenizer(tmp_path / "bare", None)).pieces(CHAT)


def test_a_template_with_the_date_gives_the_same_tokens_every_day(tmp_path: Path) -> None:
    dated = "{{ strftime_now('%d %b %Y') }}" + TEMPLATE
    tokens = to_example(CHAT, FolderTokenizer(write_tokenizer(tmp_path, dated)), "completion").tokens.tolist()
    assert text_of(tokens).startswith("26 Jul 2024[<user>a")


def test_the_fingerprint_is_that_of_the_files_that_tokens_follow_from(tmp_path: Path) -> None:
    one = FolderTokenizer(write_tokenizer(tmp_path / "a")).fingerprint
    (tmp_path / "a" / "model.safetensors").write_bytes(b"weights")
    assert FolderTokenizer(tmp_path / "a").fingerprint == one
    assert FolderTokenizer(write_tokenizer(tmp_path / "b")).fingerprint == one, "wherever they stand"
    changed = FolderTokenizer(write_tokenizer(tmp_path / "c", TEMPLATE.replace("<", "(")))
    assert changed.fingerprint != one, "as many bytes, but others"
    assert ByteTokenizer().fingerprint == "bytes-1"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "has no tokenizer files, such as tokenizer.json"),
        ({"tokenizer.json": "{}"}, "cannot be read: "),
        ({"tokenizer_config.json": "["}, "is no JSON object"),
        (
            {"tokenizer_config.json": '{"auto_map": {"AutoTokenizer": ["x.Y", null]}}', "x.py": "raise SystemExit"},
            "own code",
        ),
        ({"tokenizer.model": "no model"}, "cannot be read: "),
    ],
)
def test_a_folder_without_a_tokenizer_is_refused(files: dict[str, str], says: str, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(TinkexError, match=says) as raised:
        FolderTokenizer(tmp_path)
    assert raised.value.kind == "validation"
    assert str(tmp_path) in str(raised.value)


def test_a_missing_transformers_is_said_with_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(TinkexError, match=r"install 'tinkex\[models\]'"):
        FolderTokenizer(folder)


def test_a_tokenizer_is_chosen_by_name_by_folder_or_by_what_the_server_says(folder: Path, tmp_path: Path) -> None:
    assert isinstance(choose_tokenizer("bytes"), ByteTokenizer)
    assert isinstance(choose_tokenizer("bytes", "other/model"), ByteTokenizer)
    assert isinstance(choose_tokenizer("server", BUILTIN_TOKENIZER), ByteTokenizer)
    named = choose_tokenizer("server", str(folder))
    assert isinstance(named, FolderTokenizer)
    assert named.fingerprint == choose_tokenizer(str(folder), BUILTIN_TOKENIZER).fingerprint
    for tokenizer_id, says in ((None, "does not name"), ("org/model", "names the tokenizer 'org/model'")):
        with pytest.raises(TinkexError, match=f"{says}.*set data.tokenizer to a folder"):
            choose_tokenizer("server", tokenizer_id)
    with pytest.raises(TinkexError, match=r"there is no folder .*; nothing is downloaded"):
        choose_tokenizer(str(tmp_path / "Qwen" / "Qwen3-8B"))


def test_a_relative_name_that_a_server_gives_is_no_folder_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    with pytest.raises(TinkexError, match="no folder on this machine"):
        choose_tokenizer("server", folder.name)


def test_the_tokenizer_file_of_the_tests_is_read_as_written(folder: Path) -> None:
    assert json.loads((folder / "tokenizer_config.json").read_text())["eos_token"] == "</s>"
    assert FolderTokenizer(folder).encode("a\n") == [97, 10]
