"""The base models below ``--models DIR``: what their ``config.json`` says, without loading them."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import structlog

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import EngineError

log = structlog.get_logger("tinkex.engine")

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_DEFAULT_CONTEXT: Final = 2048


class ModelConfig(msgspec.Struct):
    """What is read of a ``config.json`` in Hugging Face's layout."""

    model_type: str
    vocab_size: int | None = None
    max_position_embeddings: int | None = None
    eos_token_id: int | list[int] | None = None
    architectures: list[str] | None = None
    auto_map: dict[str, Any] | None = None
    text_config: dict[str, Any] | None = None


def scan(folder: Path) -> list[BaseModel]:
    """Return the base models in the folders directly below ``folder``, by name; others are passed over with a warning.

    Raises:
        EngineError: where ``folder`` is none, or cannot be read.
    """
    try:
        below = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise EngineError(f"--models {folder} cannot be read: {error.strerror}") from error
    found: list[BaseModel] = []
    for entry in below:
        try:
            found.append(read_folder(entry))
        except EngineError as error:
            log.warning("no base model", folder=entry.name, reason=str(error))
    if found and find_spec("transformers") is None:
        raise EngineError("--models needs the transformers package; install 'tinkex[models]'")
    return found


def read_folder(folder: Path) -> BaseModel:
    """Read what a folder says of its model.

    Raises:
        EngineError: one sentence that says why it is no base model.
    """
    if not _NAME.fullmatch(folder.name):
        raise EngineError("its name is not made of letters, digits, dots, hyphens and underscores")
    if not any(folder.glob("*.safetensors")):
        raise EngineError("it has no *.safetensors file")
    config = _read(folder / "config.json")
    if config.auto_map is not None:
        raise EngineError("it brings code of its own (auto_map), which is never run")
    if not any(name.endswith("ForCausalLM") for name in config.architectures or ["ForCausalLM"]):
        raise EngineError(f"it is no causal language model but {', '.join(config.architectures or [])}")
    if config.vocab_size is None:
        raise EngineError("its config.json has no vocab_size")
    eos = config.eos_token_id
    return BaseModel(
        name=folder.name,
        arch=config.model_type,
        vocab_size=config.vocab_size,
        max_context_length=config.max_position_embeddings or _DEFAULT_CONTEXT,
        eos_tokens=frozenset([] if eos is None else [eos] if isinstance(eos, int) else eos),
        folder=folder,
    )


def _read(file: Path) -> ModelConfig:
    try:
        raw = msgspec.json.decode(file.read_bytes())
        if isinstance(raw, dict):
            # Models for several media keep the sizes of their language part one level below.
            fields = cast("dict[str, Any]", raw)
            raw = {**cast("dict[str, Any]", fields.get("text_config") or {}), **fields}
        return msgspec.convert(raw, ModelConfig)
    except OSError as error:
        raise EngineError(f"its config.json cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise EngineError(f"its config.json cannot be read: {error}") from error
