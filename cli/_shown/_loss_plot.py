"""The loss plot of a run: its losses, where checkpoints were committed and where it was begun again."""

import contextlib
import io
import math
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tinkex.actors import RunFolder, committed_sequence, read_events
from tinkex.protocol import TinkexError

PLOT_FILE: Final = "loss.png"
MOST_POINTS: Final = 4000
"""More updates than that are drawn as means over neighbours."""


class PlotPoints(NamedTuple):
    """What is drawn."""

    losses: list[tuple[float, float]]
    """Update and loss."""
    checkpoints: list[int]
    restarts: list[int]
    """Updates that later epochs went on from."""


def write_loss_plot(root: Path, name: str) -> Path | None:
    """Draw the run's losses into ``loss.png`` of its folder, in place of an older one; None where nothing was trained.

    Raises:
        TinkexError: kind ``run_failed``: logs cannot be read, or the plot cannot be written.
    """
    folder = RunFolder(root, name)
    points = read_points(folder.events)
    if not points.losses:
        return None
    path = folder.path / PLOT_FILE
    draft = path.with_name(f".{PLOT_FILE}.{uuid.uuid4().hex}")
    try:
        try:
            draft.write_bytes(draw_losses(name, points))
            os.replace(draft, path)  # noqa: PTH105 - Path.replace is the same
        finally:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
    except OSError as error:
        raise TinkexError(
            f"the loss plot {path} cannot be written: {error.strerror or error}", kind="run_failed", category="user"
        ) from error
    return path


def read_points(events: Path) -> PlotPoints:
    """Read what is to be drawn from the logs of a run.

    Raises:
        TinkexError: kind ``run_failed``: a log cannot be read.
    """
    losses = [
        (float(record.update), math.nan if record.loss is None else record.loss)
        for record in committed_sequence(events)
    ]
    last = losses[-1][0] if losses else 0.0
    checkpoints: set[int] = set()
    restarts: list[int] = []
    begun = False
    for event in read_events(events):
        update = event.get("update")
        if not isinstance(update, int) or update > last:
            continue
        if event.get("kind") == "checkpoint":
            checkpoints.add(update)
        elif event.get("kind") == "began":
            restarts += [update] if begun else []
            begun = True
    return PlotPoints(thin(losses), sorted(checkpoints), restarts)


def thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most ``MOST_POINTS`` points: means over neighbours, those without a loss left out."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = -(-len(points) // MOST_POINTS)
    return [_mean(points[at : at + size]) for at in range(0, len(points), size)]


def draw_losses(name: str, points: PlotPoints) -> bytes:
    """Return a PNG."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to load: not before it is needed
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    mpl.use("Agg")
    # Any: matplotlib's own annotations are unfinished.
    figure: Any = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([x for x, _ in points.losses], [y for _, y in points.losses], color="#1f77b4", linewidth=1, label="loss")
    if points.checkpoints:
        marks = axes.get_xaxis_transform()
        heights = [0.0] * len(points.checkpoints)
        axes.plot(points.checkpoints, heights, "|", color="#2ca02c", transform=marks, label="checkpoint", clip_on=False)
    for number, update in enumerate(points.restarts):
        label = "gone on from" if number == 0 else None
        axes.axvline(update, color="#d62728", linewidth=1, linestyle=":", label=label)
    axes.set_xlabel("update")
    axes.set_ylabel("loss (nats per learned token)")
    axes.set_title(name.replace("$", r"\$"))
    axes.legend()
    raw = io.BytesIO()
    figure.savefig(raw, dpi=120, format="png")
    return raw.getvalue()


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    finite = [loss for _, loss in points if math.isfinite(loss)]
    middle = points[len(points) // 2][0]
    return middle, math.fsum(finite) / len(finite) if finite else math.nan
