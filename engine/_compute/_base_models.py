"""The base models that are loaded. Imports torch; transformers only where a folder is loaded."""

import os
from typing import Final, Literal

import torch

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import EngineError
from tinkex.engine._compute._causal_lm import CausalLM
from tinkex.engine._compute._model import Decoder

Device = Literal["auto", "cpu", "cuda"]


class BaseModels:
    """Loads each base model once, when it is first needed, and keeps it. Lives in the compute thread."""

    def __init__(self, device: str) -> None:
        self.device: Final = device
        self._loaded: dict[str, CausalLM] = {}

    def get(self, base: BaseModel) -> CausalLM:
        """Return a loaded base model.

        Raises:
            OperationFailed: where its folder cannot be loaded.
        """
        loaded = self._loaded.get(base.name)
        if loaded is None:
            loaded = self._loaded[base.name] = self._load(base)
        return loaded

    def _load(self, base: BaseModel) -> CausalLM:
        if base.folder is not None:
            from tinkex.engine._compute._folder_lm import FolderLM  # noqa: PLC0415 - transformers, which takes seconds

            return FolderLM(base.folder, self.device)
        assert base.config is not None
        return Decoder(base.config, self.device)


def choose_device(wanted: Device) -> str:
    """Return the device to compute on, made deterministic.

    Raises:
        EngineError: where CUDA is asked for and there is none.
    """
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        raise EngineError("there is no CUDA device that this build of PyTorch can use; say --device cpu")
    # Both are read when CUDA starts to work; without them the order of its sums changes from run to run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True)
    torch.backends.cuda.enable_flash_sdp(enabled=False)
    torch.backends.cuda.enable_mem_efficient_sdp(enabled=False)
    return "cuda"
