"""What a trainer is told to do: a small protocol that users implement."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from tinkex.protocol import AdamParams, Datum


class Batch(msgspec.Struct, frozen=True):
    """What one optimizer step learns from."""

    micro_batches: Sequence[Sequence[Datum]]
    """One ``forward_backward`` for each, their gradients added up, then one ``optim_step``."""
    cursor: Any
    """The next unseen data: plain JSON values, seeds and random states among them."""
    rows: Sequence[int | str] = ()
    """Which rows of the data these are, for the log."""


@runtime_checkable
class TrainingProgram(Protocol):
    """What to train on, and how. All methods run on one thread of the trainer's, one at a time, never at once.

    Everything that a batch depends on must be in its cursor, and all else must be fixed: then a run that was killed and
    goes on from a cursor sees the same batches as one that was not. What a method raises fails the run.
    """

    @property
    def loss_fn(self) -> str:
        """The loss of ``forward_backward``."""
        ...

    @property
    def loss_fn_config(self) -> Mapping[str, float] | None:
        """Its parameters."""
        ...

    @property
    def updates(self) -> int | None:
        """How many updates the run has, where that is known."""
        ...

    def fingerprint(self) -> Mapping[str, str]:
        """Return what must be the same for a resume, as digests: ``program``, ``data``, ``tokenizer`` and the like."""
        ...

    def first_cursor(self) -> Any:
        """Return the cursor of a run that begins."""
        ...

    def batch(self, cursor: Any) -> Batch | None:
        """Return the batch at ``cursor``, the same one each time; None where the run is at its end."""
        ...

    def adam_params(self, update: int) -> AdamParams:
        """Return the optimizer's parameters for step ``update``, counted from 0: the learning-rate schedule."""
        ...

    def finished(self, update: int, metrics: Mapping[str, float]) -> bool:
        """Say whether to stop, by what the ``update``-th step (counted from 1) measured; the stop rule.

        Updates that were on their way by then still count: the run ends after a fixed number of them.
        """
        ...
