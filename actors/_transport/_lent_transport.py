"""A transport that several lanes may use: it is closed when none of them is in the midst of an exchange."""

import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import httpx

Close = Callable[[], Awaitable[object]]


class Exchanges:
    """Those that are under way over one transport. Any thread.

    A pool that is closed in the middle of a connect would leave that connection open.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._lock = threading.Lock()
        self._open = 0
        self._close: Close | None = None

    def begin(self) -> None:
        """Note one more."""
        with self._lock:
            self._open += 1

    def end(self) -> Close | None:
        """Note one less; return how to close the transport, where that is now to be done."""
        with self._lock:
            self._open -= 1
            return self._due()

    def close(self, close: Close) -> Close | None:
        """Ask to have the transport closed; return ``close`` where nobody uses it, else the last one's ``end`` does."""
        with self._lock:
            self._close = close
            return self._due()

    def _due(self) -> Close | None:
        if self._open:
            return None
        due, self._close = self._close, None
        return due


_of: Final[dict[int, Exchanges]] = {}
"""By the identity of the transport, which may be neither hashable nor equal to itself alone."""
_lock: Final = threading.Lock()


def exchanges_over(transport: "httpx.AsyncBaseTransport") -> Exchanges:
    """Return what all lanes over ``transport`` share."""
    with _lock:
        found = _of.get(id(transport))
        if found is None:
            found = _of[id(transport)] = Exchanges()
            weakref.finalize(transport, _of.pop, id(transport), None).atexit = False
        return found
