"""The feeder: the one thread on which a training program's methods run."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import msgspec

from tinkex.actors._genserver._dispatch import on
from tinkex.actors._genserver._genserver import GenServer
from tinkex.actors._programs._program import Batch, TrainingProgram
from tinkex.protocol import AdamParams, Datum, Err, Ok, Request, Result, TinkexError


class Outline(NamedTuple):
    """What a program says of the whole run."""

    loss_fn: str
    loss_fn_config: Mapping[str, float] | None
    updates: int | None
    fingerprint: dict[str, str]
    first_cursor: Any


class Prepared(NamedTuple):
    """A batch that is ready to be sent."""

    micro_batches: Sequence[Sequence[Datum]]
    adam: AdamParams
    cursor: Any
    """Behind it."""
    rows: Sequence[int | str]
    tokens: int
    weight: float | None
    """What the summed loss is divided by; None leaves the sum."""


class Fed(NamedTuple):
    """The answer to one ``Feed``."""

    stop: bool
    """What the stop rule said of the judged update."""
    prepared: Prepared | None
    """None where none was wanted, or the data have ended."""
    ended: bool = False


class Describe(Request[Outline], frozen=True):
    """Ask what the program says of the whole run."""


class Feed(Request[Fed], frozen=True):
    """Have the stop rule judge an update, and the next batch prepared."""

    update: int
    """Of the batch that is wanted: how many come before it."""
    cursor: Any
    wanted: bool
    judged: tuple[int, dict[str, float]] | None = None


class Feeder(GenServer[Any]):
    """Calls a user's program; what that raises crashes this actor, which its trainer hears of."""

    def __init__(self, program: TrainingProgram) -> None:
        """Wait to be asked."""
        super().__init__()
        self._program = program

    @on(Describe)
    def _on_describe(self, _message: Describe) -> Result[Outline]:
        program = self._program
        fingerprint = dict(program.fingerprint())
        if not all(isinstance(item, str) for pair in cast("Any", fingerprint).items() for item in pair):
            return Err(_wrong("fingerprint() must be a mapping of text to text"))
        cursor = _plain(program.first_cursor())
        if isinstance(cursor, Err):
            return cursor
        return Ok(Outline(program.loss_fn, program.loss_fn_config, program.updates, fingerprint, cursor.value))

    @on(Feed)
    def _on_feed(self, message: Feed) -> Result[Fed]:
        stop = message.judged is not None and bool(self._program.finished(*message.judged))
        if not message.wanted:
            return Ok(Fed(stop, None))
        batch = cast("object", self._program.batch(message.cursor))
        if batch is None:
            return Ok(Fed(stop, None, ended=True))
        if not isinstance(batch, Batch):
            return Err(_wrong(f"batch() must return a Batch or None, not {type(batch).__name__}"))
        if not batch.micro_batches or not all(batch.micro_batches):
            return Err(_wrong("batch() must return at least one micro batch, each with at least one datum"))
        adam = cast("object", self._program.adam_params(message.update))
        if not isinstance(adam, AdamParams):
            return Err(_wrong(f"adam_params() must return AdamParams, not {type(adam).__name__}"))
        cursor = _plain(batch.cursor)
        if isinstance(cursor, Err):
            return cursor
        tokens = sum(datum.model_input.length for micro in batch.micro_batches for datum in micro)
        weight = _weight(batch.micro_batches)
        return Ok(Fed(stop, Prepared(batch.micro_batches, adam, cursor.value, batch.rows, tokens, weight)))


def _plain(cursor: Any) -> Result[Any]:
    """Return ``cursor`` as a resumed run will see it: a run that is not killed must see no other."""
    try:
        return Ok(msgspec.json.decode(msgspec.json.encode(cursor)))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        return Err(_wrong(f"a cursor must be plain JSON values: {error}"))


def _weight(micro_batches: Sequence[Sequence[Datum]]) -> float | None:
    total = 0.0
    for micro in micro_batches:
        for datum in micro:
            weights = datum.loss_fn_inputs.get(_WEIGHTS)
            if weights is None:
                return None
            total += float(weights.to_numpy().sum())
    return total if total > 0.0 else None


_WEIGHTS: Final = "weights"


def _wrong(sentence: str) -> TinkexError:
    return TinkexError(f"the training program: {sentence}", kind="program_failed", category="user")
