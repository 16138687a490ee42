"""What ``tinkex train`` shows: the shape of a display, and which one to take."""

import contextlib
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal, Protocol

from tinkex.cli._shown._run_view import RunView

Style = Literal["live", "plain", "json"]


class Display(Protocol):
    """Shows runs. Used by one thread at a time."""

    def show(self, views: Sequence[RunView], news: Sequence[tuple[RunView, Mapping[str, Any]]], now: float) -> None:
        """Show the runs as they are, and what happened since the last call.

        Args:
            views: all runs.
            news: events of their logs, each noted in its view already.
            now: monotonic seconds.
        """
        ...

    def say(self, sentence: str) -> None:
        """Show a sentence of the command's own."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; ``say`` goes on working."""
        ...


def choose_style(*, json: bool) -> Style:
    """Return how to show runs: lines of JSON if asked for, a live picture on a terminal, else plain lines."""
    if json:
        return "json"
    return "live" if sys.stdout.isatty() else "plain"


class _Unread:
    """A display whose output need not be read: where a pipe is closed, as behind `head`, the runs go on."""

    def __init__(self, display: Display) -> None:
        self._display = display

    def show(self, views: Sequence[RunView], news: Sequence[tuple[RunView, Mapping[str, Any]]], now: float) -> None:
        with _whoever_reads():
            self._display.show(views, news, now)

    def say(self, sentence: str) -> None:
        with _whoever_reads():
            self._display.say(sentence)

    def close(self) -> None:
        with _whoever_reads():
            self._display.close()


@contextlib.contextmanager
def _whoever_reads() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)  # what is printed from now on, and what is buffered, goes there
        try:
            os.dup2(nowhere, sys.stdout.fileno())
        finally:
            os.close(nowhere)


def make_display(style: Style) -> Display:
    """Make a display that writes to standard output, whether that is read or not."""
    return _Unread(_plainly(style))


def _plainly(style: Style) -> Display:
    if style == "json":
        from tinkex.cli._shown._display_json import JsonDisplay  # noqa: PLC0415 - only the one that is shown

        return JsonDisplay()
    if style == "plain":
        from tinkex.cli._shown._display_plain import PlainDisplay  # noqa: PLC0415 - as above

        return PlainDisplay()
    from tinkex.cli._shown._display_live import LiveDisplay  # noqa: PLC0415 - as above

    return LiveDisplay()
