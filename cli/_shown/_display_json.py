"""Runs as lines of JSON, for programs."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from tinkex.cli._shown._run_view import RunView

EVERY_SECONDS: Final = 1.0


class JsonDisplay:
    """Prints one JSON object a line: each event of each run's log, and its status when it changes.

    Every object has ``kind`` and ``run``; times are epoch seconds. A loss that is no finite number is null.
    """

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, object]] = {}

    def show(self, views: Sequence[RunView], news: Sequence[tuple[RunView, Mapping[str, Any]]], now: float) -> None:
        """Print events, then what changed of the statuses: a state at once, the rest once a second."""
        for view, event in news:
            print_json({"run": view.name, **event})
        for view in views:
            status = view.status
            if status is None:
                continue
            at, state = self._told.get(view.name, (float("-inf"), None))
            if state != (status.state, status.reason, status.waiting) or now - at >= EVERY_SECONDS:
                self._told[view.name] = now, (status.state, status.reason, status.waiting)
                print_json({"kind": "status", **msgspec.to_builtins(status)})

    def say(self, sentence: str) -> None:
        """Say it on standard error, so that standard output is JSON only."""
        print(f"tinkex: {sentence}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to do."""


def print_json(fields: Any) -> None:
    """Print one JSON object in one line; numbers that JSON does not have are null."""
    print(msgspec.json.encode(fields).decode(), flush=True)
