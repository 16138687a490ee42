"""Models."""

from typing import Any

from msgspec import field

from tinkex.protocol._config import LoraConfig
from tinkex.protocol.wire._base import Body


class CreateModelRequest(Body, frozen=True):
    """``POST /api/v1/create_model``; (session_id, model_seq_id) names the model for ever."""

    session_id: str
    model_seq_id: int
    """From 0 in each session."""
    base_model: str
    lora_config: LoraConfig = field(default_factory=LoraConfig)
    user_metadata: dict[str, Any] | None = None
    optimizer_config: dict[str, Any] | None = None
    type: str = "create_model"


class CreateModelResult(Body, frozen=True):
    """A model was made."""

    model_id: str
    type: str = "create_model"


class GetInfoRequest(Body, frozen=True):
    """``POST /api/v1/get_info``."""

    model_id: str
    type: str = "get_info"


class ModelData(Body, frozen=True):
    """What a model was made from."""

    arch: str | None = None
    model_name: str | None = None
    tokenizer_id: str | None = None


class GetInfoReply(Body, frozen=True):
    """What a model is."""

    model_id: str
    model_data: ModelData
    is_lora: bool | None = None
    lora_rank: int | None = None
    model_name: str | None = None
    type: str = "get_info"


class UnloadModelRequest(Body, frozen=True):
    """``POST /api/v1/unload_model``."""

    model_id: str
    type: str = "unload_model"


class UnloadModelResult(Body, frozen=True):
    """A model was given back; some servers do not repeat its id."""

    model_id: str | None = None
    type: str = "unload_model"


class SupportedModel(Body, frozen=True):
    """A base model; every field may be missing."""

    model_name: str | None = None
    max_context_length: int | None = None
    trainable: bool | None = None
    sampleable: bool | None = None


class CapabilitiesReply(Body, frozen=True):
    """``GET /api/v1/get_server_capabilities``."""

    supported_models: list[SupportedModel]
    build: Any = None
    """What the exactness of a resume depends on, an object of texts; of our engine alone, and others may mean another
    thing by the name."""
