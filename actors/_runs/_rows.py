"""What the run store says."""

from enum import Enum
from typing import Any, Final, Literal

import msgspec

from tinkex.actors._leases._process import Process
from tinkex.protocol import RunStatus

CommandName = Literal["checkpoint_now", "pause", "resume", "stop", "stop_now"]
"""What another process may tell a trainer; ``stop_now`` is a stop without a save."""


class Unchanged(Enum):
    """The type of ``UNCHANGED``."""

    UNCHANGED = "unchanged"


UNCHANGED: Final = Unchanged.UNCHANGED
"""Stands for a value that stays as it is, where None is a value."""


class SessionRow(msgspec.Struct, frozen=True):
    """A session on the server that a trainer of an epoch made, with its model."""

    session_id: str
    model_id: str
    epoch: int


class EpochRow(msgspec.Struct, frozen=True):
    """One takeover or rebuild of a run."""

    epoch: int
    reason: str
    began_from: str | None
    """The manifest that it went on from; None is the run's beginning."""
    at: float
    """Epoch seconds."""
    host: str
    pid: int


class RunRow(msgspec.Struct, frozen=True):
    """A run, as the store has it."""

    name: str
    epoch: int
    """0 before the first trainer took it."""
    latest: str | None
    """Name of the manifest to go on from; None before the first commit."""
    owner: Process | None
    """The process that took it last."""
    status: RunStatus | None
    """As last reported, by whichever epoch; None before the first report, and where a newer Tinkex wrote it."""
    config: dict[str, Any]
    created: float
    """Epoch seconds."""
    lr_scale: float
    rollbacks: int
    restoring: str | None
    """The manifest that a restore is reading just now."""


class Taken(msgspec.Struct, frozen=True):
    """What whoever took a run must know."""

    epoch: int
    latest: str | None
    lr_scale: float
    rollbacks: int
    sessions: list[SessionRow]
    """Of older epochs, not known to have ended: to be finished on the server before a model is made."""
    began: dict[int, str | None]
    """From each epoch, this one too, to the manifest that it began from; what ``RunFolder.lineage`` asks for."""
    retired: dict[str, str]
    """Manifests that are being deleted, and their paths: never to be restored from, and to be deleted for good."""


class Command(msgspec.Struct, frozen=True):
    """Something that another process told a trainer."""

    id: int
    run: str
    command: CommandName
    at: float
    """Epoch seconds."""
    result: dict[str, Any] | None = None
    """The answer; None before there is one."""
    answered: float | None = None
