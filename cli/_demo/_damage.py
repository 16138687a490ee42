"""A checkpoint that fails to load: one tensor is taken out of its file, as a bad disk would."""

import json
from pathlib import Path
from typing import Any

from safetensors import numpy as safetensors_numpy


def remove_a_tensor(root: Path, path: str) -> None:
    """Take a tensor out of the weights of the checkpoint ``path`` in the engine folder ``root``."""
    for manifest in root.rglob("manifest.json"):
        if json.loads(manifest.read_bytes())["path"] == path:
            weights = manifest.with_name("adapter_model.safetensors")
            files: Any = safetensors_numpy  # Any: its annotations are unfinished
            tensors = files.load_file(weights)
            tensors.pop(min(tensors))
            files.save_file(tensors, weights)
            return
    raise FileNotFoundError(f"no checkpoint {path} below {root}")
