"""Runs as plain lines, for logs and pipes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tinkex.cli._shown._run_view import RunView, tell_event

EVERY_SECONDS: Final = 10.0
PARTS: Final = 20
"""A line at least for each of so many parts of a run."""


class PlainDisplay:
    """Prints a line for each thing that happens, and one for the progress after 10 s or a twentieth of the run."""

    def __init__(self) -> None:
        self._shown: dict[str, tuple[float, int]] = {}
        """When a run's progress was printed last, and where it was then."""
        self._states: dict[str, tuple[str, str | None]] = {}

    def show(self, views: Sequence[RunView], news: Sequence[tuple[RunView, Mapping[str, Any]]], now: float) -> None:
        """Print what is worth a line."""
        self._tell(news, ends=False)
        for view in views:
            self._show_waiting(view)
            if self._is_due(view, now):
                self._shown[view.name] = now, view.update
                self._line(view, view.progress())
        self._tell(news, ends=True)

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        print(f"tinkex: {sentence}", flush=True)

    def close(self) -> None:
        """Nothing to do."""

    def _tell(self, news: Sequence[tuple[RunView, Mapping[str, Any]]], *, ends: bool) -> None:
        """Print events: those that are ends of runs, or all others."""
        for view, event in news:
            told = tell_event(event)
            if told is not None and (event.get("kind") == "ended") is ends:
                self._line(view, told)

    def _show_waiting(self, view: RunView) -> None:
        """Say where a run is restoring, or waits, which its log does not tell."""
        status = view.status
        if status is None or status.state not in {"restoring", "training", "stopping"}:
            return
        state: tuple[str, str | None] = status.state, status.reason or status.waiting
        if self._states.get(view.name) != state:
            self._states[view.name] = state
            self._line(view, status.state + (f": {state[1]}" if state[1] else ""))

    def _is_due(self, view: RunView, now: float) -> bool:
        at, update = self._shown.setdefault(view.name, (now, view.update))
        if view.update == update or view.status is None or view.status.state == "restoring":
            return False
        return view.update <= update or now - at >= EVERY_SECONDS or view.update - update >= _part(view.updates)

    @staticmethod
    def _line(view: RunView, told: str) -> None:
        print(f"{view.name}: {told}", flush=True)


def _part(updates: int | None) -> float:
    return float("inf") if updates is None else max(updates / PARTS, 1)
