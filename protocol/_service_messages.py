"""What a service client is asked."""

from typing import Any

from msgspec.structs import force_setattr

from tinkex.protocol._checks import check_flag, check_metadata, check_optional, check_path, check_text, check_ttl
from tinkex.protocol._config import LoraConfig
from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._path import TinkerPath
from tinkex.protocol._replies import (
    CheckpointInfo,
    CheckpointList,
    CheckpointTtl,
    DeletedCheckpoint,
    FinishedSession,
    ServerCapabilities,
    TrainingRunInfo,
)
from tinkex.protocol._request import Request


class CreateLoraTrainingClient(Request[Any], frozen=True):
    """Make a training client with a new LoRA adapter; answered with its ref."""

    base_model: str
    rank: int = 32
    seed: int | None = None
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True
    user_metadata: dict[str, str] | None = None
    owner: str | None = None
    """``actor_urn`` of the actor whose end also ends the client."""

    def __post_init__(self) -> None:
        _own_metadata(self)

    @property
    def lora_config(self) -> LoraConfig:
        """The fields that describe the adapter."""
        return LoraConfig(self.rank, self.seed, self.train_mlp, self.train_attn, self.train_unembed)

    def check(self) -> TinkexError | None:
        return (
            super().check()
            or check_text("base_model", self.base_model)
            or self.lora_config.check()
            or check_metadata("user_metadata", self.user_metadata)
            or check_optional(check_text, "owner", self.owner)
        )


class CreateTrainingClientFromState(Request[Any], frozen=True):
    """Make a training client that goes on from a checkpoint; answered with its ref once the weights are loaded."""

    path: str
    optimizer: bool = False
    """Whether the optimizer's state is loaded, too."""
    base_model: str | None = None
    """None takes the base model that the checkpoint names."""
    user_metadata: dict[str, str] | None = None
    weights_access_token: str | None = None
    """Another account's leave to read the checkpoint; never printed."""
    owner: str | None = None
    """``actor_urn`` of the actor whose end also ends the client."""

    def __post_init__(self) -> None:
        _own_metadata(self)

    def check(self) -> TinkexError | None:
        return (
            super().check()
            or check_path("path", self.path, "weights")
            or check_flag("optimizer", self.optimizer)
            or check_optional(check_text, "base_model", self.base_model)
            or check_metadata("user_metadata", self.user_metadata)
            or check_optional(_check_token, "weights_access_token", self.weights_access_token)
            or check_optional(check_text, "owner", self.owner)
        )

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={_masked(name, getattr(self, name))}" for name in self.__struct_fields__)
        return f"{type(self).__name__}({shown})"


class GetServerCapabilities(Request[ServerCapabilities], frozen=True):
    """Ask which models the server trains."""


class GetCheckpointInfo(Request[CheckpointInfo], frozen=True):
    """Ask what a checkpoint was made from."""

    path: str

    def check(self) -> TinkexError | None:
        return super().check() or check_path("path", self.path)


class ListCheckpoints(Request[CheckpointList], frozen=True):
    """List the checkpoints of one training run, or of all."""

    run_id: str | None = None

    def check(self) -> TinkexError | None:
        return super().check() or check_optional(_check_run, "run_id", self.run_id)


class GetTrainingRun(Request[TrainingRunInfo], frozen=True):
    """Ask how a training run is, by the id of its model."""

    run_id: str

    def check(self) -> TinkexError | None:
        return super().check() or _check_run("run_id", self.run_id)


class DeleteCheckpoint(Request[DeletedCheckpoint], frozen=True):
    """Delete a checkpoint for good."""

    path: str

    def check(self) -> TinkexError | None:
        return super().check() or check_path("path", self.path)


class SetCheckpointTtl(Request[CheckpointTtl], frozen=True):
    """Let a checkpoint expire ``ttl_seconds`` from now, or never where that is None."""

    path: str
    ttl_seconds: int | None

    def check(self) -> TinkexError | None:
        return super().check() or check_path("path", self.path) or check_ttl("ttl_seconds", self.ttl_seconds)


class FinishSession(Request[FinishedSession], frozen=True):
    """End a session on the server, whoever began it: its models go, and its user gets ``session_lost``."""

    session_id: str
    detail: str | None = None
    """Why, for the server's records."""

    def check(self) -> TinkexError | None:
        return (
            super().check()
            or check_text("session_id", self.session_id)
            or check_optional(check_text, "detail", self.detail)
        )


def _own_metadata(message: CreateLoraTrainingClient | CreateTrainingClientFromState) -> None:
    """Take a copy, so that the sender's later changes do not reach the actor."""
    if isinstance(message.user_metadata, dict):
        force_setattr(message, "user_metadata", dict(message.user_metadata))


def _check_run(field: str, value: object) -> TinkexError | None:
    error = check_text(field, value)
    if error is not None:
        return error
    try:
        TinkerPath(str(value), "weights", "any")
    except TinkexError as wrong:
        return validation(f"{field}: {wrong.message}", field=field)
    return None


def _check_token(field: str, value: object) -> TinkexError | None:
    if isinstance(value, str) and value and value.isascii() and value.isprintable():
        return None
    return validation(f"{field} must be the text of a token", field=field)


def _masked(name: str, value: object) -> str:
    return "***" if name == "weights_access_token" and value is not None else repr(value)
