"""Forward and backward passes, optimizer steps."""

from collections.abc import Mapping
from typing import Any

from msgspec import field

from tinkex.protocol._config import AdamParams
from tinkex.protocol._datum import Datum
from tinkex.protocol._tensor import TensorData
from tinkex.protocol.wire._base import Body


class ForwardBackwardInput(Body, frozen=True):
    """What a pass computes."""

    data: list[Datum]
    loss_fn: str
    loss_fn_config: Mapping[str, float | str] | None = None


class Numbered(Body, frozen=True):
    """What all numbered requests of a model have, to be read where the rest cannot be."""

    model_id: str
    seq_id: int


class ForwardRequest(Body, frozen=True):
    """``POST /api/v1/forward``."""

    forward_input: ForwardBackwardInput
    model_id: str
    seq_id: int


class ForwardBackwardRequest(Body, frozen=True):
    """``POST /api/v1/forward_backward``."""

    forward_backward_input: ForwardBackwardInput
    model_id: str
    seq_id: int


class ForwardBackwardResult(Body, frozen=True):
    """What a pass computed. Metrics that are not finite travel as strings, as in tensors."""

    loss_fn_output_type: str
    loss_fn_outputs: list[dict[str, TensorData]]
    metrics: dict[str, float] = field(default_factory=dict[str, float])


class OptimStepRequest(Body, frozen=True):
    """``POST /api/v1/optim_step``; ``optimizer_params`` is for optimizers other than AdamW."""

    model_id: str
    seq_id: int
    adam_params: AdamParams = field(default_factory=AdamParams)
    optimizer_params: dict[str, Any] | None = None
    type: str = "optim_step"


class OptimStepResult(Body, frozen=True):
    """A step was taken."""

    metrics: dict[str, float] | None = None
    type: str = "optim_step"
