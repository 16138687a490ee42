"""What differs between two fingerprints, in words."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from tinkex.protocol._checks import shown


def in_words(kept: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return what a run that is resumed with ``now`` has otherwise than the checkpoint that ``kept`` stands in.

    One sentence's part for each, such as ``program: batch_size was 32, is 64``; none where both are the same. A part of
    a fingerprint that is a JSON object is compared key by key.
    """
    return [text for name in [*kept, *(name for name in now if name not in kept)] for text in _part(name, kept, now)]


def _part(name: str, kept: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    before, after = kept.get(name), now.get(name)
    if before == after:
        return
    old, new = _object(before), _object(after)
    changed = [] if old is None or new is None else list(_changed(old, new, ""))
    if not changed:
        yield f"{name} {_change(before, after)}"
    yield from (f"{name}: {path} {_change(*both)}" for path, both in changed)


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], within: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _changed(before, after, f"{within}{key}.")  # pyright: ignore[reportUnknownArgumentType] - JSON
        else:
            yield f"{within}{key}", (before, after)


def _change(before: object, after: object) -> str:
    return f"was {_said(before, after)}, is {_said(after, before)}"


def _said(value: object, other: object) -> str:
    """Return ``value`` as a sentence takes it: of a long text a part, its end where it begins as ``other`` does."""
    if value is None:
        return "not set"
    if not isinstance(value, str) or not value.isprintable():
        return shown(value)
    if len(value) <= _WHOLE:
        return value
    alike = isinstance(other, str) and other[:_SHOWN] == value[:_SHOWN]
    return f"...{value[-_SHOWN:]}" if alike else f"{value[:_SHOWN]}..."


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text or "", type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


_WHOLE: Final = 48
_SHOWN: Final = 24
