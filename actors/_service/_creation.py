"""A create on its way: what the service client keeps of it, and how its failure is told. Data and pure functions."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._runtime._clock import Timer
from tinkex.actors._runtime._io import IoTask
from tinkex.actors._runtime._waiting import Waiting
from tinkex.actors._training._training_proxy import TrainingClientProxy
from tinkex.protocol import LoraConfig, TinkexError, messages

Create = messages.CreateLoraTrainingClient | messages.CreateTrainingClientFromState
Step = Literal["checkpoint_info", "create_session", "start_client", "create_model", "load_weights"]


class Creation(msgspec.Struct, eq=False):
    """One create, from its message until its client is given away and read, or is gone."""

    service: str
    """The ``actor_urn`` of the service client: several may share a supervisor."""

    number: int
    message: Create
    deferred: Deferred[Any]
    waiting: Waiting
    task: IoTask[Any] | None = None
    timer: Timer | None = None
    client: GenRef[TrainingClientProxy] | None = None
    over: bool = False
    """Answered, well or badly, or given up."""

    forget_owner: Callable[[], None] | None = None

    @property
    def step(self) -> str:
        """The step that it is at."""
        return self.waiting.step or "create_session"

    @property
    def path(self) -> str | None:
        """The checkpoint that it loads, if any."""
        message = self.message
        return message.path if isinstance(message, messages.CreateTrainingClientFromState) else None

    @property
    def name(self) -> str:
        """How errors and Status name it."""
        return creation_name(self.message)

    @property
    def child_id(self) -> str:
        """Its client's id under the supervisor."""
        return f"{self.service}/training-client-{self.number}"

    def at(self, step: Step) -> None:
        """Note that it is at ``step`` now."""
        self.waiting.step = step
        self.waiting.heard("running")

    def explain(self, error: TinkexError) -> TinkexError:
        """Return the error for the caller: path, step and cause."""
        step = error.data.get("step", self.step)
        about = f" from {self.path}" if self.path is not None else ""
        told = TinkexError(
            f"no client was created{about}, at {step}: {error.message}",
            kind=error.kind,
            category=error.category,
            status=error.status,
            retry_after=error.retry_after,
            data={**error.data, "step": step, "cause": error.message, **({"path": self.path} if self.path else {})},
        )
        told.__cause__ = error
        return told


def creation_name(message: Create) -> str:
    """Return how errors and Status name a create."""
    from_state = isinstance(message, messages.CreateTrainingClientFromState)
    return "create_training_client_from_state" if from_state else "create_lora_training_client"


def lora_of(message: Create) -> LoraConfig:
    """Return the adapter that ``message`` asks for; a checkpoint's own is found out on the way."""
    if isinstance(message, messages.CreateTrainingClientFromState):
        return LoraConfig()
    return LoraConfig(
        rank=message.rank,
        seed=message.seed,
        train_mlp=message.train_mlp,
        train_attn=message.train_attn,
        train_unembed=message.train_unembed,
    )
