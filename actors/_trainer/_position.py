"""Where a run is: what an epoch begins from."""

from typing import Any, NamedTuple

from tinkex.protocol import Manifest


class Position(NamedTuple):
    """A place in a run, at which its model and its data agree."""

    update: int
    """Completed updates."""
    cursor: Any
    """The next unseen data."""
    manifest: str | None = None
    """Name of the manifest that holds it; None at the very beginning."""
    path: str | None = None
    """Of its checkpoint."""
    saved: float | None = None
    """Epoch seconds."""
    tokens: int = 0
    train_seconds: float = 0.0
    stop_after: int | None = None
    unjudged: tuple[tuple[int, dict[str, float]], ...] = ()
    optimizer: bool = True
    weights_only_from: str | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> "Position":
        """Return the place that ``manifest`` holds."""
        return cls(
            update=manifest.update,
            cursor=manifest.cursor,
            manifest=manifest.name,
            path=manifest.path,
            saved=manifest.saved,
            tokens=manifest.tokens,
            train_seconds=manifest.train_seconds,
            stop_after=manifest.stop_after,
            unjudged=tuple(manifest.unjudged),
            optimizer=manifest.optimizer,
            weights_only_from=manifest.weights_only_from,
        )


class Terms(NamedTuple):
    """Under which an epoch trains."""

    run: str
    epoch: int
    lr_scale: float
    fingerprint: dict[str, str]
    surroundings: dict[str, str]
