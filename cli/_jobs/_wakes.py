"""What wakes a supervising command: a signal to it, or the end of a child."""

import contextlib
import os
import select
import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

_ASKED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Wakes:
    """Takes SIGTERM, SIGINT, SIGHUP and SIGCHLD between ``with`` and its end; on the main thread only.

    Those of the first three that are ignored stay so.
    """

    def __init__(self) -> None:
        self._came: list[signal.Signals] = []
        self._former: dict[int, Any] = {}
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)

    def __enter__(self) -> Self:
        for number in _ASKED:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._former[number] = signal.signal(number, self._asked)
        self._former[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, self._wake)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, former in self._former.items():
            signal.signal(number, signal.SIG_DFL if former is None else former)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Wait for a signal, up to so many seconds; at once where one came since the last wait."""
        select.select([self._read], [], [], max(seconds, 0.0))
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)

    def take(self) -> list[signal.Signals]:
        """Return the signals that asked for an end and were not taken yet."""
        came, self._came = self._came, []
        return came

    def _asked(self, number: int, frame: FrameType | None) -> None:
        self._came.append(signal.Signals(number))
        self._wake(number, frame)

    def _wake(self, _number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(BlockingIOError):  # a full pipe wakes as well
            os.write(self._write, b"x")
