"""The checkpoints that a run can be restored from, and what became of each try. Pure."""

from collections.abc import Iterable
from typing import Literal

from tinkex.actors._trainer._verdicts import loading_of
from tinkex.protocol import Manifest, TinkexError

Next = Literal["again", "older", "refuse", "fail"]
"""What follows a failed restore: the same later, another one now, or the end of the run."""


class Candidates:
    """The manifests of a run, newest first; one that fails gives way to the one before it.

    One that is gone or broken for good is not tried again. Where all have failed, those of which that is not known
    are tried once more: the server may come to itself.
    """

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        """Begin with the newest."""
        self._left = list(manifests)
        self._doubtful: list[Manifest] = []
        self._failures: dict[str, int] = {}

    @property
    def first(self) -> Manifest | None:
        """The one to try; None where all are broken for good."""
        return self._left[0] if self._left else None

    @property
    def names(self) -> list[str]:
        """Names of those that are left, newest first."""
        return [manifest.name for manifest in self._left]

    def failed(self, error: TinkexError) -> Next:
        """Note that the first one failed; say what follows."""
        manifest = self._left[0]
        failures = self._failures[manifest.name] = self._failures.get(manifest.name, 0) + 1
        verdict = loading_of(error, failures)
        if verdict == "again" or verdict == "refuse" or verdict == "fail":  # noqa: PLR1714 - narrows the type
            return verdict
        self._left.pop(0)
        if verdict == "doubtful":
            self._doubtful.append(manifest)
        if self._left or not self._doubtful:
            return "older"
        self._left, self._doubtful = self._doubtful, []
        self._failures.clear()
        return "again"
