"""What an ``ActorProxy`` of a service client looks like to a type checker; never instantiated."""

from collections.abc import Mapping
from typing import Protocol

from tinkex.actors._genserver._reply import Reply
from tinkex.actors._training._training_proxy import TrainingClientRef
from tinkex.protocol.replies import (
    ActorStatus,
    CheckpointInfo,
    CheckpointList,
    CheckpointTtl,
    DeletedCheckpoint,
    FinishedSession,
    LeakReport,
    ServerCapabilities,
    TrainingRunInfo,
)


class ServiceClientProxy(Protocol):
    """The methods of a ``ServiceClient``, each returning a ``Reply`` at once. See ``tinkex.protocol.messages``."""

    def create_lora_training_client(
        self,
        base_model: str,
        rank: int = 32,
        seed: int | None = None,
        train_mlp: bool = True,
        train_attn: bool = True,
        train_unembed: bool = True,
        user_metadata: Mapping[str, str] | None = None,
        *,
        owner: str | None = None,
        await_timeout: float | None = None,
    ) -> Reply[TrainingClientRef]:
        """Create a client for a fresh adapter of ``base_model``."""
        ...

    def create_training_client_from_state(
        self,
        path: str,
        *,
        base_model: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        weights_access_token: str | None = None,
        owner: str | None = None,
        await_timeout: float | None = None,
    ) -> Reply[TrainingClientRef]:
        """Create a client with a checkpoint's weights and a fresh optimizer."""
        ...

    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        *,
        base_model: str | None = None,
        user_metadata: Mapping[str, str] | None = None,
        weights_access_token: str | None = None,
        owner: str | None = None,
        await_timeout: float | None = None,
    ) -> Reply[TrainingClientRef]:
        """Create a client with a checkpoint's weights and optimizer."""
        ...

    def get_server_capabilities(self, *, await_timeout: float | None = None) -> Reply[ServerCapabilities]:
        """List the base models of the server."""
        ...

    def get_checkpoint_info(self, path: str, *, await_timeout: float | None = None) -> Reply[CheckpointInfo]:
        """Say what a checkpoint was made from."""
        ...

    def list_checkpoints(
        self, run_id: str | None = None, *, await_timeout: float | None = None
    ) -> Reply[CheckpointList]:
        """List the checkpoints of one run, or all of the user's."""
        ...

    def delete_checkpoint(self, path: str, *, await_timeout: float | None = None) -> Reply[DeletedCheckpoint]:
        """Delete a checkpoint."""
        ...

    def set_checkpoint_ttl(
        self, path: str, ttl_seconds: int | None, *, await_timeout: float | None = None
    ) -> Reply[CheckpointTtl]:
        """Let a checkpoint expire, or never for None."""
        ...

    def get_training_run(self, run_id: str, *, await_timeout: float | None = None) -> Reply[TrainingRunInfo]:
        """Say how a training run is."""
        ...

    def finish_session(
        self, session_id: str, detail: str | None = None, *, await_timeout: float | None = None
    ) -> Reply[FinishedSession]:
        """End a session on the server, whoever began it."""
        ...

    def leaks(self) -> Reply[LeakReport]:
        """List what could not be released."""
        ...

    def status(self) -> Reply[ActorStatus]:
        """Say what is going on, without asking the server."""
        ...
