"""The rows of the store."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from tinkex.engine._base._layout import LoraSpec

SessionState = Literal["active", "finished", "expired", "lost"]
FinishType = Literal["success", "errored", "interrupted"]
ModelState = Literal["live", "unloaded", "lost"]
CheckpointKind = Literal["weights", "sampler_weights", "external_weights"]


class SessionRow(msgspec.Struct, frozen=True):
    """One session."""

    session_id: str
    owner: str
    created: float
    tags: list[str]
    user_metadata: dict[str, Any]
    project_id: str | None = None
    display_name: str | None = None
    state: SessionState = "active"
    reason: FinishType | None = None
    detail: str | None = None

    def ended(self, state: SessionState, reason: FinishType | None, detail: str | None) -> "SessionRow":
        """Return the row of the same session after its end."""
        return msgspec.structs.replace(self, state=state, reason=reason, detail=detail)


class ModelRow(msgspec.Struct, frozen=True):
    """One model, which is one training run."""

    model_id: str
    session_id: str
    owner: str
    base_model: str
    lora: LoraSpec
    created: float
    last_request: float
    state: ModelState = "live"
    user_metadata: dict[str, Any] | None = None


class SamplerRow(msgspec.Struct, frozen=True):
    """One sampling session."""

    sampler_id: str
    session_id: str
    owner: str
    base_model: str
    model_path: str | None = None
    """None for a base model, and for weights that were never named."""


class CheckpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """One checkpoint; in the store only once it is complete."""

    path: str
    run_id: str
    kind: CheckpointKind
    owner: str
    base_model: str
    lora: LoraSpec
    has_optimizer: bool
    user_metadata: dict[str, str] | None
    seq_id: int
    digest: str
    """Of the request that made it, as hex."""
    request_id: str
    folder: str = ""
    size_bytes: int = 0
    created: float = 0.0
    expires: float | None = None
    public: bool = False
    """Whether every owner may read it."""

    def placed(self, folder: str, size_bytes: int, now: float, ttl_seconds: int | None) -> "CheckpointRow":
        """Return the row of the checkpoint once it is written."""
        expires = None if ttl_seconds is None else now + ttl_seconds
        return msgspec.structs.replace(self, folder=folder, size_bytes=size_bytes, created=now, expires=expires)


def timestamp(seconds: float) -> str:
    """Write a time as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
