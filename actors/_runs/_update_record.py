"""One completed update, as the event log has it."""

from collections.abc import Mapping
from typing import Any

import msgspec

UPDATE = "update"


class UpdateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one optimizer step did. Floats are read back as they were, NaN and infinities too."""

    epoch: int
    update: int
    """Counted from 1."""
    loss: float | None = None
    """Per weighted token."""
    loss_sum: float | None = None
    learning_rate: float | None = None
    tokens: int = 0
    rows: list[int | str] = []
    """Of the data, in the order they were trained on."""
    seconds: float = 0.0
    metrics: dict[str, float] = {}
    at: float = 0.0
    """Epoch seconds."""

    def to_event(self) -> dict[str, Any]:
        """Return the event to append."""
        return {"kind": UPDATE, **msgspec.structs.asdict(self)}

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "UpdateRecord | None":
        """Return what ``to_event`` wrote, None for another event or one that lacks a field or has a wrong one."""
        if event.get("kind") != UPDATE:
            return None
        try:
            return msgspec.convert(event, cls)
        except msgspec.ValidationError:
            return None
