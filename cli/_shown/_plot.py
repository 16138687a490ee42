"""The demo's loss plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from tinkex.cli._base._fail import BAD_INPUT, Failure


def draw_losses(
    path: Path,
    before: Sequence[float],
    after: Sequence[float],
    exact: Sequence[float],
    weights_only: Sequence[float],
    entropy: float,
) -> None:
    """Write a PNG: the run up to the save, what followed, and both resumes over it.

    Raises:
        Failure: ``path`` cannot be written.
    """
    mpl.use("Agg")
    # Any: matplotlib's own annotations are unfinished.
    figure: Any = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    start = len(before)
    later = range(start, start + len(after))
    axes.plot(range(start), before, color="#555555", label="before the save")
    axes.plot(later, after, color="#1f77b4", linewidth=5, alpha=0.35, label="after it, uninterrupted")
    axes.plot(later, exact, color="#1f77b4", linestyle="--", label="resumed with optimizer")
    axes.plot(later, weights_only, color="#d62728", label="resumed, weights only")
    axes.axhline(entropy, color="#999999", linestyle=":", label="byte-unigram entropy")
    axes.axvline(start - 0.5, color="#cccccc", linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per byte)")
    axes.set_title("A LoRA run, saved and resumed")
    axes.legend()
    try:
        figure.savefig(path, dpi=120, format="png")
    except OSError as error:
        raise Failure(f"--plot {path} cannot be written: {error.strerror or error}", BAD_INPUT) from error
