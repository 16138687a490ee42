"""The sampling sessions of this process. Lives on the event loop."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._store._records import SamplerRow
from tinkex.protocol import wire

log = structlog.get_logger("tinkex.engine")

_REMEMBERED: Final = 8192
"""Requests that a sampler recognises when they are repeated."""


@dataclass(frozen=True)
class Sample:
    """A request that was accepted."""

    digest: bytes
    future: wire.SampleFuture


@dataclass
class Sampler:
    """One sampling session."""

    sampler_id: str
    session_id: str
    owner: str
    base: BaseModel
    model_path: str | None = None
    digest: bytes = b""
    """Of the request that made it."""
    clients: int = 0
    """How many have joined."""
    ended: bool = False
    _samples: OrderedDict[int, Sample] = field(default_factory=OrderedDict[int, Sample])

    @property
    def row(self) -> SamplerRow:
        """What is kept of it."""
        return SamplerRow(self.sampler_id, self.session_id, self.owner, self.base.name, self.model_path)

    def sampled(self, seq_id: int) -> Sample | None:
        """Return the request that was accepted under this number."""
        return self._samples.get(seq_id)

    def remember(self, seq_id: int, sample: Sample) -> None:
        """Recognise a request from now on."""
        self._samples[seq_id] = sample
        if len(self._samples) > _REMEMBERED:
            self._samples.popitem(last=False)


class Samplers:
    """The live samplers by id.

    Args:
        limit: how many one session may have; beyond it the oldest ends.
        ended: told of each that has ended.
    """

    def __init__(self, limit: int, ended: Callable[[Sampler], None]) -> None:
        self._limit: Final = limit
        self._ended: Final = ended
        self._live: dict[str, Sampler] = {}

    def __len__(self) -> int:
        return len(self._live)

    def find(self, sampler_id: str) -> Sampler | None:
        """Return a live sampler."""
        return self._live.get(sampler_id)

    def add(self, sampler: Sampler) -> None:
        """Know a sampler; the oldest of its session end where there are too many."""
        self._live[sampler.sampler_id] = sampler
        for oldest in self._of_session(sampler.session_id)[: -self._limit]:
            log.warning("oldest sampler of a session ended", sampler_id=oldest.sampler_id)
            self.end(oldest)

    def end(self, sampler: Sampler) -> None:
        """End a sampler."""
        sampler.ended = True
        self._live.pop(sampler.sampler_id, None)
        self._ended(sampler)

    def end_of_session(self, session_id: str) -> None:
        """End all samplers of a session."""
        for sampler in self._of_session(session_id):
            self.end(sampler)

    def _of_session(self, session_id: str) -> list[Sampler]:
        """Return a session's samplers, oldest first."""
        return [sampler for sampler in self._live.values() if sampler.session_id == session_id]
