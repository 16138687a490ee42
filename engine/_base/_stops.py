"""Where a sampled sequence ends. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

Decode = Callable[[Sequence[int]], str]

MAX_STOPS: Final = 64
_SLACK: Final = 8
"""Tokens that are read beside those that could make up a stop string: some stand for no text."""


@dataclass(frozen=True)
class Stops:
    """What ends a sequence; what ended it is part of it."""

    tokens: frozenset[int] = frozenset()
    strings: tuple[str, ...] = ()
    decode: Decode | None = None
    """Needed for strings."""
    _reach: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        longest = max((len(text.encode()) for text in self.strings), default=0)
        object.__setattr__(self, "_reach", longest + _SLACK)

    def end(self, sampled: Sequence[int]) -> bool:
        """Whether a sequence ends with its last token."""
        if sampled[-1] in self.tokens:
            return True
        if not self.strings or self.decode is None:
            return False
        # A token stands for at least one byte of text or for none, so the tail holds every string that could end here.
        tail = self.decode(sampled[-self._reach :])
        return any(text in tail for text in self.strings)
