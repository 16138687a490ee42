"""What actors answer, inside ``Ok``."""

from typing import Literal

import msgspec

from tinkex.protocol._run_status import RunStatus
from tinkex.protocol._tensor import TensorData


class SavedState(msgspec.Struct, frozen=True):
    """A checkpoint was saved."""

    path: str
    """``tinker://<run>/weights/<name>``."""


class LoadedState(msgspec.Struct, frozen=True):
    """A checkpoint was loaded."""

    path: str
    model_id: str
    """The model on the server that now stands behind the client."""


class SavedSamplerWeights(msgspec.Struct, frozen=True):
    """Weights were saved to sample from; exactly one of the fields is set."""

    path: str | None = None
    sampling_session_id: str | None = None


class ForwardBackwardOutput(msgspec.Struct, frozen=True):
    """What a forward or backward pass computed."""

    loss_fn_output_type: str
    loss_fn_outputs: list[dict[str, TensorData]]
    """One per datum, in the order of the data; ``logprobs`` at least."""
    metrics: dict[str, float]
    """``name:rule`` to a number, such as ``loss:sum``."""


class OptimStepOutput(msgspec.Struct, frozen=True):
    """A step was taken."""

    metrics: dict[str, float] = {}


class ModelInfo(msgspec.Struct, frozen=True):
    """What a model is."""

    model_id: str
    base_model: str | None = None
    is_lora: bool | None = None
    lora_rank: int | None = None
    tokenizer_id: str | None = None
    arch: str | None = None


class UnloadedModel(msgspec.Struct, frozen=True):
    """A model was given back."""

    model_id: str


class SupportedModel(msgspec.Struct, frozen=True):
    """A base model that the server has."""

    model_name: str
    max_context_length: int | None = None
    """In tokens."""


class ServerCapabilities(msgspec.Struct, frozen=True):
    """What the server can do."""

    supported_models: list[SupportedModel]
    build: dict[str, str] | None = None
    """What the bits of its results depend on, such as versions, threads and device; None where it does not tell."""


class CheckpointInfo(msgspec.Struct, frozen=True):
    """What a checkpoint was made from."""

    path: str
    base_model: str
    is_lora: bool
    lora_rank: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint as the server lists it."""

    tinker_path: str
    checkpoint_id: str
    """``<kind>/<name>``, unique within its run."""
    checkpoint_type: str
    """``training``, ``sampler`` or ``external``."""
    time: str
    """When it was made: RFC 3339."""
    size_bytes: int | None = None
    expires_at: str | None = None
    """RFC 3339; None is never."""
    user_metadata: dict[str, str] | None = None
    public: bool = False


class CheckpointList(msgspec.Struct, frozen=True):
    """Checkpoints, in the server's order."""

    checkpoints: list[Checkpoint]


class FinishedSession(msgspec.Struct, frozen=True):
    """A session was ended; whoever used it gets ``session_lost``."""

    session_id: str
    finished: bool
    """False where the server cannot finish sessions, which leaves this one to expire, or has none of this id."""


class TrainingRunInfo(msgspec.Struct, frozen=True):
    """A training run as the server knows it."""

    run_id: str
    base_model: str | None = None
    corrupted: bool = False
    """Whether the server has lost its weights."""
    last_checkpoint: str | None = None
    """Path of the newest training checkpoint."""


class DeletedCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint was deleted."""

    path: str


class CheckpointTtl(msgspec.Struct, frozen=True):
    """A checkpoint expires in ``ttl_seconds``, or never where that is None."""

    path: str
    ttl_seconds: int | None = None


class LeaseReport(msgspec.Struct, frozen=True):
    """A model or session on a server that nobody here uses any more."""

    model_id: str | None
    session_id: str | None
    state: str
    """``releasing`` while it is being given back, ``expiring`` where the server must time it out, ``left`` where a
    process that is gone left it on another server than this client's."""

    since: float
    """Epoch seconds."""
    reason: str


class LeakReport(msgspec.Struct, frozen=True):
    """What may still be held on servers."""

    leases: list[LeaseReport]


class OperationStatus(msgspec.Struct, frozen=True):
    """One request that is not answered yet."""

    name: str
    state: str
    """What it waits for: ``queued`` (its turn), ``sending``, ``running`` (its result), ``paused_capacity``,
    ``paused_rate_limit`` or ``paused_billing`` (the server has said so), ``backing_off`` (a repeat), ``circuit_open``
    (the server has failed too often), ``suspect`` (its client sends nothing more)."""
    seq_id: int | None = None
    since: float | None = None
    """Epoch seconds since when it is in this state."""
    request_id: str | None = None
    reason: str | None = None
    """Why: the server's own words, or what went wrong."""
    step: str | None = None
    """Of an operation of several: the one that it is at."""
    asked: float | None = None
    """Epoch seconds of the call."""
    worked: float = 0.0
    """Seconds of work; pauses by the server and waiting behind others are none."""
    allowed: float | None = None
    """Seconds of work after which it counts as overdue, which ends nothing."""
    overdue: bool = False


class ActorStatus(msgspec.Struct, frozen=True):
    """What an actor is doing."""

    actor: str
    """Its ``actor_urn``."""
    state: str
    session_id: str | None = None
    model_id: str | None = None
    next_seq_id: int | None = None
    operations: list[OperationStatus] = []
    run: RunStatus | None = None
    """Of a trainer: its run."""


class ChildInfo(msgspec.Struct, frozen=True):
    """A child of a supervisor."""

    id: str
    actor_urn: str | None
    """None while it is not running."""
    actor_class: str
    restart: Literal["permanent", "transient", "temporary"]
    alive: bool
    restarts: int = 0
    last_reason: Literal["normal", "shutdown", "killed", "crashed"] | None = None
    """How its actor ended the last time; None if it never has."""


class ChildList(msgspec.Struct, frozen=True):
    """The children of a supervisor, in the order of their start."""

    children: list[ChildInfo]


class ChildCounts(msgspec.Struct, frozen=True):
    """How many children a supervisor has."""

    specs: int
    active: int
    supervisors: int
    workers: int


class ChildStopped(msgspec.Struct, frozen=True):
    """A child was stopped."""

    id: str
