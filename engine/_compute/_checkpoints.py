"""A checkpoint folder: an adapter that PEFT reads, the optimizer's state, and a manifest."""

import zlib
from pathlib import Path
from typing import Any, Final

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._base._layout import LORA_ALPHA, Layout, LoraSpec
from tinkex.engine._compute._adamw import Moments
from tinkex.engine._compute._adapter import Adapter
from tinkex.engine._store._root import Root, write_file

ADAPTER_FILE: Final = "adapter_model.safetensors"
CONFIG_FILE: Final = "adapter_config.json"
OPTIMIZER_FILE: Final = "optimizer.safetensors"
MANIFEST_FILE: Final = "manifest.json"

FORMAT: Final = 1


class TensorRecord(msgspec.Struct, frozen=True):
    """What a tensor's bytes must be."""

    shape: tuple[int, ...]
    crc32: int


class Conditions(msgspec.Struct, frozen=True):
    """What the bits of a computation depend on beside its data."""

    torch_version: str
    cpu: str
    """The instruction set."""
    threads: int
    device: str = "cpu"


def conditions(device: torch.device) -> Conditions:
    """Return the conditions of this process, as its compute thread sees them."""
    name = "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    return Conditions(str(torch.__version__), capability, torch.get_num_threads(), name)


class Manifest(msgspec.Struct, frozen=True):
    """What a checkpoint is, and what must be in its files."""

    path: str
    base_model: str
    lora: LoraSpec
    step: int
    """Optimizer steps taken."""
    has_optimizer: bool
    has_pending_gradients: bool
    seq_id: int
    conditions: Conditions
    files: dict[str, dict[str, TensorRecord]]
    format: int = FORMAT


class Contents(msgspec.Struct, frozen=True):
    """Everything of a checkpoint, read and verified."""

    weights: Tensor
    moments: Moments | None
    pending: Tensor | None
    conditions: Conditions
    """Those under which it was made; going on from it under the same ones gives the same bits."""


def write_checkpoint(
    root: Root, adapter: Adapter, *, path: str, base_model: str, lora: LoraSpec, seq_id: int, optimizer: bool
) -> tuple[Path, int]:
    """Write an adapter into a new folder and commit it; return the folder as it was begun, and its size in bytes.

    Raises:
        OSError: nothing is left behind.
    """
    files = {ADAPTER_FILE: adapter_tensors(adapter)}
    if optimizer:
        files[OPTIMIZER_FILE] = _optimizer_tensors(adapter)
    manifest = Manifest(
        path=path,
        base_model=base_model,
        lora=lora,
        step=adapter.moments.step,
        has_optimizer=optimizer,
        has_pending_gradients=optimizer and adapter.pending,
        seq_id=seq_id,
        conditions=conditions(adapter.weights.device),
        files={file: {name: _record(tensor) for name, tensor in held.items()} for file, held in files.items()},
    )
    written = {file: save(tensors, metadata={"format": "pt"}) for file, tensors in files.items()}
    written[CONFIG_FILE] = msgspec.json.format(msgspec.json.encode(_peft_config(adapter.layout, base_model)))
    written[MANIFEST_FILE] = _written(manifest)
    folder = root.begin()
    try:
        for file, data in written.items():
            write_file(folder / file, data)
        root.commit(folder)
    except BaseException:
        root.discard(folder)
        raise
    return folder, sum(map(len, written.values()))


