"""One row of training data: what a line of JSON says, checked."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

from tinkex.cli._base._config_sections import DataSection, RowKind
from tinkex.protocol import TinkexError, validation
from tinkex.protocol._checks import shown

ROLES: Final = ("system", "user", "assistant", "tool")


class Text(NamedTuple):
    """A text to continue."""

    text: str
    ends: bool = True
    """Whether the text ends here, or is a piece of a longer one."""


class Completion(NamedTuple):
    """A prompt that is read, and what is to be written after it."""

    prompt: str
    completion: str


class Message(NamedTuple):
    """One message of a conversation."""

    role: str
    content: str


class Chat(NamedTuple):
    """A conversation; what the assistant says in it is to be learned."""

    messages: tuple[Message, ...]


Row = Text | Completion | Chat


def parse_row(line: bytes, data: DataSection, where: str) -> Row:
    """Read a line of a JSONL file.

    Args:
        line: one JSON object.
        data: which columns to read.
        where: file and line, for errors.

    Raises:
        TinkexError: kind ``validation``: it is no JSON object, lacks the columns, or holds nothing to learn.
    """
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except UnicodeDecodeError as error:
        raise _wrong(where, f"is not UTF-8 at byte {error.start}") from error
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _wrong(where, f"is no JSON object: {error}") from error
    kind = data.kind or _kind_of(fields, data)
    if kind == "chat":
        return _chat(fields, data.messages_column, where)
    if kind == "completion":
        prompt = _text(fields, data.prompt_column, where)
        completion = _text(fields, data.completion_column, where)
        return Completion(prompt, _filled(completion, data.completion_column, where))
    if kind == "text":
        return Text(_filled(_text(fields, data.text_column, where), data.text_column, where))
    raise _wrong(
        where,
        f"has neither {data.messages_column!r} nor {data.prompt_column!r} and {data.completion_column!r} nor "
        f"{data.text_column!r}, but {_listed(fields)}; name its columns below [data], such as text_column",
    )


def _kind_of(fields: Mapping[str, Any], data: DataSection) -> RowKind | None:
    if data.messages_column in fields:
        return "chat"
    if data.prompt_column in fields and data.completion_column in fields:
        return "completion"
    return "text" if data.text_column in fields else None


def _chat(fields: Mapping[str, Any], column: str, where: str) -> Chat:
    if column not in fields:
        raise _wrong(where, f"has no column {column!r}, but {_listed(fields)}")
    entries: object = fields[column]
    if not isinstance(entries, list) or not entries:
        raise _wrong(where, f"{column} must be a list of messages, not {shown(fields[column])}")
    messages = tuple(
        _message(entry, f"{column}[{index}]", where) for index, entry in enumerate(cast("list[object]", entries))
    )
    if not any(message.role == "assistant" and message.content for message in messages):
        raise _wrong(where, f"{column} has no message of the assistant, so that nothing could be learned")
    return Chat(messages)


def _message(entry: object, field: str, where: str) -> Message:
    if not isinstance(entry, dict):
        raise _wrong(where, f"{field} must be an object with role and content, not {shown(entry)}")
    fields = cast("dict[str, object]", entry)
    for name, value in fields.items():
        if name not in {"role", "content"} and value is not None:
            raise _wrong(where, f"{field} has {shown(name)}; only role and content are read")
    role, content = fields.get("role"), fields.get("content")
    if role not in ROLES:
        raise _wrong(where, f"{field}.role must be one of {', '.join(ROLES)}, not {shown(role)}")
    if not isinstance(content, str):
        raise _wrong(where, f"{field}.content must be text, not {shown(content)}")
    return Message(str(role), content)


def _text(fields: Mapping[str, Any], column: str, where: str) -> str:
    if column not in fields:
        raise _wrong(where, f"has no column {column!r}, but {_listed(fields)}")
    value = fields[column]
    if not isinstance(value, str):
        raise _wrong(where, f"{column} must be text, not {shown(value)}")
    return value


def _filled(value: str, column: str, where: str) -> str:
    if not value:
        raise _wrong(where, f"{column} is empty, so that nothing could be learned")
    return value


def _listed(fields: Mapping[str, Any]) -> str:
    return ", ".join(map(shown, list(fields)[:_LISTED])) or "no column at all"


def _wrong(where: str, sentence: str) -> TinkexError:
    return validation(f"{where}: {sentence}", place=where)


_LISTED: Final = 8
