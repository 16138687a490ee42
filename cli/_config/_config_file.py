"""A configuration file as tables of values: reading, overriding, and finding the line of a key."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from tinkex.protocol import TinkexError, validation
from tinkex.protocol._checks import shown

Tables = dict[str, dict[str, Any]]
"""Values by section and key."""

OVERRIDE: Final = "--set"
"""The source of overrides."""

_SECRET: Final = re.compile(
    r"api_?key|(?:access|auth|bearer|hf)_?token|secret|password|passwd|credential|^(?:key|token)$"
)
_HEADER: Final = re.compile(r"\s*\[\s*([A-Za-z0-9_\"'-]+)(?:\s*\.\s*([A-Za-z0-9_\"'-]+))?[^\]]*\]")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_\"'-]+)(?:\s*\.\s*([A-Za-z0-9_\"'-]+))?[^=]*=")
_OVERRIDE: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*\.\s*([A-Za-z0-9_-]+)\s*=(.*)", re.DOTALL)
_NOT_BARE: Final = frozenset("\"'[{")


def read_tables(path: Path) -> tuple[dict[str, Any], str]:
    """Return what a TOML file says, and its text.

    Raises:
        TinkexError: kind ``validation``: it cannot be read, or is no TOML; with the line, where that is known.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise validation(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise validation(f"{path} is no TOML: it is not UTF-8 at byte {error.start}") from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        raise validation(f"{path} is no TOML: {error}") from error


def parse_override(text: str) -> tuple[str, str, Any]:
    """Read ``section.key=value``: the value as TOML or a bare word as text; None for no value, which takes the key out.

    Raises:
        TinkexError: kind ``validation``: it has another form. What stands behind ``=`` is not repeated.
    """
    match = _OVERRIDE.fullmatch(text)
    if match is None:
        raise validation(f"--set {shown(text.partition('=')[0])} must look like section.key=value")
    section, key, value = match[1], match[2], match[3].strip()
    if not value:
        return section, key, None
    try:
        parsed = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError as error:
        if value[0] in _NOT_BARE:
            raise validation(f"--set {section}.{key}: the value is no TOML: {error}") from error
        parsed = {}
    return section, key, parsed["value"] if len(parsed) == 1 else value


def check_tables(raw: Mapping[str, Any], known: Mapping[str, Iterable[str]], source: str, text: str = "") -> None:
    """Refuse sections and keys that are not ``known``, with the nearest one that is, and the line in ``text``.

    Raises:
        TinkexError: kind ``validation``.
    """
    for section, table in raw.items():
        where = _place(source, text, section, None)
        if section not in known:
            _refuse_secret(section, where)
            raise _unknown_section(section, table, known, where)
        if not isinstance(table, dict):
            raise validation(
                f"{where}: {section} must be a section: write [{section}] and its keys below", field=section
            )
        for key in cast("dict[str, Any]", table):
            keys = list(known[section])
            if key not in keys:
                at = _place(source, text, section, key)
                _refuse_secret(key, at)
                raise validation(
                    f"{at}: [{section}] has no key {shown(key)}{_nearest_key(section, key, known)}",
                    field=f"{section}.{key}",
                )


def line_of(text: str, section: str, key: str | None) -> int | None:
    """Return the line, from 1, on which a section's key (or its header, for None) stands, as far as can be told."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            inside, below = _bare(header[1]), _bare(header[2])
            if inside == section and key in {None, below}:
                return number
            continue
        found = _KEY.match(line)
        if found is None:
            continue
        first, second = _bare(found[1]), _bare(found[2])
        if (inside == section and first == key) or (not inside and first == section and key in {None, second}):
            return number
    return None


class Source(NamedTuple):
    """Where values came from, to be named with what is wrong about them."""

    name: str
    text: str = ""
    changed: frozenset[str] = frozenset()
    """What overrides named, as ``section.key``."""

    def located(self, error: TinkexError, section: str) -> TinkexError:
        """Return the error of a section's own check with the place before its sentence."""
        field = cast("str | None", error.data.get("field"))
        key = None if field is None else field.partition(".")[0]
        place = OVERRIDE if f"{section}.{key}" in self.changed else _place(self.name, self.text, section, key)
        named = field is not None and error.message.startswith(field)
        sentence = f"{section}.{error.message}" if named else f"[{section}] {error.message}"
        return validation(f"{place}: {sentence}", field=section if field is None else f"{section}.{field}")


def _place(source: str, text: str, section: str, key: str | None) -> str:
    line = line_of(text, section, key) or line_of(text, section, None)
    return source if line is None else f"{source}, line {line}"


def _refuse_secret(name: str, where: str) -> None:
    if _SECRET.search(name.lower().replace("-", "_")):
        raise validation(
            f"{where}: {shown(name)} does not belong into a configuration, which gets copied and kept: "
            "set the environment variable TINKER_API_KEY instead",
            field=name,
        )


def _unknown_section(section: str, table: object, known: Mapping[str, Iterable[str]], where: str) -> TinkexError:
    homes = [name for name, keys in known.items() if section in keys]
    if not isinstance(table, dict) and homes:
        hint = f"; it belongs below {' or '.join(f'[{name}]' for name in homes)}"
    else:
        near = difflib.get_close_matches(section, list(known), 1, _CLOSE)
        hint = f"; did you mean [{near[0]}]?" if near else f"; the sections are {', '.join(known)}"
    return validation(f"{where}: there is no section [{section[:_SHOWN]}]{hint}", field=section)


def _nearest_key(section: str, key: str, known: Mapping[str, Iterable[str]]) -> str:
    near = difflib.get_close_matches(key, list(known[section]), 1, _CLOSE)
    if near:
        return f"; did you mean {near[0]!r}?"
    homes = [name for name, keys in known.items() if key in keys]
    if homes:
        return f"; it belongs below {' or '.join(f'[{name}]' for name in homes)}"
    return f"; its keys are {', '.join(known[section])}"


def _bare(word: str | None) -> str:
    return (word or "").strip("\"'")


_CLOSE: Final = 0.6
_SHOWN: Final = 64