def read_checkpoint(folder: Path, layout: Layout, *, optimizer: bool) -> Contents:
    """Read a checkpoint made for ``layout``; without ``optimizer`` its moments and pending gradients stay unread.

    Raises:
        OperationFailed: naming the file or tensor that is missing or damaged.
    """
    manifest = read_manifest(folder)
    made = manifest.conditions
    tensors = _read_tensors(folder, ADAPTER_FILE, manifest)
    weights = torch.zeros(layout.size)
    for slot in layout.slots:
        tensor = tensors.get(slot.key)
        if tensor is None or tuple(tensor.shape) != slot.shape:
            raise _damaged(f"tensor {slot.key} is missing or not of shape {list(slot.shape)}")
        slot.of(weights).copy_(tensor)
    if not optimizer:
        return Contents(weights, None, None, made)
    if not manifest.has_optimizer:
        raise OperationFailed("the checkpoint has no optimizer state; load it without")
    state = _read_tensors(folder, OPTIMIZER_FILE, manifest)
    for name in ("exp_avg", "exp_avg_sq", *(("grad",) if manifest.has_pending_gradients else ())):
        if name not in state or state[name].numel() != layout.size:
            raise _damaged(f"tensor {name} is missing or not of {layout.size} values")
    return Contents(weights, Moments(state["exp_avg"], state["exp_avg_sq"], manifest.step), state.get("grad"), made)


def copy_checkpoint(root: Root, source: str, path: str) -> tuple[Path, int]:
    """Copy a checkpoint's folder for another path and commit it; return the new folder as begun, and its bytes.

    Raises:
        OSError: nothing is left behind.
        OperationFailed: where its manifest cannot be read.
    """
    manifest = msgspec.structs.replace(read_manifest(root.checkpoints / source), path=path)
    folder, size = root.begin(), 0
    try:
        for file in sorted((root.checkpoints / source).iterdir()):
            data = _written(manifest) if file.name == MANIFEST_FILE else file.read_bytes()
            write_file(folder / file.name, data)
            size += len(data)
        root.commit(folder)
    except BaseException:
        root.discard(folder)
        raise
    return folder, size


def read_manifest(folder: Path) -> Manifest:
    """Read what a checkpoint is.

    Raises:
        OperationFailed: where that cannot be read, or is of a version that this engine does not know.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST_FILE).read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise _damaged(f"its {MANIFEST_FILE} cannot be read ({type(error).__name__})") from error
    if manifest.format > FORMAT:
        raise OperationFailed(
            f"it was written by a newer engine (format {manifest.format}, this one reads {FORMAT}); use that one",
            "server",
        )
    return manifest


def adapter_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """Return copies of an adapter's weights under PEFT's names."""
    return {slot.key: slot.of(adapter.weights).detach().cpu().clone() for slot in adapter.layout.slots}


def _optimizer_tensors(adapter: Adapter) -> dict[str, Tensor]:
    state = {"exp_avg": adapter.moments.first.cpu(), "exp_avg_sq": adapter.moments.second.cpu()}
    return {**state, "grad": adapter.grad.cpu()} if adapter.pending else state


def _read_tensors(folder: Path, file: str, manifest: Manifest) -> dict[str, Tensor]:
    """Return the tensors that the manifest lists for a file, each checked against its record."""
    try:
        tensors = load((folder / file).read_bytes())
    except (OSError, SafetensorError) as error:
        raise _damaged(f"its {file} cannot be read ({type(error).__name__}: {error})") from error
    for name, record in manifest.files.get(file, {}).items():
        if name not in tensors:
            raise _damaged(f"tensor {name} is missing from its {file}")
        if _record(tensors[name]) != record:
            raise _damaged(f"tensor {name} in its {file} does not have the values that were saved")
    return tensors


def _written(manifest: Manifest) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest))


def _record(tensor: Tensor) -> TensorRecord:
    return TensorRecord(tuple(tensor.shape), zlib.crc32(tensor.contiguous().numpy().data.cast("B")))


def _damaged(what: str) -> OperationFailed:
    return OperationFailed(f"the checkpoint is damaged: {what}; load an older one", "server")


def _peft_config(layout: Layout, base_model: str) -> dict[str, Any]:
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model,
        "r": layout.rank,
        "lora_alpha": LORA_ALPHA,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted({slot.module.rpartition(".")[2] for slot in layout.slots}),
        "inference_mode": True,
    }
