"""What a resume compares: digests of all that must be the same, and what to say where it is not."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tinkex.actors._runs._in_words import in_words
from tinkex.actors._runs._plain import encode
from tinkex.protocol import Manifest, TinkexError, validation

_CHUNK: Final = 1 << 20


class Difference(msgspec.Struct, frozen=True):
    """One part that was one thing when a checkpoint was made, and is another now."""

    part: str
    old: str | None
    """None where there was none."""
    new: str | None


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[Difference]:
    """Return the parts in which two fingerprints, or two surroundings, differ, in the order of their names."""
    parts = sorted(old.keys() | new.keys())
    return [Difference(part, old.get(part), new.get(part)) for part in parts if old.get(part) != new.get(part)]


def refuse_resume(manifest: Manifest, differ: Sequence[Difference]) -> TinkexError:
    """Build the refusal to go on from ``manifest``: what was trained there is not what is asked for now."""
    sentence = (
        f"run {manifest.run!r} cannot go on from {manifest.name}, which was made with other inputs: {_listed(differ)}; "
        "restore what it was made with, or begin a new run, from its weights alone if they are wanted"
    )
    listed = [{"part": item.part, "old": item.old, "new": item.new} for item in differ]
    data = {"run": manifest.run, "manifest": manifest.name, "path": manifest.path, "differences": listed}
    return TinkexError(sentence, kind="resume_refused", category="user", data=data)


def surroundings_warning(manifest: Manifest, differ: Sequence[Difference]) -> str | None:
    """Return what to say where the surroundings of ``manifest`` were others; None where they were not."""
    if not differ:
        return None
    return (
        f"run {manifest.run!r} goes on from {manifest.name} in other surroundings: {_listed(differ)}; its losses and "
        "weights may differ in the last digits from those of a run that was never interrupted"
    )


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a plain JSON value, the same for equal values whatever the order of their keys.

    A whole number and the float of the same value are two values, as are two names of one letter in Unicode.

    Raises:
        TinkexError: kind ``validation``: it is no plain JSON value.
    """
    return hashlib.sha256(encode(value)).hexdigest()


def digest_file(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, read piece by piece.

    Raises:
        TinkexError: kind ``validation``: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
    except OSError as error:
        raise validation(f"the file {path} cannot be read: {error.strerror}", file=str(path)) from error
    return digest.hexdigest()


def _listed(differ: Iterable[Difference]) -> str:
    items = list(differ)
    kept = {item.part: item.old for item in items if item.old is not None}
    return "; ".join(in_words(kept, {item.part: item.new for item in items if item.new is not None}))
