"""Saving, loading and naming weights."""

from typing import Any, ClassVar, Literal

from tinkex.protocol.wire._base import Body


class SaveWeightsRequest(Body, frozen=True):
    """``POST /api/v1/save_weights``; ``path`` is the checkpoint's bare name."""

    model_id: str
    seq_id: int
    path: str
    ttl_seconds: int | None = None
    overwrite: bool = False
    user_metadata: dict[str, str] | None = None
    type: str = "save_weights"


class SaveWeightsResult(Body, frozen=True):
    """A checkpoint was saved; ``path`` is its ``tinker://`` address."""

    path: str
    type: str = "save_weights"


class SaveWeightsForSamplerRequest(Body, frozen=True):
    """``POST /api/v1/save_weights_for_sampler``; with a name, or for one sampling session."""

    model_id: str
    seq_id: int
    path: str | None = None
    sampling_session_seq_id: int | None = None
    kind: Literal["snapshot", "inflight"] = "snapshot"
    ttl_seconds: int | None = None
    user_metadata: dict[str, str] | None = None
    type: str = "save_weights_for_sampler"


class SaveWeightsForSamplerResult(Body, frozen=True):
    """Weights were saved to sample from: ``path`` for a named save, the session's id for the other."""

    path: str | None = None
    sampling_session_id: str | None = None
    type: str = "save_weights_for_sampler"


class LoadWeightsRequest(Body, frozen=True):
    """``POST /api/v1/load_weights``: into a model, or, addressed by session, creating one."""

    path: str
    optimizer: bool = False
    model_id: str | None = None
    seq_id: int | None = None
    session_id: str | None = None
    model_seq_id: int | None = None
    base_model: str | None = None
    user_metadata: dict[str, Any] | None = None
    optimizer_config: dict[str, Any] | None = None
    weights_access_token: str | None = None
    """A credential; never printed."""
    type: str = "load_weights"

    @property
    def creates(self) -> bool:
        """Whether the request is addressed by session, so that it creates the model."""
        return self.model_id is None

    def __repr__(self) -> str:
        address = f"model_id={self.model_id!r}, seq_id={self.seq_id!r}"
        if self.creates:
            address = f"session_id={self.session_id!r}, model_seq_id={self.model_seq_id!r}"
        return f"LoadWeightsRequest({address}, path={self.path!r}, optimizer={self.optimizer!r})"


class LoadWeightsResult(Body, frozen=True):
    """Weights were loaded."""

    path: str | None = None
    model_id: str | None = None
    type: str = "load_weights"


class WeightsInfoRequest(Body, frozen=True):
    """``POST /api/v1/weights_info``."""

    tinker_path: str


class WeightsInfoReply(Body, frozen=True):
    """What a checkpoint was made from."""

    base_model: str
    is_lora: bool
    lora_rank: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True
    optimizer_config: dict[str, Any] | None = None


class TtlRequest(Body, frozen=True):
    """``PUT .../checkpoints/{kind}/{name}/ttl``; None removes the expiry."""

    SENDS_NULL: ClassVar[bool] = True

    ttl_seconds: int | None


class SaveWeightsExternalRequest(Body, frozen=True):
    """``POST /api/v1/save_weights_external``: an adapter for other programs, in PEFT's layout."""

    model_id: str
    seq_id: int
    path: str
    ttl_seconds: int | None = None
    age_encryption_recipients: list[str] | None = None
    type: str = "save_weights_external"


class SaveWeightsExternalResult(Body, frozen=True):
    """An adapter was saved."""

    path: str
    size_bytes: int | None = None
    type: str = "save_weights_external"


class ExternalWeightsUrlsReply(Body, frozen=True):
    """``GET .../external_weights/{name}/external_weights_urls``: where each file can be fetched without a key."""

    urls: dict[str, str]
    expires: str
    """RFC 3339."""


class CopyWeightsRequest(Body, frozen=True):
    """``POST /api/v1/copy_weights``: to a project, or as a model of a session."""

    source_path: str
    destination_project_id: str | None = None
    session_id: str | None = None
    model_seq_id: int | None = None
    ttl_seconds: int | None = None
    weights_access_token: str | None = None


class CopyWeightsReply(Body, frozen=True):
    """A checkpoint was copied."""

    tinker_path: str
