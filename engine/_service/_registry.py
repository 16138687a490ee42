"""The models that this process has made. Lives on the event loop."""

from dataclasses import dataclass

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import Refusal
from tinkex.engine._base._layout import LoraSpec
from tinkex.engine._service._executor import Job
from tinkex.engine._service._sequencer import Sequencer
from tinkex.engine._store._records import ModelRow
from tinkex.protocol import wire


@dataclass
class Model:
    """One model, from its creation to its unloading and, for repeats of its requests, beyond."""

    model_id: str
    session_id: str
    owner: str
    base: BaseModel
    lora: LoraSpec
    sequencer: Sequencer[Job]
    last_request: float
    """Wall-clock seconds."""
    unloading: wire.UntypedFuture | None = None
    """The answer to its unloading, once that was asked for."""


class Models:
    """The live models by id."""

    def __init__(self) -> None:
        self._live: dict[str, Model] = {}

    def __len__(self) -> int:
        return len(self._live)

    def add(self, model: Model) -> None:
        """Know a model."""
        self._live[model.model_id] = model

    def find(self, model_id: str) -> Model | None:
        """Return a live model."""
        return self._live.get(model_id)

    def all(self) -> list[Model]:
        """Return all live models."""
        return list(self._live.values())

    def of_session(self, session_id: str) -> list[Model]:
        """Return a session's live models."""
        return [model for model in self._live.values() if model.session_id == session_id]

    def remove(self, model_id: str) -> None:
        """Forget a model."""
        self._live.pop(model_id, None)


def gone(model_id: str, row: ModelRow | None, last_checkpoint: str | None) -> Refusal:
    """Build the answer to a request to a model that is not live; ``row`` is what the store knows of it."""
    if row is None:
        return Refusal(404, f"unknown model {model_id!r}")
    if row.state == "lost":
        way_out = f"load {last_checkpoint}" if last_checkpoint else "it has no checkpoint: start again"
        return Refusal(410, f"the weights of model {model_id} were lost when the server stopped; {way_out}")
    return Refusal(410, f"model {model_id} was unloaded; create a new one, or load one of its checkpoints")
