"""Plain JSON values: a normal form, canonical bytes, and the way back, exact for every float and whole number.

JSON has no word for NaN and the infinities: they are written as ``{"$float": "NaN"}``, ``{"$float": "Infinity"}`` and
``{"$float": "-Infinity"}``. All else is what ``json`` writes, keys sorted, without blanks, in ASCII.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn, cast

from tinkex.protocol import validation
from tinkex.protocol._checks import shown

_TAG: Final = "$float"
_WORDS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def plain(value: Any, field: str = "value") -> Any:
    """Return ``value`` as it will be after a round trip over a file: tuples are lists, subclasses their base types.

    What a run depends on, its cursors above all, goes through here before its first use, so that a run that never
    stopped and one that was read back see the same.

    Raises:
        TinkexError: kind ``validation``, naming where in ``field`` there is what JSON cannot hold.
    """
    try:
        return _walk(value, field, tagged=False)
    except RecursionError:
        raise validation(f"{field} is nested too deeply to be written down, or holds itself", field=field) from None


def encode(value: Any, field: str = "value") -> bytes:
    """Return the canonical bytes of ``value``: equal for equal values, whatever the order of their keys.

    Raises:
        TinkexError: kind ``validation``, as for ``plain``.
    """
    try:
        text = json.dumps(_walk(value, field, tagged=True), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except RecursionError:
        raise validation(f"{field} is nested too deeply to be written down, or holds itself", field=field) from None
    except ValueError as error:  # a whole number of more digits than Python writes
        raise validation(f"{field} cannot be written down: {error}", field=field) from error
    return text.encode()


def decode(raw: bytes) -> Any:
    """Return the value that ``encode`` wrote.

    Raises:
        ValueError: the bytes are no whole JSON value.
    """
    try:
        return json.loads(raw.decode(), object_hook=_untag, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _walk(value: Any, at: str, *, tagged: bool) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _number(float(value), tagged=tagged)
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        return [_walk(item, f"{at}[{index}]", tagged=tagged) for index, item in enumerate(items)]
    if isinstance(value, Mapping):
        return _walk_mapping(cast("Mapping[object, object]", value), at, tagged=tagged)
    raise validation(
        f"{at} must be a plain JSON value (None, bool, int, float, str, list, or dict with str keys), not "
        f"{type(value).__name__}",
        field=at,
    )


def _walk_mapping(value: Mapping[object, object], at: str, *, tagged: bool) -> dict[str, Any]:
    walked: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise validation(f"{at} must have keys that are text, as JSON has, not {shown(key)}", field=at)
        if key == _TAG:
            raise validation(f"{at} must not have the key {_TAG!r}: it stands for numbers that JSON lacks", field=at)
        walked[str(key)] = _walk(item, f"{at}[{shown(key)}]", tagged=tagged)
    return walked


def _number(value: float, *, tagged: bool) -> Any:
    if not tagged or math.isfinite(value):
        return value
    word = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {_TAG: word}


def _untag(item: dict[str, Any]) -> Any:
    if _TAG not in item:
        return item
    word = item[_TAG]
    if len(item) != 1 or not isinstance(word, str) or word not in _WORDS:
        raise ValueError(f"no number: {shown(item)}")
    return _WORDS[word]


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")
