"""Checks of single fields: each returns the error that names the field, or None."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard, cast

from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._path import CheckpointKind, TinkerPath


def check_text(field: str, value: object) -> TinkexError | None:
    """Accept text that is not blank, has no control characters and can be encoded."""
    if not isinstance(value, str):
        return validation(f"{field} must be text, not {shown(value)}", field=field)
    if not value.strip() or not value.isprintable():
        return validation(f"{field} must be text that is not blank and has no control characters", field=field)
    return None


def check_flag(field: str, value: object) -> TinkexError | None:
    """Accept True and False."""
    return (
        None
        if isinstance(value, bool)
        else validation(f"{field} must be True or False, not {shown(value)}", field=field)
    )


def check_whole(field: str, value: object, low: int, high: int | None = None) -> TinkexError | None:
    """Accept an int of at least ``low`` and at most ``high``; a bool is none."""
    wanted = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    if isinstance(value, int) and not isinstance(value, bool) and low <= value and (high is None or value <= high):
        return None
    return validation(f"{field} must be {wanted}, not {shown(value)}", field=field)


def check_number(
    field: str, value: object, low: float | None = None, *, above: float | None = None, below: float | None = None
) -> TinkexError | None:
    """Accept a finite int or float of at least ``low``, more than ``above`` and less than ``below``."""
    if (
        is_finite_number(value)
        and (low is None or value >= low)
        and (above is None or value > above)
        and (below is None or value < below)
    ):
        return None
    bounds = [f" of at least {low}"] if low is not None else []
    bounds += [f" above {above}"] if above is not None else []
    bounds += [f" below {below}"] if below is not None else []
    return validation(f"{field} must be a finite number{' and'.join(bounds)}, not {shown(value)}", field=field)


def is_finite_number(value: Any) -> TypeGuard[float]:
    """Say whether ``value`` is an int or float that a double can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def check_metadata(field: str, value: object) -> TinkexError | None:
    """Accept None and a dict from text to text."""
    if value is None:
        return None
    if not isinstance(value, dict):
        return validation(f"{field} must be a dict from text to text, not {shown(value)}", field=field)
    for key, item in cast("Mapping[object, object]", value).items():
        if not _encodable(key) or not _encodable(item):
            return validation(
                f"{field}[{shown(key)}] must be text under a key that is text, not {shown(item)}", field=field
            )
    return None


def check_optional(check: Callable[[str, object], TinkexError | None], field: str, value: object) -> TinkexError | None:
    """Accept None and what ``check`` accepts."""
    return None if value is None else check(field, value)


def check_ttl(field: str, value: object) -> TinkexError | None:
    """Accept None (never expires) and whole seconds of at least 1."""
    return None if value is None else check_whole(field, value, 1)


def check_name(field: str, value: object) -> TinkexError | None:
    """Accept the name of a checkpoint; see ``TinkerPath.check_name``."""
    try:
        TinkerPath.check_name(cast("str", value))
    except TinkexError as error:
        return _named(field, error)
    return None


def check_path(field: str, value: object, kind: CheckpointKind | None = None) -> TinkexError | None:
    """Accept the path of a checkpoint, and only of ``kind`` where one is given."""
    try:
        path = TinkerPath.parse(cast("str", value))
    except TinkexError as error:
        return _named(field, error)
    if kind is None or path.kind == kind:
        return None
    hint = f"; its training twin would be {path.twin()}" if path.kind == "sampler_weights" else ""
    return validation(f"{field} must be a {kind!r} path, not {path}{hint}", field=field, path=str(path))


def shown(value: object) -> str:
    """Return a short repr for an error's sentence."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


_SHOWN = 64


def _encodable(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(field: str, error: TinkexError) -> TinkexError:
    return validation(error.message, **error.data, field=field)
