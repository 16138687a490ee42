"""What an ``ActorProxy`` of a training client looks like to a type checker; never instantiated."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import pykka

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Reply
from tinkex.protocol import AdamParams, Datum, Err
from tinkex.protocol.replies import (
    ActorStatus,
    ForwardBackwardOutput,
    LoadedState,
    ModelInfo,
    OptimStepOutput,
    SavedSamplerWeights,
    SavedState,
    UnloadedModel,
)


class TrainingClientProxy(Protocol):
    """The methods of a ``TrainingClient``, each returning a ``Reply`` at once. See ``tinkex.protocol.messages``."""

    @property
    def model_id(self) -> pykka.Future[str | Err]:
        """The model's id on the server, as a future of the text itself."""
        ...

    def forward(
        self,
        data: Sequence[Datum],
        loss_fn: str = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
        *,
        await_timeout: float | None = None,
    ) -> Reply[ForwardBackwardOutput]:
        """Run a forward pass without touching gradients."""
        ...

    def forward_backward(
        self,
        data: Sequence[Datum],
        loss_fn: str = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
        *,
        await_timeout: float | None = None,
    ) -> Reply[ForwardBackwardOutput]:
        """Run a forward pass and add its gradients to those pending."""
        ...

    def optim_step(self, adam_params: AdamParams, *, await_timeout: float | None = None) -> Reply[OptimStepOutput]:
        """Apply the pending gradients and clear them."""
        ...

    def save_state(
        self,
        name: str,
        ttl_seconds: int | None = None,
        overwrite: bool = False,
        user_metadata: Mapping[str, str] | None = None,
        *,
        await_timeout: float | None = None,
    ) -> Reply[SavedState]:
        """Save weights and optimizer under ``name``."""
        ...

    def load_state(self, path: str, *, await_timeout: float | None = None) -> Reply[LoadedState]:
        """Load the weights of a checkpoint; the optimizer starts fresh."""
        ...

    def load_state_with_optimizer(self, path: str, *, await_timeout: float | None = None) -> Reply[LoadedState]:
        """Load the weights and the optimizer of a checkpoint."""
        ...

    def save_weights_for_sampler(
        self, name: str, ttl_seconds: int | None = None, *, await_timeout: float | None = None
    ) -> Reply[SavedSamplerWeights]:
        """Save the weights for sampling under ``name``."""
        ...

    def get_info(self, *, await_timeout: float | None = None) -> Reply[ModelInfo]:
        """Ask the server what the model is."""
        ...

    def unload_model(self, *, await_timeout: float | None = None) -> Reply[UnloadedModel]:
        """Give the model back to the server."""
        ...

    def status(self) -> Reply[ActorStatus]:
        """Say what is going on, without asking the server."""
        ...


TrainingClientRef = GenRef[TrainingClientProxy]
