"""What differs between two fingerprints, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from tinkex.protocol._checks import shown


def differences(kept: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
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
    return f"was {_said(before)}, is {_said(after)}"


def _said(value: object) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) and value.isprintable() and len(value) <= _SHORT else shown(value)


def _object(text: str | None) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(text or "", type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


_SHORT = 64
