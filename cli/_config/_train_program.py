"""From a configuration and its data file to the program that a trainer runs."""

from collections.abc import Sequence
from typing import Any, overload

import msgspec

from tinkex.actors._programs._dataset_program import DatasetProgram
from tinkex.actors._programs._examples import Example
from tinkex.cli._base._config_sections import DataSection
from tinkex.cli._config._train_config import TrainConfig
from tinkex.cli._data._choose_tokenizer import choose_tokenizer
from tinkex.cli._data._row_file import RowFile
from tinkex.cli._data._tokenizers import Tokenizer, to_example
from tinkex.protocol import TinkexError, validation


class RowExamples(Sequence[Example]):
    """The rows of a file as examples, each made when it is asked for.

    Raises:
        TinkexError: kind ``validation``: the tokenizer has no form for conversations of this kind; with a row's place.
    """

    def __init__(self, rows: RowFile, data: DataSection, tokenizer: Tokenizer) -> None:
        self._rows = rows
        self._data = data
        self._tokenizer = tokenizer
        for index in rows.turns.values():
            # A template refuses conversations by who speaks after whom: better now than on the third day.
            self._make(index)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return an example, or examples."""
        if isinstance(index, slice):
            return [self._make(row) for row in range(*index.indices(len(self)))]
        return self._make(index)

    @property
    def digest(self) -> str:
        """JSON of what the examples follow from beside the tokenizer, the digest of the file among it."""
        data = self._data
        columns = (data.messages_column, data.prompt_column, data.completion_column, data.text_column)
        json = data.file_format == "jsonl"
        settings = {
            "file": self._rows.digest,
            "format": data.file_format,
            "train_on": data.train_on,
            "kind": data.kind if json else None,
            "columns": columns if json else None,
            "split": None if json else data.split,
            "chunk_bytes": None if json or data.split == "lines" else data.chunk_bytes,
        }
        return msgspec.json.encode(settings, order="deterministic").decode()

    def _make(self, index: int) -> Example:
        row = self._rows[index]
        try:
            return to_example(row, self._tokenizer, self._data.train_on)
        except TinkexError as error:
            raise validation(f"{self._rows.where(index)}: {error.message}", **error.data) from error


def build_program(
    config: TrainConfig, tokenizer_id: str | None = None, *, max_context_length: int | None = None
) -> DatasetProgram:
    """Look through the data file, and return the program of the configuration.

    Args:
        config: what to train on, and how.
        tokenizer_id: what the server calls its model's tokenizer; see ``choose_tokenizer``.
        max_context_length: tokens that the server's model takes, where it says so: longer rows are cut to it, where
            ``data.max_tokens`` does not say less.

    Raises:
        TinkexError: kind ``validation``: file and line, or section and key, and what is wrong.
    """
    max_tokens = config.data.max_tokens or max_context_length
    if max_tokens is not None and max_context_length is not None and max_tokens > max_context_length:
        raise validation(
            f"data.max_tokens is {max_tokens}, but the model takes {max_context_length} tokens; set it to that or less",
            field="data.max_tokens",
        )
    tokenizer = choose_tokenizer(config.data.tokenizer, tokenizer_id)
    examples = RowExamples(RowFile(config.data_path, config.data), config.data, tokenizer)
    training = config.training
    return DatasetProgram(
        examples,
        batch_size=training.batch_size,
        micro_batch_size=training.micro_batch_size,
        seed=config.data.seed,
        passes=training.passes,
        updates=training.updates,
        schedule=config.schedule,
        loss_fn=training.loss_fn,
        loss_fn_config=training.loss_fn_config,
        stop_below_loss=training.stop_below_loss,
        tokenizer=tokenizer.fingerprint,
        shuffle=config.data.shuffle,
        max_tokens=max_tokens,
        data_digest=examples.digest,
    )
