"""What the compute thread holds: loaded base models and the adapters of all models. Imports torch."""

import ctypes
import os
import signal
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
import torch

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._base._fault_plan import FaultPlan
from tinkex.engine._base._layout import Layout, LoraSpec
from tinkex.engine._compute._adapter import Adapter
from tinkex.engine._compute._base_models import BaseModels
from tinkex.engine._compute._causal_lm import CausalLM
from tinkex.engine._compute._checkpoints import conditions, read_checkpoint, write_checkpoint
from tinkex.engine._compute._examples import to_example, to_wire
from tinkex.engine._compute._sampler_weights import SamplerWeights
from tinkex.engine._compute._sampling import SampleOrder, Sampling
from tinkex.engine._store._records import CheckpointRow
from tinkex.engine._store._root import Root
from tinkex.engine._store._store import Store
from tinkex.protocol import AdamParams, Datum, wire

log = structlog.get_logger("tinkex.engine")

_LARGE_PASS: Final = 16_384
"""Tokens after which freed memory is given back to the system."""


@dataclass
class _Model:
    base: BaseModel
    lora: LoraSpec
    causal_lm: CausalLM
    adapter: Adapter
    poison: str | None = None


class Compute:
    """All weights of one engine, and what is done with them. Every method runs in the compute thread.

    Raises:
        OperationFailed: everywhere, for what the asker is told as a failed future.
    """

    def __init__(self, root: Root, store: Store, device: str, threads: int, faults: FaultPlan | None = None) -> None:
        torch.set_num_threads(threads)
        self.conditions: Final = conditions(torch.device(device))
        self._root: Final = root
        self._store: Final = store
        self._faults: Final = faults
        self._bases: Final = BaseModels(device)
        self.samplers: Final = SamplerWeights(root, self._bases)
        self._models: dict[str, _Model] = {}
        self.adapter_bytes = 0
        """Memory of all adapters with their gradients and moments."""

    def warm_up(self, base: BaseModel) -> None:
        """Load a base model before anybody waits for it."""
        self._bases.get(base)

    def create(self, model_id: str, base: BaseModel, lora: LoraSpec) -> None:
        """Make a model with a fresh adapter."""
        causal_lm = self._bases.get(base)
        layout = Layout.of(causal_lm.projections, lora)
        self._models[model_id] = _Model(base, lora, causal_lm, Adapter(layout, lora.seed, self._bases.device))
        self.adapter_bytes += layout.nbytes

    def drop(self, model_id: str) -> None:
        """Free a model, if it is there."""
        model = self._models.pop(model_id, None)
        if model is not None:
            self.adapter_bytes -= model.adapter.layout.nbytes
            del model
            _give_memory_back()

    def poison(self, model_id: str, reason: str) -> None:
        """Refuse every later step and save of a model; the first reason stays."""
        model = self._models.get(model_id)
        if model is not None and model.poison is None:
            model.poison = reason

    def run(
        self, model_id: str, data: list[Datum], loss_fn: str, config: Mapping[str, float], *, backward: bool
    ) -> wire.ForwardBackwardResult:
        """Pass over checked data."""
        model = self._model(model_id)
        examples = [to_example(datum, self._bases.device) for datum in data]
        logprobs, total = model.adapter.run(model.causal_lm, examples, loss_fn, config, backward=backward)
        if sum(example.tokens.numel() for example in examples) >= _LARGE_PASS:
            _give_memory_back()
        return wire.ForwardBackwardResult(
            loss_fn_output_type="TorchLossReturn",
            loss_fn_outputs=[{"logprobs": to_wire(values)} for values in logprobs],
            metrics={"loss:sum": total},
        )

    def step(self, model_id: str, params: AdamParams) -> wire.OptimStepResult:
        """Take an optimizer step."""
        adapter = self._sound_model(model_id).adapter
        norm = adapter.step(params)
        return wire.OptimStepResult(metrics={"grad_norm:max": norm, "step:max": float(adapter.moments.step)})

    def save(self, row: CheckpointRow, now: float, ttl_seconds: int | None, *, overwrite: bool) -> CheckpointRow:
        """Write a model's checkpoint as ``row`` describes it; return the row, what is known only then filled in."""
        model = self._sound_model(row.run_id)
        if not overwrite and self._store.checkpoints.get(row.path, now) is not None:
            raise OperationFailed(
                f"checkpoint {row.path} already exists; save under another name, or overwrite it", code="exists"
            )
        try:
            folder, size = write_checkpoint(
                self._root,
                model.adapter,
                path=row.path,
                base_model=model.base.name,
                lora=model.lora,
                seq_id=row.seq_id,
                optimizer=row.has_optimizer,
            )
        except OSError as error:
            raise OperationFailed(f"{row.path} was not saved: {error.strerror or error}", "server") from error
        if self._faults is not None and self._faults.hit("crash_in_save", row.kind):
            os.kill(os.getpid(), signal.SIGKILL)
        placed = row.placed(folder.name, size, now, ttl_seconds)
        try:
            replaced = self._store.checkpoints.put(placed)
        except sqlite3.Error as error:
            self._root.discard(folder)
            raise OperationFailed(f"{row.path} was not saved: the database says: {error}", "server") from error
        if replaced is not None:
            self._root.remove(replaced)
        return placed

    def freeze(self, model_id: str, sampler_id: str, *, in_flight: bool) -> None:
        """Let a sampler read a model's weights as they are now, or as they are published from now on."""
        model = self._sound_model(model_id)
        if in_flight:
            self.samplers.publish(sampler_id, model_id, model.base, model.adapter)
        else:
            self.samplers.freeze(sampler_id, model.base, model.adapter)

    def sample(self, sampler_id: str, order: SampleOrder) -> Sampling:
        """Begin to sample."""
        causal_lm, lora = self.samplers.get(sampler_id)
        return Sampling(order, causal_lm, lora, self._bases.device)

    def load(self, model_id: str, path: str, now: float, *, optimizer: bool) -> None:
        """Replace a model's weights by a checkpoint's, with its optimizer and pending gradients or fresh ones."""
        model = self._model(model_id)
        row = self._store.checkpoints.get(path, now)
        if row is None:
            raise OperationFailed(f"{path} was deleted or expired before it could be loaded")
        try:
            contents = read_checkpoint(self._root.checkpoints / row.folder, model.adapter.layout, optimizer=optimizer)
        except OperationFailed as failed:
            raise OperationFailed(f"{path} was not loaded: {failed.message}", failed.category) from failed
        if contents.conditions != conditions(model.adapter.weights.device):
            log.warning("loaded under other conditions than saved: the same bits are not promised", path=path)
        model.adapter.restore(contents.weights, contents.moments, contents.pending)

    def _model(self, model_id: str) -> _Model:
        model = self._models.get(model_id)
        if model is None:
            raise OperationFailed(f"model {model_id} has no weights: it was not made, or was unloaded", "server")
        return model

    def _sound_model(self, model_id: str) -> _Model:
        model = self._model(model_id)
        if model.poison is not None:
            raise OperationFailed(
                f"model {model_id} cannot be stepped or saved any more, because {model.poison}; "
                "load its last checkpoint into a new model"
            )
        return model


def _give_memory_back() -> None:
    """Return freed memory to the system; glibc keeps it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
