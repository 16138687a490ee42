"""Rows to train on, and what a program does with them."""

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from tinkex.actors._programs._dataset_program import DatasetProgram
from tinkex.actors._programs._examples import Example
from tinkex.actors._programs._program import Batch
from tinkex.actors._programs._schedule import Schedule
from tinkex.protocol import TinkexError


def rows(count: int) -> list[Example]:
    """Rows of different lengths; row n begins with the token n, and every third learns its last token only."""
    return [Example([n, *range(n % 4 + 1)], None if n % 3 else [0.0] * (n % 4 + 1) + [1.0]) for n in range(count)]


def program(rows_or_count: Sequence[Example] | int = 7, **settings: Any) -> DatasetProgram:
    """A program over rows, with settings that are right unless told otherwise."""
    data = rows(rows_or_count) if isinstance(rows_or_count, int) else rows_or_count
    fields: dict[str, Any] = {"examples": data, "batch_size": 3, "tokenizer": "bytes", **settings}
    return DatasetProgram(**fields)


def made(count: int, settings: Mapping[str, Any]) -> DatasetProgram:
    """A program by drawn settings; the example is passed over where its run is too short for its schedule."""
    try:
        return program(count, **{name: settings[name] for name in settings if name != "length"}, **settings["length"])
    except TinkexError as error:
        assume("schedule ends after" not in str(error))
        raise


def play(of: DatasetProgram, cursor: Any = None) -> list[tuple[Any, Batch]]:
    """Every batch from a cursor on, each with the cursor that it was asked for by."""
    at = of.first_cursor() if cursor is None else cursor
    played: list[tuple[Any, Batch]] = []
    while (batch := of.batch(at)) is not None:
        played.append((at, batch))
        at = batch.cursor
    return played


def sent(batch: Batch) -> list[tuple[list[int], list[int], list[float]]]:
    """What a batch sends, without its division into passes."""
    return [
        (
            datum.model_input.to_ints(),
            datum.loss_fn_inputs["target_tokens"].tolist(),
            datum.loss_fn_inputs["weights"].tolist(),
        )
        for micro_batch in batch.micro_batches
        for datum in micro_batch
    ]


SCHEDULES = st.builds(
    Schedule,
    learning_rate=st.sampled_from([1e-3, 1, 1.0, 2e-3]),
    kind=st.sampled_from(["constant", "linear", "cosine"]),
    warmup_updates=st.integers(0, 2),
    decay_updates=st.sampled_from([None, 3, 40]),
    final_fraction=st.sampled_from([0.0, 0, 0.5]),
    beta1=st.sampled_from([0.9, 0.8]),
    weight_decay=st.sampled_from([0, 0.0, 0.1]),
)

SETTINGS = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 5),
        "micro_batch_size": st.sampled_from([None, 1, 2, 5, 9]),
        "seed": st.integers(0, 2),
        "shuffle": st.booleans(),
        "max_tokens": st.sampled_from([None, 2, 3]),
        "schedule": SCHEDULES,
        "length": st.sampled_from([{}, {"passes": 1}, {"passes": 3}, {"updates": 3}, {"updates": 11}]),
    }
)
"""Settings of ``made``, over at least 9 rows."""
