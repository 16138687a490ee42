"""What stands in a manifest's file, and what can be wrong with it. Pure: bytes in, a manifest or a refusal out."""

import hashlib
from pathlib import Path
from typing import Any, Final, Literal, cast

import msgspec

from tinkex.actors._runs._names import Position
from tinkex.actors._runs._plain import decode, encode
from tinkex.protocol import Manifest, TinkexError, validation
from tinkex.protocol._manifest import MANIFEST_VERSION

Problem = Literal["torn", "digest", "swapped", "foreign", "version", "missing"]
"""What is wrong with a manifest: ``torn`` is no whole file; ``digest`` was changed; ``swapped`` stands under the name
of another one, ``foreign`` in the folder of another run; ``version`` was written by another version of Tinkex;
``missing`` is not there, or cannot be read."""

_KEYS: Final = {"manifest", "sha256"}


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return the content of the file of ``manifest``: its canonical JSON and the digest of that.

    Raises:
        TinkexError: kind ``validation``: it holds what could not be read back.
    """
    body = encode(msgspec.structs.asdict(manifest), "manifest")
    try:
        msgspec.convert(decode(body), Manifest)
    except msgspec.ValidationError as error:
        raise validation(f"the manifest could not be read back: {error}", field="manifest") from error
    if manifest.version != MANIFEST_VERSION:
        raise validation(f"a manifest's version is {MANIFEST_VERSION}, not {manifest.version}", field="version")
    for field, least in (("epoch", 1), ("update", 0)):
        if getattr(manifest, field) < least:
            raise validation(f"a manifest's {field} is at least {least}, not {getattr(manifest, field)}", field=field)
    return b'{"manifest":' + body + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def read_manifest_bytes(raw: bytes, run: str, name: str, file: Path) -> Manifest:
    """Return the manifest that ``raw`` holds, if it is whole, unchanged, and the one that ``run`` has as ``name``.

    Raises:
        TinkexError: kind ``resume_refused``; ``data["problem"]`` is a ``Problem``, and the sentence names ``file``.
    """
    try:
        content = decode(raw)
        again = encode(content["manifest"]) if isinstance(content, dict) and "manifest" in content else b""
    except (ValueError, TinkexError) as error:
        raise manifest_problem("torn", run, name, file, "is torn: it is no whole JSON value") from error
    if not isinstance(content, dict) or not cast("dict[str, Any]", content).keys() >= _KEYS:
        raise manifest_problem("torn", run, name, file, "is torn: it lacks the manifest or its digest")
    fields = cast("dict[str, Any]", content)
    body: Any = fields["manifest"]
    if hashlib.sha256(again).hexdigest() != fields["sha256"]:
        raise manifest_problem("digest", run, name, file, "was changed after it was written: its digest is another")
    version: Any = cast("dict[str, Any]", body).get("version") if isinstance(body, dict) else None
    if version != MANIFEST_VERSION or fields.keys() != _KEYS:
        why = f"is of version {version!r}, and this Tinkex reads version {MANIFEST_VERSION}: use the one that wrote it"
        raise manifest_problem("version", run, name, file, why)
    try:
        manifest = msgspec.convert(body, Manifest)
    except msgspec.ValidationError as error:
        why = f"has fields that this Tinkex does not know ({error}): use the one that wrote it"
        raise manifest_problem("version", run, name, file, why) from error
    if manifest.run != run:
        raise manifest_problem("foreign", run, name, file, f"belongs to run {manifest.run!r}, not to {run!r}")
    if Position(manifest.epoch, manifest.update).name != name:
        raise manifest_problem("swapped", run, name, file, f"holds {manifest.name}, not {name}: files were swapped")
    return manifest


def manifest_problem(problem: Problem, run: str, name: str, file: Path, why: str) -> TinkexError:
    """Build the refusal of a manifest, ``why`` going on from ``the manifest <file>``."""
    return TinkexError(
        f"the manifest {file} {why}",
        kind="resume_refused",
        category="user",
        data={"problem": problem, "run": run, "manifest": name, "file": str(file)},
    )
