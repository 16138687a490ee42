"""Where a checkpoint lives: ``tinker://<run>/<kind>/<name>``."""

import re
from typing import Any, Final, Literal, cast, get_args

import msgspec

from tinkex.protocol._errors import validation

CheckpointKind = Literal["weights", "sampler_weights", "external_weights"]

SCHEME: Final = "tinker://"
_KINDS: Final = get_args(CheckpointKind)
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")
_FORM: Final = "tinker://<run>/weights/<name>"
_RESERVED: Final = frozenset("/?#%\\ ")


class TinkerPath(msgspec.Struct, frozen=True):
    """The address of a checkpoint; ``str(path)`` and ``TinkerPath.parse`` are each other's inverse.

    Raises:
        TinkexError: kind ``validation``, naming the part that is wrong.
    """

    run_id: str
    """The training run: the id of the model that made the checkpoint."""
    kind: CheckpointKind
    """``weights`` can be trained on, ``sampler_weights`` sampled from, ``external_weights`` downloaded."""
    name: str

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise validation(f"a path's kind is one of {', '.join(_KINDS)}, not {self.kind!r}", part="kind")
        for part in ("run_id", "name"):
            value: Any = getattr(self, part)
            problem = _part_problem(value)
            if problem is not None:
                raise validation(f"a path's {part.replace('_id', '')} {problem}: {value!r}", part=part)

    @classmethod
    def parse(cls, text: str) -> "TinkerPath":
        """Read ``tinker://<run>/<kind>/<name>``.

        Raises:
            TinkexError: kind ``validation``, naming what is wrong.
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - the value comes from users
            raise validation(f"path must be text like {_FORM}, not {text!r}")
        if not text:
            raise validation(f"path is empty; it must be like {_FORM}")
        if not text.startswith(SCHEME):
            raise validation(f"path must begin with {SCHEME}: {text!r}", path=text)
        parts = text[len(SCHEME) :].split("/")
        if len(parts) != 3:  # noqa: PLR2004 - run, kind and name
            raise validation(f"path has {len(parts)} parts instead of the 3 of {_FORM}: {text!r}", path=text)
        run_id, kind, name = parts
        if kind not in _KINDS:
            raise validation(f"path has kind {kind!r} instead of one of {', '.join(_KINDS)}: {text!r}", path=text)
        return cls(run_id, cast("CheckpointKind", kind), name)

    @staticmethod
    def check_name(name: str) -> None:
        """Refuse a name that a save may not have.

        A name is 1 to 255 letters, digits, dots, hyphens and underscores, and does not begin with a dot: more than
        some servers allow, so that no server has to guess.

        Raises:
            TinkexError: kind ``validation``.
        """
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - the value comes from users
            raise validation(f"a checkpoint's name is text, not {type(name).__name__}")
        if not _NAME.fullmatch(name):
            raise validation(
                "a checkpoint's name is 1 to 255 of A-Z a-z 0-9 . _ - and does not begin with a dot: "
                f"{name if len(name) <= _SHOWN else name[:_SHOWN] + '...'!r}"
            )

    @property
    def checkpoint_id(self) -> str:
        """``<kind>/<name>``: how the server's lists and REST paths name the checkpoint within its run."""
        return f"{self.kind}/{self.name}"

    def twin(self) -> "TinkerPath":
        """Return the sampler's path of a training checkpoint of the same name, and the other way round.

        Raises:
            TinkexError: kind ``validation``; external weights have no twin.
        """
        if self.kind == "external_weights":
            raise validation(f"external weights have no twin: {self}", path=str(self))
        other: CheckpointKind = "sampler_weights" if self.kind == "weights" else "weights"
        return TinkerPath(self.run_id, other, self.name)

    def __str__(self) -> str:
        return f"{SCHEME}{self.run_id}/{self.kind}/{self.name}"


_SHOWN: Final = 64


def _part_problem(value: object) -> str | None:
    """Say why ``value`` cannot be a segment of a URL's path, or None where it can."""
    if not isinstance(value, str):
        return "must be text"
    if not value:
        return "is empty"
    if value in {".", ".."}:
        return "is a relative folder"
    if not value.isprintable() or not _RESERVED.isdisjoint(value):
        return "has a space, a control character or one of / ? # % \\"
    return None
