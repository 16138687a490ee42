"""What a trainer is made of."""

import os
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from tinkex.actors._programs._program import TrainingProgram
from tinkex.protocol import (
    CheckpointPolicy,
    LoraConfig,
    LossGuard,
    RebuildPolicy,
    RetentionPolicy,
    TinkexError,
    WatchdogPolicy,
    validation,
)
from tinkex.protocol._checks import check_optional, check_path, check_text, check_whole
from tinkex.protocol._policy import Policy, first_error

MOST_DEPTH: Final = 16


class TrainerConfig(Policy, frozen=True, kw_only=True):
    """A run: what to train, where it is kept, and when to save, keep, roll back and give up.

    Raises:
        TinkexError: kind ``validation``, naming the field that is wrong.
    """

    run: str
    """Its name in the store: 1 to 100 letters, digits, dots, dashes and underscores."""
    root: str | os.PathLike[str]
    """Folder of the run store, on a local disk; the run's own folder is ``<root>/<run>``."""
    program: TrainingProgram
    base_model: str | None = None
    """None takes the first that the server names."""
    lora: LoraConfig = LoraConfig(seed=0)
    """Its seed is fixed, so that a run that is killed before its first checkpoint begins again as the same run."""
    service: Mapping[str, Any] = {}
    """Options of the ``ServiceClient`` of each epoch; see ``ServiceOptions``."""
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    retention: RetentionPolicy = RetentionPolicy()
    watchdog: WatchdogPolicy = WatchdogPolicy()
    rebuild: RebuildPolicy = RebuildPolicy()
    loss_guard: LossGuard | None = LossGuard()
    """None takes every loss as it comes."""
    depth: int = 2
    """Updates on their way at once: 2 sends step n + 1 before the results of n are read."""
    from_weights: str | None = None
    """A checkpoint whose weights alone a *new* run begins from: no optimizer, which its lineage records."""
    settings: Mapping[str, Any] = {}
    """What the store keeps beside the run, for whoever resumes it: plain JSON values, no secrets."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        program = cast("object", self.program)
        return first_error(
            check_text("run", self.run),
            None
            if isinstance(program, TrainingProgram)
            else validation(
                f"program must be a TrainingProgram, not {type(program).__name__}: see its methods", field="program"
            ),
            check_optional(check_text, "base_model", self.base_model),
            *(
                _check_type(name, getattr(self, name), kind)
                for name, kind in _TYPES.items()
                if name != "loss_guard" or self.loss_guard is not None
            ),
            *([self.lora.check()] if isinstance(cast("object", self.lora), LoraConfig) else []),
            check_whole("depth", self.depth, 1, MOST_DEPTH),
            None if self.from_weights is None else check_path("from_weights", self.from_weights, "weights"),
        )

    def __repr__(self) -> str:
        # The service's options may hold a key.
        return f"TrainerConfig(run={self.run!r}, root={os.fspath(self.root)!r}, program={type(self.program).__name__})"


_TYPES: Final[Mapping[str, type[Any]]] = {
    "lora": LoraConfig,
    "service": Mapping,
    "checkpoints": CheckpointPolicy,
    "retention": RetentionPolicy,
    "watchdog": WatchdogPolicy,
    "rebuild": RebuildPolicy,
    "loss_guard": LossGuard,
    "settings": Mapping,
}


def _check_type(name: str, value: object, kind: type[Any]) -> TinkexError | None:
    # What a service is given may hold a key, and is not shown.
    if isinstance(value, kind):
        return None
    return validation(f"{name} must be a {kind.__name__}, not {type(value).__name__}", field=name)


def lora_fingerprint(lora: LoraConfig) -> str:
    """Return the adapter's shape as a JSON object; its seed is no part of it, since a resume loads the weights."""
    shape = msgspec.structs.asdict(lora)
    return msgspec.json.encode({name: shape[name] for name in _SHAPE}).decode()


_SHAPE: Final = ("rank", "train_mlp", "train_attn", "train_unembed")
