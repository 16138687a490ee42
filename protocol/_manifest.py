"""The manifest of a checkpoint: what a trainer must know to go on from it as if nothing had happened."""

from typing import Any, Final

import msgspec

MANIFEST_VERSION: Final = 1


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands beside a checkpoint of a supervised run. Times are epoch seconds."""

    version: int = MANIFEST_VERSION
    run: str
    """The run's name."""
    epoch: int
    """Of the trainer that saved it; each takeover and each rebuild of a run raises it."""
    update: int
    """Completed optimizer steps that the checkpoint holds."""
    path: str
    """``tinker://<run-id>/weights/<name>``."""
    cursor: Any
    """The next unseen data, as the program wrote it: plain JSON values, seeds and random states among them."""
    parent: str | None
    """Name of the manifest that this epoch began from or that was written before; None for the first."""
    fingerprint: dict[str, str]
    """What must be the same for a resume: ``base_model``, ``lora``, ``tokenizer``, ``program``, ``data``."""
    surroundings: dict[str, str] = {}
    """What may differ, at the price of a resume that may not be exact: the server's build and threads, versions."""
    learning_rate: float | None = None
    """Of the last step."""
    lr_scale: float = 1.0
    """What loss guards multiplied the program's learning rates by."""
    stop_after: int | None = None
    """The last update, where the program's stop rule has spoken."""
    unjudged: list[tuple[int, dict[str, float]]] = []
    """Updates up to this one, and what they measured, that the stop rule has not seen."""
    optimizer: bool = True
    """False where this lineage began from weights alone and the optimizer was reset at ``weights_only_from``."""
    weights_only_from: str | None = None
    """The checkpoint whose weights a run of this lineage was started from, without its optimizer."""
    metrics: dict[str, float] = {}
    """Of the last step."""
    tokens: int = 0
    """Trained on, up to here."""
    train_seconds: float = 0.0
    """Spent training up to here, pauses and restores not counted."""
    saved: float = 0.0
    expires: float | None = None
    """When the server deletes the checkpoint; None is never."""

    @property
    def name(self) -> str:
        """The manifest's name within its run."""
        return manifest_name(self.epoch, self.update)


def manifest_name(epoch: int, update: int) -> str:
    """Return the name of the manifest of ``update``, saved in ``epoch``: they sort in the order of their writing."""
    return f"e{epoch:05d}-u{update:09d}"
