"""What a training client is asked."""

from collections.abc import Mapping, Sequence
from typing import cast

from msgspec.structs import force_setattr

from tinkex.protocol._check_data import check_data
from tinkex.protocol._checks import check_flag, check_metadata, check_name, check_path, check_ttl, shown
from tinkex.protocol._config import AdamParams
from tinkex.protocol._datum import Datum
from tinkex.protocol._errors import TinkexError, validation
from tinkex.protocol._replies import (
    ForwardBackwardOutput,
    LoadedState,
    ModelInfo,
    OptimStepOutput,
    SavedSamplerWeights,
    SavedState,
    UnloadedModel,
)
from tinkex.protocol._request import Request


class _Pass(Request[ForwardBackwardOutput], frozen=True):
    data: Sequence[Datum]
    loss_fn: str = "cross_entropy"
    loss_fn_config: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        # Copies, so that the sender's later changes do not reach the actor.
        if isinstance(self.data, list):
            force_setattr(self, "data", tuple(self.data))
        if isinstance(self.loss_fn_config, dict):
            force_setattr(self, "loss_fn_config", dict(self.loss_fn_config))

    def check(self) -> TinkexError | None:
        return super().check() or check_data(self.data, self.loss_fn, self.loss_fn_config)


class Forward(_Pass, frozen=True):
    """Compute the loss and each token's logprob; no gradients."""


class ForwardBackward(_Pass, frozen=True):
    """Compute the loss and add its gradients to those that the next ``OptimStep`` uses."""


class OptimStep(Request[OptimStepOutput], frozen=True):
    """Change the weights by the gradients so far, which are used up."""

    adam_params: AdamParams

    def check(self) -> TinkexError | None:
        params = cast("object", self.adam_params)
        if not isinstance(params, AdamParams):
            return super().check() or validation(f"adam_params must be AdamParams, not {shown(params)}")
        return super().check() or params.check()


class SaveState(Request[SavedState], frozen=True):
    """Save weights, optimizer and gradients as a checkpoint that training can go on from."""

    name: str
    ttl_seconds: int | None = None
    """Seconds until the checkpoint expires; None keeps it."""
    overwrite: bool = False
    """Whether a checkpoint of this name is replaced, with its metadata; else it is ``Err(conflict)``."""
    user_metadata: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.user_metadata, dict):
            force_setattr(self, "user_metadata", dict(self.user_metadata))

    def check(self) -> TinkexError | None:
        return (
            super().check()
            or check_name("name", self.name)
            or check_ttl("ttl_seconds", self.ttl_seconds)
            or check_flag("overwrite", self.overwrite)
            or check_metadata("user_metadata", self.user_metadata)
        )


class LoadState(Request[LoadedState], frozen=True):
    """Go on from a checkpoint under the same ref; what is asked after it waits for it."""

    path: str
    optimizer: bool = False
    """Whether the optimizer's state is loaded, too."""
    release_first: bool = False
    """Whether the old model is given back before the load, where the server has no room for both."""

    def check(self) -> TinkexError | None:
        return (
            super().check()
            or check_path("path", self.path, "weights")
            or check_flag("optimizer", self.optimizer)
            or check_flag("release_first", self.release_first)
        )


class SaveWeightsForSampler(Request[SavedSamplerWeights], frozen=True):
    """Save the weights alone, to sample from."""

    name: str
    ttl_seconds: int | None = None

    def check(self) -> TinkexError | None:
        return super().check() or check_name("name", self.name) or check_ttl("ttl_seconds", self.ttl_seconds)


class GetInfo(Request[ModelInfo], frozen=True):
    """Ask the server what the model is."""


class UnloadModel(Request[UnloadedModel], frozen=True):
    """Give the model back to the server."""
