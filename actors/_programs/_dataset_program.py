"""Passes over rows: the program of supervised training."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from tinkex.actors._programs._examples import Example, digest_examples, make_micro_batches
from tinkex.actors._programs._program import Batch
from tinkex.actors._programs._schedule import Schedule
from tinkex.actors._programs._shuffle import Shuffle
from tinkex.protocol import AdamParams, TinkexError, validation
from tinkex.protocol._check_data import LOSS_INPUTS
from tinkex.protocol._checks import check_flag, check_number, check_optional, check_text, check_whole, shown
from tinkex.protocol._policy import first_error

MAX_SEED: Final = 2**63 - 1
_VERSION: Final = 1
"""Of how batches follow from settings; raised with every change of it, so that no resume mixes two."""


class DatasetProgram:
    """Trains on ``examples``, pass after pass, each row once in each pass: a ``TrainingProgram``.

    A batch never crosses the end of a pass: the last one of a pass is shorter where ``batch_size`` does not divide the
    number of rows. Its loss is a mean over its own tokens, as any other's. With ``shuffle``, each pass has an order of
    its own, which follows from the seed, the pass and the number of rows alone (see ``Shuffle``).

    Args:
        examples: the rows. Only those of the batch that is asked for are read, each when it is; so they may be made
            lazily, if the same index always gives the same row.
        batch_size: rows of an update.
        micro_batch_size: rows of one ``forward_backward``, at most; the gradients of an update's passes add up. None
            takes all of them at once.
        seed: of the order of rows, 0 to 2**63 - 1.
        passes: how often each row is seen; or
        updates: how many updates the run has, whatever passes it takes. With neither, one pass.
        schedule: the learning rate and the optimizer's other parameters.
        loss_fn: a loss that reads nothing but target tokens and weights.
        loss_fn_config: its parameters.
        stop_below_loss: the run ends once an update's loss is below it. A loss of exactly 0 is that of a batch that had
            nothing to learn, and ends nothing.
        tokenizer: the fingerprint of what made the tokens.
        shuffle: False keeps the rows' own order in each pass.
        max_tokens: tokens of a row beyond it are cut off; at least 2.
        data_digest: a digest of what the rows are made from, tokenizer apart. None computes one from all rows when
            ``fingerprint`` is first called, which reads each of them.

    Raises:
        TinkexError: kind ``validation``, naming the argument that is wrong.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        batch_size: int,
        tokenizer: str,
        micro_batch_size: int | None = None,
        seed: int = 0,
        passes: int | None = None,
        updates: int | None = None,
        schedule: Schedule | None = None,
        loss_fn: str = "cross_entropy",
        loss_fn_config: Mapping[str, float] | None = None,
        stop_below_loss: float | None = None,
        shuffle: bool = True,
        max_tokens: int | None = None,
        data_digest: str | None = None,
    ) -> None:
        _refuse(
            check_whole("batch_size", batch_size, 1),
            check_whole("micro_batch_size", 1 if micro_batch_size is None else micro_batch_size, 1),
            check_whole("seed", seed, 0, MAX_SEED),
            check_whole("passes", 1 if passes is None else passes, 1),
            check_whole("updates", 1 if updates is None else updates, 1),
            None if stop_below_loss is None else check_number("stop_below_loss", stop_below_loss, above=0.0),
            check_text("tokenizer", tokenizer),
            check_flag("shuffle", shuffle),
            check_whole("max_tokens", 2 if max_tokens is None else max_tokens, 2),
            check_optional(check_text, "data_digest", data_digest),
            check_text("loss_fn", loss_fn) or _check_loss(loss_fn),
            *(check_number(f"loss_fn_config[{name!r}]", value) for name, value in (loss_fn_config or {}).items()),
        )
        if not len(examples):
            raise validation("examples is empty: there is nothing to learn from", field="examples")
        if passes is not None and updates is not None:
            raise validation("give passes or updates, not both: each says how long the run is", field="updates")
        self._examples: Final = examples
        self._rows: Final = len(examples)
        self._batch_size: Final = batch_size
        self._micro_batch_size: Final = min(micro_batch_size or batch_size, batch_size)
        self._seed: Final = seed
        self._updates: Final = updates if updates is not None else (passes or 1) * self.updates_of_a_pass
        self._schedule: Final = schedule if schedule is not None else Schedule()
        _refuse(self._schedule.check_for(self._updates))
        self._loss_fn: Final = loss_fn
        self._loss_fn_config: Final = dict(loss_fn_config) if loss_fn_config else None
        self._stop_below_loss: Final = stop_below_loss
        self._tokenizer: Final = tokenizer
        self._shuffle: Final = shuffle
        self._max_tokens: Final = max_tokens
        self._data_digest = data_digest
        self._order: tuple[tuple[int, int], Sequence[int] | Shuffle] = ((-1, -1), ())

    @property
    def loss_fn(self) -> str:
        """The loss of ``forward_backward``."""
        return self._loss_fn

    @property
    def loss_fn_config(self) -> Mapping[str, float] | None:
        """Its parameters."""
        return self._loss_fn_config

    @property
    def updates(self) -> int:
        """How many updates the run has, where its stop rule does not speak before."""
        return self._updates

    @property
    def updates_of_a_pass(self) -> int:
        """How many updates it takes to see each row once."""
        return -(-self._rows // self._batch_size)

    def fingerprint(self) -> Mapping[str, str]:
        """Return what must be the same for a resume: ``program``, ``data`` and ``tokenizer``.

        ``program`` is the JSON of all settings that the numbers of an update follow from, with keys in order, so that a
        difference can be named. How long the run is and its stop rule are not among them, unless the learning rate
        follows from the length: a run may be told to go on for longer than it was.
        """
        if self._data_digest is None:
            self._data_digest = digest_examples(self._examples[row] for row in range(self._rows))
        settings = {
            "version": _VERSION,
            "batch_size": self._batch_size,
            "micro_batch_size": self._micro_batch_size,
            "order": f"shuffled by seed {self._seed}" if self._shuffle else "as in the data",
            "max_tokens": self._max_tokens,
            "loss_fn": self._loss_fn,
            "loss_fn_config": {name: float(value) for name, value in (self._loss_fn_config or {}).items()},
            "schedule": self._schedule.settings(self._updates),
        }
        return {
            "program": msgspec.json.encode(settings, order="deterministic").decode(),
            "data": self._data_digest,
            "tokenizer": self._tokenizer,
        }

    def first_cursor(self) -> dict[str, int]:
        """Return ``{"pass": 0, "row": 0, "seed": seed}``; ``row`` counts the rows of the pass that were seen."""
        return {"pass": 0, "row": 0, "seed": self._seed}

    def batch(self, cursor: Any) -> Batch | None:
        """Return the batch at ``cursor``, or None where the run is at its end.

        Raises:
            TinkexError: kind ``resume_refused``: the cursor is none of this program's.
        """
        number, begin, seed = self._read(cursor)
        if number * self.updates_of_a_pass + begin // self._batch_size >= self._updates:
            return None
        end = min(begin + self._batch_size, self._rows)
        order = self._order_of(seed, number)
        rows = [order[place] for place in range(begin, end)]
        examples = [self._examples[row] for row in rows]
        behind = (number, end) if end < self._rows else (number + 1, 0)
        return Batch(
            micro_batches=make_micro_batches(examples, self._micro_batch_size, self._max_tokens),
            cursor={"pass": behind[0], "row": behind[1], "seed": seed},
            rows=rows,
        )

    def adam_params(self, update: int) -> AdamParams:
        """Return the optimizer's parameters for step ``update``, counted from 0."""
        return self._schedule.adam_params(update, self._updates)

    def finished(self, update: int, metrics: Mapping[str, float]) -> bool:  # noqa: ARG002 - the protocol's
        """Say whether ``metrics["loss"]``, in nats per learned token, is below ``stop_below_loss``."""
        loss = metrics.get("loss")
        return self._stop_below_loss is not None and loss is not None and 0.0 < loss < self._stop_below_loss

    def _order_of(self, seed: int, number: int) -> Sequence[int] | Shuffle:
        key = (seed, number)
        if self._order[0] != key:
            self._order = (key, Shuffle(self._rows, seed, number) if self._shuffle else range(self._rows))
        return self._order[1]

    def _read(self, cursor: object) -> tuple[int, int, int]:
        fields = _fields(cursor)
        number, row, seed = (_whole(fields.get(name)) for name in ("pass", "row", "seed"))
        if number is None or row is None or seed is None or len(fields) != _CURSOR_FIELDS:
            raise _no_cursor(cursor, "it must have whole numbers 'pass', 'row' and 'seed'")
        if row >= self._rows or row % self._batch_size:
            raise _no_cursor(
                cursor, f"no batch begins at row {row}, with {self._rows} rows in batches of {self._batch_size}"
            )
        return number, row, seed


_CURSOR_FIELDS: Final = 3


def _fields(cursor: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", cursor) if isinstance(cursor, Mapping) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _no_cursor(cursor: object, reason: str) -> TinkexError:
    return TinkexError(
        f"{shown(cursor)} is no place in these data: {reason}; resume with the data and settings it was written with",
        kind="resume_refused",
        category="user",
        data={"field": "cursor"},
    )


def _check_loss(loss_fn: str) -> TinkexError | None:
    inputs = LOSS_INPUTS.get(loss_fn)
    if inputs is None or set(inputs.required) <= {"target_tokens", "weights"}:
        return None
    return validation(
        f"loss_fn {loss_fn!r} reads {', '.join(inputs.required)}; rows of tokens and weights have no more than "
        "'cross_entropy' reads",
        field="loss_fn",
    )


def _refuse(*errors: TinkexError | None) -> None:
    error = first_error(*errors)
    if error is not None:
        raise error
