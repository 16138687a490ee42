"""The learning rate by the number of the update, and what else the optimizer is told."""

import math
from typing import Any, Final, Literal, get_args

from tinkex.protocol import AdamParams, TinkexError, validation
from tinkex.protocol._checks import check_number, check_whole, shown
from tinkex.protocol._policy import Policy, first_error

ScheduleKind = Literal["constant", "linear", "cosine"]
_KINDS: Final = get_args(ScheduleKind)


class Schedule(Policy, frozen=True):
    """The optimizer's parameters for each update: a function of the update's number alone, so that a resume repeats it.

    The rate rises in equal steps over ``warmup_updates`` updates, the last of which has the whole ``learning_rate``.
    Then it stays (``constant``), or falls in a line (``linear``) or half a wave (``cosine``) until, at the end of the
    decay, it is ``final_fraction`` of ``learning_rate``, and stays there.

    Raises:
        TinkexError: kind ``validation``, naming the field that is wrong.
    """

    learning_rate: float = 1e-4
    """The highest."""
    kind: ScheduleKind = "constant"
    warmup_updates: int = 0
    decay_updates: int | None = None
    """Counted from the run's first update, the warm-up included; None is as many as the run has."""
    final_fraction: float = 0.0
    """0 to 1."""
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    """See ``AdamParams``."""
    grad_clip_norm: float = 0.0
    """Gradients with a larger norm are scaled down to it; 0 is off."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        kind: object = self.kind
        return first_error(
            check_number("learning_rate", self.learning_rate, above=0.0),
            None
            if kind in _KINDS
            else validation(f"kind must be one of {', '.join(_KINDS)}, not {shown(kind)}", field="kind"),
            check_whole("warmup_updates", self.warmup_updates, 0),
            None if self.decay_updates is None else check_whole("decay_updates", self.decay_updates, 1),
            self._check_fraction(),
        ) or (self._adam(1.0).check() or self._check_span(self.decay_updates))

    def check_for(self, updates: int | None) -> TinkexError | None:
        """Return what keeps a run of ``updates`` updates from following this schedule, or None."""
        end = self._end(updates)
        if self.kind != "constant" and end is None:
            return validation(
                f"a {self.kind} schedule must know where it ends: set decay_updates, or how long the run is",
                field="decay_updates",
            )
        return self._check_span(end)

    def learning_rate_at(self, update: int, updates: int | None = None) -> float:
        """Return the rate of ``update``, counted from 0, in a run of ``updates`` updates."""
        return self.learning_rate * self._fraction(update, updates)

    def adam_params(self, update: int, updates: int | None = None) -> AdamParams:
        """Return the optimizer's parameters for ``update``, counted from 0, in a run of ``updates`` updates."""
        return self._adam(self.learning_rate_at(update, updates))

    def settings(self, updates: int | None) -> dict[str, Any]:
        """Return what the parameters of a run of ``updates`` updates follow from, as plain values.

        Two runs with equal settings get equal parameters for each update that both have.
        """
        steady = self.kind == "constant"
        return {
            "kind": self.kind,
            "learning_rate": float(self.learning_rate),
            "warmup_updates": self.warmup_updates,
            "decay_updates": None if steady else self._end(updates),
            "final_fraction": None if steady else float(self.final_fraction),
            **{name: float(getattr(self, name)) for name in _ADAM_FIELDS},
        }

    def _fraction(self, update: int, updates: int | None) -> float:
        if update < self.warmup_updates:
            return (update + 1) / self.warmup_updates
        end = self._end(updates)
        if self.kind == "constant" or end is None:
            return 1.0
        done = min(1.0, (update - self.warmup_updates) / (end - self.warmup_updates))
        left = 1.0 - done if self.kind == "linear" else (1.0 + math.cos(math.pi * done)) / 2.0
        return self.final_fraction + (1.0 - self.final_fraction) * left

    def _adam(self, learning_rate: float) -> AdamParams:
        return AdamParams(learning_rate, **{name: getattr(self, name) for name in _ADAM_FIELDS})

    def _end(self, updates: int | None) -> int | None:
        return updates if self.decay_updates is None else self.decay_updates

    def _check_fraction(self) -> TinkexError | None:
        error = check_number("final_fraction", self.final_fraction, 0.0)
        if error is None and self.final_fraction > 1.0:
            error = validation(f"final_fraction must be at most 1, not {self.final_fraction}", field="final_fraction")
        return error

    def _check_span(self, end: int | None) -> TinkexError | None:
        if self.kind == "constant" or end is None or self.warmup_updates < end:
            return None
        return validation(
            f"warmup_updates is {self.warmup_updates}, but the {self.kind} schedule ends after {end} updates; "
            "take fewer of them",
            field="warmup_updates",
        )


_ADAM_FIELDS: Final = ("beta1", "beta2", "eps", "weight_decay", "grad_clip_norm")
