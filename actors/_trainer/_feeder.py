"""The feeder: the one thread on which a training program's methods run."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from tinkex.actors._genserver._dispatch import on
from tinkex.actors._genserver._genserver import GenServer
from tinkex.actors._programs._program import Batch, TrainingProgram
from tinkex.actors._runs._plain import plain
from tinkex.protocol import AdamParams, Datum, Err, Ok, Request, Result, TinkexError
from tinkex.protocol._checks import shown


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
        wrong = _wrong_outline(program.loss_fn, program.loss_fn_config, program.updates)
        if wrong is not None:
            return Err(wrong)
        cursor = _plain(program.first_cursor())
        if isinstance(cursor, Err):
            return cursor
        return Ok(Outline(program.loss_fn, program.loss_fn_config, program.updates, fingerprint, cursor.value))

    @on(Feed)
    def _on_feed(self, message: Feed) -> Result[Fed]:
        stop = message.judged is not None and bool(self._program.finished(*message.judged))
        if not message.wanted:
            return Ok(Fed(stop, None))
        # A copy: a program may move the cursor that it is given, and the one that was sent is a checkpoint's.
        batch = cast("object", self._program.batch(plain(message.cursor)))
        if batch is None:
            return Ok(Fed(stop, None, ended=True))
        if not isinstance(batch, Batch):
            return Err(_wrong(f"batch() must return a Batch or None, not {type(batch).__name__}"))
        # Each is read once, and here: an iterator would be empty by the time that it is sent.
        micro_batches = [list(micro) for micro in batch.micro_batches]
        if not micro_batches or not all(micro_batches):
            return Err(_wrong("batch() must return at least one micro batch, each with at least one datum"))
        adam = cast("object", self._program.adam_params(message.update))
        if not isinstance(adam, AdamParams):
            return Err(_wrong(f"adam_params() must return AdamParams, not {type(adam).__name__}"))
        cursor = _plain(batch.cursor)
        if isinstance(cursor, Err):
            return cursor
        rows = _rows(batch.rows)
        if isinstance(rows, Err):
            return rows
        tokens = sum(datum.model_input.length for micro in micro_batches for datum in micro)
        weight = _weight(micro_batches)
        return Ok(Fed(stop, Prepared(micro_batches, adam, cursor.value, rows.value, tokens, weight)))


def _plain(cursor: Any) -> Result[Any]:
    """Return ``cursor`` as a resumed run will see it: a run that is not killed must see no other."""
    try:
        return Ok(plain(cursor, "cursor"))
    except TinkexError as error:
        return Err(_wrong(error.message))


def _rows(rows: Any) -> Result[list[int | str]]:
    """Return ``rows`` as the log takes them; those of NumPy are whole numbers too."""
    try:
        return Ok([row if isinstance(row, str) else operator.index(row) for row in rows])
    except TypeError as error:
        return Err(_wrong(f"rows must be a list of whole numbers or text: {error}"))


def _wrong_outline(loss_fn: object, loss_fn_config: object, updates: object) -> TinkexError | None:
    if not isinstance(loss_fn, str):
        return _wrong(f"loss_fn must be text, not {shown(loss_fn)}")
    if loss_fn_config is not None and not isinstance(loss_fn_config, Mapping):
        return _wrong(f"loss_fn_config must be a mapping of text to numbers, or None, not {shown(loss_fn_config)}")
    if updates is not None and (not isinstance(updates, int) or isinstance(updates, bool) or updates < 0):
        return _wrong(f"updates must be a whole number of at least 0, or None, not {shown(updates)}")
    return None


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
