"""Tokens to text, for stop strings."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import Refusal
from tinkex.engine._base._stops import Decode

TOKENIZER_FILE: Final = "tokenizer.json"
_BYTES: Final = range(256)


def decoder_of(base: BaseModel) -> Decode:
    """Return what turns a base model's tokens into text.

    Raises:
        Refusal: 400 where the model has no tokenizer.
    """
    if base.folder is None:
        return bytes_to_text
    file = base.folder / TOKENIZER_FILE
    if not file.is_file():
        raise Refusal(400, f"stop strings need a {TOKENIZER_FILE}, which {base.name} lacks; give stop tokens instead")
    tokenizer = _tokenizer(file)
    return lambda tokens: str(tokenizer.decode(list(tokens), skip_special_tokens=False))


def bytes_to_text(tokens: Sequence[int]) -> str:
    """Read the built-in model's tokens as UTF-8; those that are no bytes stand for nothing."""
    return bytes(token for token in tokens if token in _BYTES).decode("utf-8", "replace")


@lru_cache(maxsize=16)
def _tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer  # noqa: PLC0415 - only local folders need it

    return Tokenizer.from_file(str(file))
