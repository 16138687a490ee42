"""The ledger of one service client: what it may hold on the server, written down before it asks for it.

Each service client has a file of its own in the state folder, and holds it as long as it lives. Whoever finds a file
that nobody holds finds what its client could not release any more.
"""

import contextlib
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

from tinkex import __version__
from tinkex.actors._leases._ledger_file import LedgerFile
from tinkex.actors._leases._ledger_records import Header, Held, Record, encode
from tinkex.actors._leases._process import this_process
from tinkex.actors._leases._state_dir import open_state_dir, refused
from tinkex.actors._runtime._fork import watch_forks
from tinkex.actors._runtime._log import log

REWRITE_BYTES: Final = 1 << 18
"""From how long on a file is written anew, without what is over."""


class Ledger:
    """Records in a file, and what they add up to. Safe from any thread.

    A record is one write of some hundred bytes, done before its caller goes on. A disk that refuses it is a warning:
    what it could not take is kept and written before the next record, and meanwhile all goes on as without a ledger.

    Args:
        file: held by this process.
        held: what the file adds up to.
        now: epoch seconds, as a clock has them.
        inherited: whether a process that is gone wrote it; it is then deleted as soon as nothing is held.
    """

    def __init__(self, file: LedgerFile, held: Held, now: Callable[[], float], *, inherited: bool) -> None:
        """Go on with ``file``."""
        self.now = now
        self._lock = threading.RLock()
        self._file: LedgerFile | None = file
        self._held = held
        self._inherited = inherited
        self._path = file.path
        self._unwritten: list[bytes] = []
        self._rewrite_at = max(REWRITE_BYTES, 2 * file.size)
        self._waiting: set[str] = set(held.sessions)
        watch_forks(self)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    def note(self, *records: Record) -> None:
        """Write down ``records``, in order; nothing after the end. Never raises for a disk that refuses."""
        event: Callable[[Any], None] | None = None
        with self._lock:
            if self._file is None:
                return
            event = self._append(self._file, records)
            if self._inherited and not self._held.sessions:
                event = self._remove() or event
        if event is not None:
            event(log(ledger=str(self._path)))

    def leave(self, key: str) -> None:
        """Try no longer to release an inherited session; once that is so of all, another client may take them over."""
        with self._lock:
            self._waiting.discard(key)
            if self._inherited and not self._waiting & self._held.sessions.keys():
                self._close()

    def end(self) -> None:
        """Let go of the file, which is deleted where nothing is held any more."""
        with self._lock:
            event = None
            if self._held.sessions:
                self._close()
            else:
                event = self._remove()
        if event is not None:
            event(log(ledger=str(self._path)))

    def reset_after_fork(self) -> None:
        """Leave the file to the parent process."""
        self._lock = threading.RLock()
        self._close()

    def _append(self, file: LedgerFile, records: Collection[Record]) -> Callable[[Any], None] | None:
        failed = bool(self._unwritten)
        try:
            self._unwritten.append(encode(records))
        except UnicodeEncodeError as error:  # nor can it be sent
            return _warning(f"a record is no text: {error.reason}")
        for record in records:
            self._held.add(record)
        try:
            file.append(b"".join(self._unwritten))
        except OSError as error:
            return None if failed else _warning(error.strerror or type(error).__name__)
        self._unwritten.clear()
        if file.size > self._rewrite_at:
            self._shorten(file)
        return (lambda event: event.info("ledger is written again")) if failed else None

    def _shorten(self, file: LedgerFile) -> None:
        with contextlib.suppress(OSError):  # a long file is as good
            file.rewrite(encode(self._held.records()))
        self._rewrite_at = max(REWRITE_BYTES, 2 * file.size)

    def _remove(self) -> Callable[[Any], None] | None:
        file, self._file = self._file, None
        if file is None:
            return None
        try:
            file.remove()
        except OSError as error:
            return _warning(error.strerror or type(error).__name__)
        return None

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def open_ledger(state_dir: str, base_url: str, now: Callable[[], float]) -> Ledger:
    """Begin a ledger in ``state_dir`` for a client of ``base_url``.

    Raises:
        TinkexError: kind ``validation``: the folder cannot be used.
    """
    folder = open_state_dir(state_dir)
    me = this_process()
    held = Held()
    held.add(Header(base_url, me.pid, me.started, me.boot, me.host, __version__, now()))
    try:
        file = LedgerFile.create(folder, me.host)
    except OSError as error:
        raise refused(state_dir, f"cannot be written: {error.strerror}") from error
    try:
        file.append(encode(held.records()))
    except OSError as error:
        file.remove()
        raise refused(state_dir, f"cannot be written: {error.strerror}") from error
    return Ledger(file, held, now, inherited=False)


def _warning(why: str) -> Callable[[Any], None]:
    return lambda event: event.warning("ledger not written; leases would not survive kill -9", error=why)
