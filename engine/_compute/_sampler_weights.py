"""The weights that samplers read. Lives in the compute thread."""

from typing import Final
from weakref import WeakValueDictionary

from torch import Tensor

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._base._layout import Layout
from tinkex.engine._compute._adapter import Adapter, lora_over
from tinkex.engine._compute._base_models import BaseModels
from tinkex.engine._compute._causal_lm import CausalLM, Lora
from tinkex.engine._compute._checkpoints import read_checkpoint
from tinkex.engine._store._records import CheckpointRow
from tinkex.engine._store._root import Root

_BYTES: Final = 4
"""Of a float32."""


class _Frozen:
    """Weights without gradients."""

    def __init__(self, layout: Layout, weights: Tensor) -> None:
        self.weights: Final = weights
        self.lora: Final = lora_over(layout, weights)


class SamplerWeights:
    """Frozen weights by sampler; those of one checkpoint are held once, however many samplers read them."""

    def __init__(self, root: Root, bases: BaseModels) -> None:
        self._root: Final = root
        self._bases: Final = bases
        self._samplers: dict[str, tuple[BaseModel, _Frozen | None]] = {}
        self._by_folder: WeakValueDictionary[str, _Frozen] = WeakValueDictionary()
        self._in_flight: WeakValueDictionary[str, _Frozen] = WeakValueDictionary()
        """By the model that publishes them."""
        self._failures: dict[str, OperationFailed] = {}
        """Why weights could not be read, by the sampler that was to read them."""

    @property
    def nbytes(self) -> int:
        """Memory of all weights that are held."""
        held = {id(frozen): frozen.weights.numel() for _, frozen in self._samplers.values() if frozen is not None}
        return _BYTES * sum(held.values())

    def open_base(self, sampler_id: str, base: BaseModel) -> None:
        """Let a sampler read a base model alone."""
        self._samplers[sampler_id] = base, None

    def open_checkpoint(self, sampler_id: str, base: BaseModel, row: CheckpointRow) -> None:
        """Let a sampler read a checkpoint, which is not needed any more afterwards.

        Raises:
            OperationFailed: where it cannot be read.
        """
        try:
            frozen = self._by_folder.get(row.folder) or self._read(base, row)
        except OperationFailed as failed:
            self._failures[sampler_id] = OperationFailed(f"{row.path} was not read: {failed.message}", failed.category)
            raise
        self._samplers[sampler_id] = base, frozen

    def _read(self, base: BaseModel, row: CheckpointRow) -> _Frozen:
        layout = Layout.of(self._bases.get(base).projections, row.lora)
        contents = read_checkpoint(self._root.checkpoints / row.folder, layout, optimizer=False)
        frozen = self._by_folder[row.folder] = _Frozen(layout, contents.weights.to(self._bases.device))
        return frozen

    def freeze(self, sampler_id: str, base: BaseModel, adapter: Adapter) -> None:
        """Let a sampler read what a model's weights are now."""
        self._samplers[sampler_id] = base, _Frozen(adapter.layout, adapter.weights.detach().clone())

    def publish(self, sampler_id: str, model_id: str, base: BaseModel, adapter: Adapter) -> None:
        """Let a sampler read a model's published weights, which become what its weights are now, for all that do."""
        frozen = self._in_flight.get(model_id)
        if frozen is None:
            frozen = self._in_flight[model_id] = _Frozen(adapter.layout, adapter.weights.detach().clone())
        else:
            frozen.weights.copy_(adapter.weights.detach())
        self._samplers[sampler_id] = base, frozen

    def get(self, sampler_id: str) -> tuple[CausalLM, Lora]:
        """Return what a sampler reads.

        Raises:
            OperationFailed: where it has ended, or its weights could not be read.
        """
        found = self._samplers.get(sampler_id)
        if found is None:
            raise self._failures.get(sampler_id, OperationFailed(f"sampling session {sampler_id} has ended"))
        base, frozen = found
        return self._bases.get(base), Lora() if frozen is None else frozen.lora

    def drop(self, sampler_id: str) -> None:
        """Forget a sampler, if it is there."""
        self._samplers.pop(sampler_id, None)
        self._failures.pop(sampler_id, None)
