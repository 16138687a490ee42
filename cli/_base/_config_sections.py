"""The sections of a training configuration that are the command's own; each checks itself."""

from pathlib import Path
from typing import Any, Final, Literal, cast, get_args

from tinkex.actors._service._settings import check_base_url
from tinkex.protocol import LoraConfig, TinkerPath, TinkexError, validation
from tinkex.protocol._checks import check_flag, check_number, check_optional, check_text, check_whole, shown
from tinkex.protocol._policy import Policy, first_error

MAX_SEED: Final = 2**63 - 1

Format = Literal["jsonl", "text"]
RowKind = Literal["chat", "completion", "text"]
Split = Literal["lines", "chunks"]
TrainOn = Literal["completion", "all"]

SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
"""The format that a file's name tells."""

SERVERS_TOKENIZER: Final = "server"
BYTES_TOKENIZER: Final = "bytes"


class RunSection(Policy, frozen=True):
    """``[run]``: what the run is called and where it is kept."""

    name: str | None = None
    """Letters, digits, dots, hyphens and underscores; default: the name of the configuration file."""
    root: str | None = None
    """The folder of all runs; default: ``TINKEX_RUNS``, else ``runs`` below the current one."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return first_error(
            check_optional(_check_run_name, "name", self.name), check_optional(_check_path, "root", self.root)
        )


class ServerSection(Policy, frozen=True):
    """``[server]``: who trains. The key is never here: it is taken from ``TINKER_API_KEY``."""

    base_url: str | None = None
    """Default: ``TINKER_BASE_URL``."""
    allow_insecure: bool = False
    """Whether the key may travel over plain http beyond this machine."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        error = check_flag("allow_insecure", self.allow_insecure) or check_optional(
            check_text, "base_url", self.base_url
        )
        if error is None and self.base_url is not None:
            try:
                check_base_url(self.base_url, allow_insecure=self.allow_insecure)
            except TinkexError as wrong:
                error = validation(wrong.message, field="base_url")
        return error


class ModelSection(Policy, frozen=True):
    """``[model]``: the base model and its LoRA adapter; see ``LoraConfig``."""

    base_model: str | None = None
    """Default: the first that the server names."""
    rank: int = 32
    seed: int | None = 0
    """Of the adapter's first weights."""
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True

    @property
    def lora(self) -> LoraConfig:
        """The adapter."""
        return LoraConfig(self.rank, self.seed, self.train_mlp, self.train_attn, self.train_unembed)

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return check_optional(check_text, "base_model", self.base_model) or self.lora.check()


class DataSection(Policy, frozen=True):
    """``[data]``: the rows, and how they become tokens."""

    path: str | None = None
    """The file; the one thing that has no default."""
    format: Format | None = None
    """``jsonl`` or ``text``; default: by the file's suffix."""
    kind: RowKind | None = None
    """Of JSONL rows: ``chat``, ``completion`` or ``text``; default: the first of these whose columns a row has."""
    messages_column: str = "messages"
    prompt_column: str = "prompt"
    completion_column: str = "completion"
    text_column: str = "text"
    split: Split = "chunks"
    """Of a text file: rows of about ``chunk_bytes``, or its ``lines``, of which blank ones are no rows."""
    chunk_bytes: int = 512
    tokenizer: str = SERVERS_TOKENIZER
    """``server``: that of the server's model; ``bytes``: the built-in model's; else the path of a folder."""
    train_on: TrainOn = "completion"
    """``completion``: completions and the assistant's messages are learned; ``all``: every token."""
    max_tokens: int | None = None
    """Tokens of a row beyond it are cut off; default: what the server says that its model takes."""
    shuffle: bool = True
    seed: int = 0
    """Of the order of rows."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        columns = ("messages_column", "prompt_column", "completion_column", "text_column")
        return (
            first_error(
                _check_path("path", self.path) if self.path is not None else _missing_path(),
                check_optional(lambda name, value: _check_word(name, value, Format), "format", self.format),
                check_optional(lambda name, value: _check_word(name, value, RowKind), "kind", self.kind),
                *(check_text(name, getattr(self, name)) for name in columns),
                _check_word("split", self.split, Split),
                check_whole("chunk_bytes", self.chunk_bytes, 16),
                _check_path("tokenizer", self.tokenizer),
                _check_word("train_on", self.train_on, TrainOn),
                None if self.max_tokens is None else check_whole("max_tokens", self.max_tokens, 2),
                check_flag("shuffle", self.shuffle),
                check_whole("seed", self.seed, 0, MAX_SEED),
            )
            or self._check_format()
        )

    @property
    def tokenizer_is_folder(self) -> bool:
        """Whether ``tokenizer`` is a path, and none of the names that stand for one."""
        return self.tokenizer not in {SERVERS_TOKENIZER, BYTES_TOKENIZER}

    @property
    def file_format(self) -> Format | None:
        """The format, told or by the suffix; None where neither says it."""
        return self.format or SUFFIXES.get(Path(self.path or "").suffix.lower())

    def _check_format(self) -> TinkexError | None:
        if self.file_format is not None:
            return None
        return validation(
            f"path {shown(self.path)} has none of the suffixes that tell what it holds ({', '.join(SUFFIXES)}); "
            "set format to 'jsonl' or 'text'",
            field="path",
        )


class TrainingSection(Policy, frozen=True):
    """``[training]``: what an update learns from, and when the run ends."""

    batch_size: int = 32
    """Rows of an update."""
    micro_batch_size: int | None = None
    """Rows of one pass, whose gradients add up to the update's; default: all at once."""
    passes: int | None = None
    """How often each row is seen; with neither ``passes`` nor ``updates``, once."""
    updates: int | None = None
    """How many updates the run has instead."""
    loss_fn: str = "cross_entropy"
    loss_fn_config: dict[str, float] | None = None
    stop_below_loss: float | None = None
    """The run ends once an update's loss, in nats per learned token, is below it."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        config: Any = self.loss_fn_config
        if not isinstance(config, dict | None):
            return validation(f"loss_fn_config must be a table of numbers, not {shown(config)}", field="loss_fn_config")
        counts = ("batch_size", "micro_batch_size", "passes", "updates")
        error = first_error(
            check_whole("batch_size", self.batch_size, 1),
            *(check_optional(lambda name, value: check_whole(name, value, 1), n, getattr(self, n)) for n in counts),
            check_text("loss_fn", self.loss_fn),
            *(check_number(f"loss_fn_config.{name}", value) for name, value in (self.loss_fn_config or {}).items()),
            None if self.stop_below_loss is None else check_number("stop_below_loss", self.stop_below_loss, above=0.0),
        )
        if error is None and self.passes is not None and self.updates is not None:
            error = validation("updates and passes each say how long the run is: take one of them out", field="updates")
        return error


def _check_word(field: str, value: object, words: Any) -> TinkexError | None:
    known = get_args(words)
    if value in known:
        return None
    return validation(f"{field} must be one of {', '.join(map(repr, known))}, not {shown(value)}", field=field)


def _check_run_name(field: str, value: object) -> TinkexError | None:
    try:
        TinkerPath.check_name(cast("str", value))
    except TinkexError:
        return validation(
            f"{field} must be 1 to 255 of A-Z a-z 0-9 . _ - and not begin with a dot, not {shown(value)}", field=field
        )
    return None


def _check_path(field: str, value: object) -> TinkexError | None:
    return check_text(field, value)


def _missing_path() -> TinkexError:
    return validation("path is missing: name the file to train on", field="path")
