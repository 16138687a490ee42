"""The tokenizer in a model's folder, as transformers reads it: nothing is downloaded, no code of the folder runs."""

import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

from tinkex.cli._data._rows import Chat, Completion, Message, Row, Text
from tinkex.cli._data._tokenizers import Piece
from tinkex.protocol import validation

_FILES: Final = (
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""What tokens follow from."""

_DAY: Final = datetime(2024, 7, 26, tzinfo=UTC)
"""What templates that write the date are told: with today's, a resume would read other tokens tomorrow."""

_TODAY: Final = re.compile(r"""strftime_now\(\s*(["'])(.*?)\1\s*\)""")

_FORM: Final = 1
"""Of a row's tokens; raised with every change of it."""


class FolderTokenizer:
    """Reads a folder in Hugging Face's layout; needs ``transformers``, which the extra ``models`` brings.

    A text is its tokens and the end-of-text token, behind the tokens that begin a text, where the tokenizer has them. A
    prompt and its completion are turned into tokens apart, so that the same tokens stand before the completion as when
    the model is asked. A conversation is what the folder's chat template makes of it, where each of the assistant's
    messages begins behind the generation prompt. A message of the assistant's is read and not learned where nothing
    stands before it, or where the template does not let tell its place, because it writes earlier turns differently
    once others follow.

    Raises:
        TinkexError: kind ``validation``: the folder has no tokenizer that can be read, or transformers is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self.fingerprint: Final = _digest(folder)
        """Of the folder's tokenizer files."""
        self._tokenizer: Final = _load(folder)
        bos = self._tokenizer.bos_token_id
        begins = [int(token) for token in self._tokenizer("")["input_ids"][:1]]
        self._begin: Final = begins if bos is not None and begins == [bos] else []
        self._eos: Final[int | None] = self._tokenizer.eos_token_id
        self._template: Final = _undated(self._tokenizer.get_chat_template()) if self._tokenizer.chat_template else None

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without those that begin or end one."""
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]) if text else []

    def pieces(self, row: Row) -> list[Piece]:
        """Return the tokens of a row, in order.

        Raises:
            TinkexError: kind ``validation``: a conversation, and the template refuses it, or there is none.
        """
        match row:
            case Text(text, ends):
                return [Piece(self._begin, learned=False), Piece(self.encode(text) + self._end * ends, learned=True)]
            case Completion(prompt, completion):
                read, written = self.encode(prompt), self.encode(completion)
                return [Piece(self._begin + read, learned=False), Piece(written + self._end, learned=True)]
            case Chat(messages):
                return self._chat(messages)

    @property
    def _end(self) -> list[int]:
        return [] if self._eos is None else [self._eos]

    def _chat(self, messages: Sequence[Message]) -> list[Piece]:
        whole = self._render(messages)
        pieces: list[Piece] = []
        at = 0
        for index, message in enumerate(messages):
            if message.role != "assistant" or not index:
                continue
            before = self._render(messages[:index], prompt=True)
            behind = self._render(messages[: index + 1])
            if at <= len(before) < len(behind) and whole.startswith(before) and whole.startswith(behind):
                pieces += [Piece(self.encode(whole[at : len(before)]), learned=False)]
                pieces += self._written(whole[len(before) : len(behind)])
                at = len(behind)
        return [*pieces, Piece(self.encode(whole[at:]), learned=False)]

    def _written(self, text: str) -> list[Piece]:
        tokens = self.encode(text)
        ends = len(tokens)
        if self._eos in tokens:  # what a template puts behind the end is not the model's to write
            ends -= tokens[::-1].index(self._eos)
        return [Piece(tokens[:ends], learned=True), Piece(tokens[ends:], learned=False)]

    def _render(self, messages: Sequence[Message], *, prompt: bool = False) -> str:
        if self._template is None:
            raise validation(f"{self.folder} has no chat template; give rows of prompt and completion instead")
        errors: Any = import_module("jinja2").TemplateError
        try:
            rendered = self._tokenizer.apply_chat_template(
                [message._asdict() for message in messages],
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=prompt,
            )
        except (errors, TypeError, ValueError) as error:
            raise validation(f"the chat template of {self.folder} refuses a conversation: {error}") from error
        return str(rendered)


def _undated(template: str) -> str:
    """Return the template with ``_DAY`` in place of today, wherever it writes the date."""
    return _TODAY.sub(lambda found: json.dumps(_DAY.strftime(found[2])), template)


def _load(folder: Path) -> Any:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the libraries are imported: nothing is asked of any hub
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise validation("a tokenizer in a folder needs the package transformers; install 'tinkex[models]'") from error
    try:
        return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise validation(f"the tokenizer in {folder} cannot be read: {reason}") from error


def _digest(folder: Path) -> str:
    total = blake2b(b"%d " % _FORM, digest_size=16, person=b"tinkex-tokens")
    found = False
    for name in _FILES:
        file = folder / name
        if not file.is_file():
            continue
        try:
            content = file.read_bytes()
        except OSError as error:
            raise validation(f"{file} cannot be read: {error.strerror or error}") from error
        if name == "tokenizer_config.json":
            _refuse_code(file, content)
        found = True
        total.update(f"{name} {len(content)} ".encode())
        total.update(content)
    if not found:
        raise validation(f"{folder} has no tokenizer files, such as tokenizer.json")
    return total.hexdigest()


def _refuse_code(file: Path, content: bytes) -> None:
    try:
        fields = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise validation(f"{file} is no JSON object: {error}") from error
    if "auto_map" in fields:
        raise validation(f"{file} asks for a tokenizer of the folder's own code (auto_map), which is never run")
