"""A thread that looks at runs in their store and has them shown, while others train them."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tinkex.actors import RunFolder, RunStore
from tinkex.actors._runs._follow import EventFollower
from tinkex.cli._shown._display import Display
from tinkex.cli._shown._run_view import RunView
from tinkex.protocol import TinkexError

LOOK_SECONDS: Final = 0.2
STOPPING: Final = "saving, then stopping; press Ctrl-C again to stop at once"


class Watcher:
    """Shows runs from ``start`` to ``stop``.

    Args:
        display: where; used by this thread only, until ``stop`` has returned.
        runs: root and name of each.
    """

    def __init__(self, display: Display, runs: Sequence[tuple[Path, str]]) -> None:
        self._display: Final = display
        self._stores: Final = {root: RunStore.open(root) for root, _ in runs}
        self._runs: Final = [
            (RunView(name), self._stores[root], EventFollower(RunFolder(root, name).events)) for root, name in runs
        ]
        self._thread: Final = threading.Thread(target=self._watch, name="tinkex-watcher", daemon=True)
        self._over: Final = threading.Event()
        self._asked_to_stop = False
        self._said_stopping = False
        self._problem: str | None = None
        self._epochs: Final = {view.name: _epoch(store, view.name) for view, store, _ in self._runs}
        """Of earlier trainers, whose last words are not shown."""
        for view, _, follower in self._runs:
            for event in follower.read():  # of earlier epochs: known, and not news
                view.take(event)

    def start(self) -> None:
        """Begin to show."""
        self._thread.start()

    def stop_asked(self) -> None:
        """Have it said that the runs are to stop. From any thread."""
        self._asked_to_stop = True

    def stop(self) -> None:
        """Show the last of it, and end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        self._look()
        self._display.close()
        for store in self._stores.values():
            store.close()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        if self._asked_to_stop and not self._said_stopping:
            self._said_stopping = True
            self._display.say(STOPPING)
        news: list[tuple[RunView, Mapping[str, Any]]] = []
        try:
            for view, store, follower in self._runs:
                for event in follower.read():
                    view.take(event)
                    news.append((view, event))
                row = store.run(view.name)
                if row is not None and row.status is not None and row.status.epoch > self._epochs[view.name]:
                    view.status = row.status
        except TinkexError as error:
            if error.message != self._problem:
                self._problem = error.message
                self._display.say(f"nothing can be shown just now: {error.message}")
        self._display.show([view for view, _, _ in self._runs], news, time.monotonic())


def _epoch(store: RunStore, name: str) -> int:
    row = store.run(name)
    return row.epoch if row is not None else 0
