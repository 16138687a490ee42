"""Runs on a terminal: a picture that changes in place."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tinkex.cli._base._words import count, loss_word, of_updates, plural, span
from tinkex.cli._shown._loss_curve import draw_curve
from tinkex.cli._shown._run_view import RunView, tell_event
from tinkex.protocol import RunStatus, explain

_QUIET: Final = frozenset({"checkpoint"})
"""Events that the picture shows as it is."""

_CURVE_LINES: Final = 4
_WIDTH: Final = 72
_SMALL: Final = 24
_SHORTEST_SECONDS: Final = 0.1


class LiveDisplay:
    """One run: loss curve, progress and facts. Several: a line for each. Above it, what happened.

    Args:
        console: where to; default: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console: Final = console or Console()
        self._live = Live(console=self.console, auto_refresh=False, transient=False)
        self._live.start()
        self._at = float("-inf")

    def show(self, views: Sequence[RunView], news: Sequence[tuple[RunView, Mapping[str, Any]]], now: float) -> None:
        """Draw the runs anew."""
        for view, event in news:
            told = None if event.get("kind") in _QUIET else tell_event(event)
            if told is not None:
                self._line(f"{view.name}: {told}")
        if news or now - self._at >= _SHORTEST_SECONDS:
            self._at = now
            self._live.update(draw_runs(views, self.console.width), refresh=True)

    def say(self, sentence: str) -> None:
        """Print a sentence above the picture."""
        self._line(f"tinkex: {sentence}")

    def close(self) -> None:
        """Leave the last picture."""
        self._live.stop()

    def _line(self, told: str) -> None:
        self.console.print(Text(told), soft_wrap=True)


def draw_runs(views: Sequence[RunView], width: int) -> RenderableType:
    """Draw runs as they are."""
    if len(views) == 1:
        return _draw_one(views[0], min(width - 1, _WIDTH))
    table = Table(box=None, pad_edge=False)
    for name in ("run", "state", "update", "loss", "", "tokens/s", "ETA", "durable", "at risk"):
        table.add_column(name, justify="left" if name in {"run", "state", ""} else "right", no_wrap=True)
    for view in views:
        status = view.status
        table.add_row(
            Text(view.name),
            status.state if status is not None else "starting",
            of_updates(view.update, view.updates),
            loss_word(view.loss),
            *(draw_curve(view.curve.means(), _SMALL) or [""]),
            count(status.tokens_per_second) if status is not None else "",
            span(status.eta_seconds) if status is not None else "",
            count(view.durable),
            count(view.at_risk),
        )
    return table


def _draw_one(view: RunView, width: int) -> RenderableType:
    status = view.status
    means = view.curve.means()
    curve = [Text(line, style="cyan") for line in draw_curve(means, width, _CURVE_LINES)]
    scale = Text(f"loss {loss_word(max(means))} to {loss_word(min(means))}", style="dim") if means else Text("")
    if status is None:
        return Group(*curve, Text(f"{view.name}: starting"))
    facts = Table.grid(padding=(0, 3))
    facts.add_row(
        f"update {of_updates(view.update, view.updates)}",
        f"loss {loss_word(view.loss)}",
        f"{count(status.tokens_per_second)} tokens/s",
        f"ETA {span(status.eta_seconds)}",
    )
    facts.add_row(
        f"durable: {count(view.durable)}",
        f"at risk: {plural(view.at_risk, 'update')}",
        f"epoch {status.epoch}",
        f"learning rate {'-' if status.learning_rate is None else f'{status.learning_rate:.3g}'}",
    )
    bar = Table.grid()  # which ends its line
    bar.add_row(ProgressBar(total=view.updates or max(view.update, 1), completed=view.update, width=width))
    return Group(*curve, scale, bar, facts, Text(f"{view.name}: {_why(status)}"))


def _why(status: RunStatus) -> str:
    plain = status.state == "training" and status.reason is None and status.waiting is None
    return "training" if plain else explain(status, time.time(), alive=True)
