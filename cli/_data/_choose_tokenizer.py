"""Which tokenizer a configuration means."""

from pathlib import Path

from tinkex.cli._base._config_sections import BYTES_TOKENIZER, SERVERS_TOKENIZER
from tinkex.cli._data._folder_tokenizer import FolderTokenizer
from tinkex.cli._data._tokenizers import BUILTIN_TOKENIZER, ByteTokenizer, Tokenizer
from tinkex.protocol import validation
from tinkex.protocol._checks import shown


def choose_tokenizer(name: str, tokenizer_id: str | None = None) -> Tokenizer:
    """Return the tokenizer that a configuration names.

    Args:
        name: ``server``, ``bytes`` or the path of a folder; see ``DataSection.tokenizer``.
        tokenizer_id: what the server calls its model's, as ``GetInfo`` tells; only ``server`` asks for it.

    Raises:
        TinkexError: kind ``validation``: there is none, with what to do.
    """
    if name == BYTES_TOKENIZER or (name == SERVERS_TOKENIZER and tokenizer_id == BUILTIN_TOKENIZER):
        return ByteTokenizer()
    if name != SERVERS_TOKENIZER:
        return _of_folder(Path(name))
    folder = Path(tokenizer_id or "")
    if folder.is_absolute() and folder.is_dir():
        return _of_folder(folder)
    called = "does not name its model's tokenizer" if not tokenizer_id else f"names the tokenizer {shown(tokenizer_id)}"
    raise validation(
        f"the server {called}, which is no folder on this machine, and nothing is downloaded: "
        "set data.tokenizer to a folder that holds the model's tokenizer files",
        field="data.tokenizer",
    )


def _of_folder(folder: Path) -> Tokenizer:
    if folder.is_dir():
        return FolderTokenizer(folder)
    raise validation(
        f"data.tokenizer: there is no folder {folder}; it is a folder with a model's tokenizer files, "
        f"{BYTES_TOKENIZER!r}, or {SERVERS_TOKENIZER!r}; nothing is downloaded",
        field="data.tokenizer",
    )
