"""The event loop of the io thread: it resolves names without executors."""

import asyncio
import contextlib
import selectors
import socket
import threading
from functools import partial
from typing import Any

Question = tuple[bytes | str | None, bytes | str | int | None, int, int, int, int]


class IoLoop(asyncio.SelectorEventLoop):
    """A selector loop that keeps working while the interpreter ends.

    An executor refuses work from then on, and a lookup that hangs in one would hold the program back at its exit.
    """

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        """Wait by ``selector``, the system's best where None."""
        super().__init__(selector)
        self._lookups: dict[Question, asyncio.Future[list[Any]]] = {}

    def abort_connections(self) -> None:
        """Close every connection that is open, whoever should have closed it; one turn of the loop later all are."""
        # asyncio's own table. A loop without it would leave them to the collector, which complains of each.
        transports: dict[int, asyncio.Transport] = getattr(self, "_transports", {})
        for transport in list(transports.values()):
            transport.abort()

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - asyncio's signature
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Resolve like ``socket.getaddrinfo``: numeric hosts at once, names on a daemon thread of the question's own.

        The same question, asked again while it is open, shares the answer: a thousand connections to one server ask
        once. Where no thread can be started any more, names are resolved on the loop itself.
        """
        try:
            return socket.getaddrinfo(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass  # a name
        question = (host, port, family, type, proto, flags)
        answer = self._lookups.get(question)
        if answer is None:
            answer = self._lookups[question] = self.create_future()
            answer.add_done_callback(lambda _: self._lookups.pop(question))
            work = partial(self._look_up, question, answer)
            try:
                threading.Thread(target=work, name="tinkex-lookup", daemon=True).start()
            except RuntimeError:
                work()
        return list(await asyncio.shield(answer))

    def _look_up(self, question: Question, answer: "asyncio.Future[list[Any]]") -> None:
        try:
            settle = partial(answer.set_result, socket.getaddrinfo(*question))
        except OSError as error:
            settle = partial(answer.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            self.call_soon_threadsafe(settle)
