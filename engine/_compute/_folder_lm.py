"""A causal language model from a local folder in Hugging Face's layout. Imports transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._base._layout import PROJECTIONS
from tinkex.engine._compute._causal_lm import Lora

_NONE: Final = Lora()


class FolderLM:
    """A ``CausalLM`` of any family that transformers knows by itself; code in the folder is never run.

    Args:
        folder: has ``config.json`` and the weights as safetensors.
        device: where the weights go, in float32.

    Raises:
        OperationFailed: where the folder cannot be read, or has nothing that LoRA can adapt.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self._device: Final = device
        self._lora = _NONE
        self._model: Final = _load(folder).to(device)
        self._model.requires_grad_(requires_grad=False)
        self._model.eval()
        self._projections: Final[dict[str, tuple[int, int]]] = {}
        for path, module in self._model.named_modules():
            if isinstance(module, nn.Linear) and path.rpartition(".")[2] in PROJECTIONS:
                self._projections[path] = (module.out_features, module.in_features)
                module.register_forward_hook(self._adapt(path))
        if not self._projections:
            raise OperationFailed(f"{folder.name} has no projections that LoRA can adapt", "server")

    @property
    def projections(self) -> Mapping[str, tuple[int, int]]:
        """The (out, in) sizes of every module that LoRA can adapt."""
        return self._projections

    def logits(self, tokens: Tensor, lora: Lora) -> Tensor:
        """Turn ``tokens`` [T] int64 into logits [T, vocab] float32."""
        return self._run(lora, input_ids=tokens.unsqueeze(0), use_cache=False)

    def begin(self) -> Any:
        """Return the cache of an empty sequence."""
        from transformers import DynamicCache  # noqa: PLC0415 - loaded with the model

        # Told of the configuration, it would drop what is beyond a sliding window even where a family has none of it.
        return DynamicCache()

    def extend(self, cache: Any, tokens: Tensor, lora: Lora) -> Tensor:
        """Append ``tokens`` [T] int64 to the sequence of ``cache``; return their logits [T, vocab] float32."""
        return self._run(lora, input_ids=tokens.unsqueeze(0), past_key_values=cache, use_cache=True)

    def _run(self, lora: Lora, **inputs: Any) -> Tensor:
        self._lora = lora
        try:
            logits: Tensor = self._model(**inputs).logits
        finally:
            self._lora = _NONE
        return logits.squeeze(0).float()

    def _adapt(self, path: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            pair = self._lora.pairs.get(path)
            if pair is None:
                return output
            a, b = pair
            return torch.add(
                output,
                nn.functional.linear(nn.functional.linear(inputs[0], a), b),
                alpha=self._lora.scale,
            )

        return hook


def _load(folder: Path) -> Any:
    import transformers  # noqa: PLC0415 - takes seconds, and only local folders need it

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        auto: Any = transformers.AutoModelForCausalLM
        return auto.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = str(error).partition("\n")[0]
        raise OperationFailed(f"the base model {folder.name} cannot be loaded: {reason}", "server") from error
