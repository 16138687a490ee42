"""Reading what is not quite as the types say, but meant well: nulls for defaults, numbers spelt as words.

Only bodies that failed to be read as they are come here.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import inf, nan
from types import NoneType
from typing import Any, Final, cast, get_args

import msgspec

_WORDS: Final[Mapping[str | None, float]] = {"NaN": nan, "Infinity": inf, "-Infinity": -inf, None: nan}
"""What stands in JSON for floats that JSON does not have; null is read, never written."""

METRICS: Final = "metrics"
"""The one field of plain numbers that need not be finite."""


class _Field(msgspec.Struct, frozen=True):
    name: str
    drops_null: bool
    inner: type[msgspec.Struct] | None


def mend(value: Any, kind: Any) -> bool:
    """Change the decoded JSON ``value`` in place so that it can be read as ``kind``; say whether anything changed."""
    struct = _struct_in(kind)
    if struct is None:
        return False
    changed = False
    for item in cast("list[object]", value) if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            changed |= _mend_object(cast("dict[str, Any]", item), struct)
    return changed


def _mend_object(fields: dict[str, Any], struct: type[msgspec.Struct]) -> bool:
    changed = False
    for field in _fields_of(struct):
        if field.name not in fields:
            continue
        value = fields[field.name]
        if value is None and field.drops_null:
            del fields[field.name]
            changed = True
        elif field.name == METRICS and isinstance(value, dict):
            changed |= _mend_metrics(cast("dict[str, Any]", value))
        elif field.inner is not None:
            changed |= mend(value, field.inner)
    return changed


def _mend_metrics(metrics: dict[str, Any]) -> bool:
    words = {name: _WORDS[value] for name, value in metrics.items() if is_word(value)}
    metrics.update(words)
    return bool(words)


def is_word(value: object) -> bool:
    """Say whether ``value`` stands for a float that JSON does not have."""
    return (value is None or isinstance(value, str)) and value in _WORDS


def read_words(values: list[Any]) -> list[Any]:
    """Return ``values`` with floats in place of the words for them."""
    return [_WORDS[value] if is_word(value) else value for value in values]


@lru_cache(maxsize=256)
def _fields_of(struct: type[msgspec.Struct]) -> tuple[_Field, ...]:
    return tuple(
        _Field(field.encode_name, not field.required and not _takes_null(field.type), _struct_in(field.type))
        for field in msgspec.structs.fields(struct)
    )


def _takes_null(kind: Any) -> bool:
    return kind is Any or kind is NoneType or NoneType in get_args(kind)


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """Return the struct that ``kind`` is, or is a list of, or is or None."""
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None
