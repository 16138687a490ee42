"""SIGTERM and SIGINT for the length of a block: the first asks for a clean end, the second ends at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

from tinkex.protocol import validation

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_EXIT_BASE: Final = 128

Told = Callable[[str], object]


class Signals:
    """Handles SIGTERM and SIGINT between ``with`` and its end; then those who handled them before do again.

    The first signal, whichever it is, calls ``first`` with its name, such as ``"SIGTERM"``, and after that the handler
    that a user had installed, or another ``Signals`` around this one. The second calls ``second``, puts the former
    handlers back, calls the former one, and ends what the main thread is doing: by ``KeyboardInterrupt`` for SIGINT, by
    ``SystemExit`` with status 143 for SIGTERM. A third finds the former handlers.

    A signal that is ignored stays ignored, as a shell wants it of what runs in its background; and so does one whose
    handler was not installed from Python, for it could not be put back.

    Both are called on the main thread, in the midst of whatever it does, a wait too: they must be quick, take no lock,
    and not wait.

    Args:
        first: told the name of the first signal.
        second: told that of the second.
    """

    def __init__(self, first: Told, second: Told | None = None) -> None:
        self._first: Final = first
        self._second: Final = second
        self._former: dict[int, Any] = {}
        self._names: list[str] = []
        self._over = False

    @property
    def received(self) -> tuple[str, ...]:
        """The names of the signals that came, in their order."""
        return tuple(self._names)

    def __enter__(self) -> Self:
        """Install the handlers.

        Raises:
            TinkexError: kind ``validation``, on a thread other than the main one.
        """
        if threading.current_thread() is not threading.main_thread():
            raise validation(
                f"signals can be handled on the main thread only, and this is {threading.current_thread().name!r}: "
                "call this from the main thread, or stop the trainer yourself when a signal comes",
                field="thread",
            )
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the former handlers back, but where another has taken the place of ours meanwhile."""
        self._restore()

    def _restore(self) -> None:
        self._over = True
        for number, former in self._former.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, former)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._over:  # whoever took our place still passes them on
            self._pass_on(number, frame)
            return
        name = signal.Signals(number).name
        self._names.append(name)
        if len(self._names) == 1:
            self._first(name)
            if self._former[number] is not signal.default_int_handler:
                self._pass_on(number, frame)
            return
        if self._second is not None:
            self._second(name)
        self._restore()
        self._pass_on(number, frame)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(_EXIT_BASE + number)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        former = self._former[number]
        if callable(former):
            former(number, frame)
