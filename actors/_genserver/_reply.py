"""The handle of one reply, held by whoever asked."""

# ruff: noqa: SLF001 - replies that are derived from one another know their insides

import asyncio
import functools
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

import pykka

from tinkex.actors._genserver._envelope import Promise
from tinkex.actors._genserver._here import here, may_block, wait
from tinkex.protocol import Result

if TYPE_CHECKING:
    from pykka._types import OptExcInfo

T = TypeVar("T")
V = TypeVar("V")
J = TypeVar("J")
M = TypeVar("M")
R = TypeVar("R")


class Pending(pykka.Future[V]):
    """A value that is there now or later: ``get()`` it, ``await`` it, or have it given to a callback.

    A handle, which belongs to the asker: when it is dropped before the value was read, the actor that owes the reply
    can learn of it (``Deferred.on_abandon``). Any thread and any event loop may use it, any number of them at once.
    """

    __slots__ = ("_promise", "_sources")

    def __init__(self, promise: Promise | None = None, sources: "tuple[Pending[Any], ...]" = ()) -> None:
        # pykka's own fields are of no use here and would cost each reply a dictionary.
        self._promise = Promise(None, None) if promise is None else promise
        self._sources = sources

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'settled' if self._promise.settled else 'open'}>"

    def done(self) -> bool:
        """Tell whether the value is there."""
        return self._promise.settled

    def get(self, *, timeout: float | None = None) -> V:
        """Wait for the value, up to ``timeout`` seconds.

        Raises:
            pykka.Timeout: the wait ran out; the reply may still be read later.
            RuntimeError: on the thread of a GenServer or the io thread, where waiting can deadlock.
        """
        promise = self._promise
        if not promise.settled:
            may_block()
            if not wait(promise, timeout):
                raise pykka.Timeout(f"{timeout} seconds")
        return self._read()

    def __await__(self) -> Generator[Any, None, V]:
        promise = self._promise
        if not promise.settled:
            loop = asyncio.get_running_loop()
            future: asyncio.Future[None] = loop.create_future()
            wake = functools.partial(here.bridge(loop).wake, future)
            promise.subscribe_once(wake)
            try:
                yield from future
            except asyncio.CancelledError:
                promise.unsubscribe(wake)
                self._cancel_unless_awaited()
                raise
            finally:
                promise.unsubscribe(wake)
        return self._read()

    __iter__ = __await__

    def cancel(self) -> bool:
        """Give the request up; return False if the reply is there already.

        A request that the actor has not taken up is withdrawn. One that is under way is its actor's to stop: the reply
        is then ``Err(kind="cancelled")`` too, unless the work was done already. ``error.data["outcome"]`` tells which.
        """
        if self._sources:
            cancelled = [source.cancel() for source in self._sources]
            return any(cancelled)
        return self._promise.cancel()

    def add_done_callback(self, callback: Callable[[V], object]) -> None:
        """Call ``callback`` with the value: in the thread that brings it, or here and now if it is there. Be quick."""
        self._keep()
        self._promise.subscribe_once(lambda: callback(self._promise.read()))

    def map(self, func: Callable[[V], M]) -> "Pending[M]":
        """Return the future ``func(value)``; ``func`` runs in the thread that brings the value, and should be quick."""
        derived = Promise(None, None)
        source = self._promise
        source.subscribe_once(lambda: _derive(derived, lambda: func(source.value())))
        return Pending(derived, (self,))

    def filter(self: "Pending[Iterable[J]]", func: Callable[[J], bool]) -> "Pending[Iterable[J]]":
        """Return the future list of the value's items that pass ``func``."""
        return cast("Pending[Iterable[J]]", self.map(lambda items: list(filter(func, items))))

    def reduce(self: "Pending[Iterable[J]]", func: Callable[[R, J], R], *args: R) -> "Pending[R]":
        """Return the future of ``functools.reduce(func, value, *args)``."""
        return self.map(lambda items: functools.reduce(cast("Any", func), items, *args))

    def join(self, *futures: pykka.Future[Any]) -> "Pending[Iterable[Any]]":
        """Return the future list of this value and those of ``futures``, which are replies too."""
        sources = (self, *(_own(future) for future in futures))
        derived = Promise(None, None)
        left = [None] * (len(sources) - 1)

        def arrived() -> None:
            try:
                left.pop()
            except IndexError:
                _derive(derived, lambda: [promise.value() for promise in promises])

        promises = [source._promise for source in sources]
        for promise in promises:
            promise.subscribe_once(arrived)
        return Pending(derived, sources)

    def set(self, value: Any = None) -> None:
        """Settle the reply, for pykka's sake; the first one counts."""
        self._promise.settle(value)

    def set_exception(self, exc_info: "OptExcInfo | None" = None) -> None:
        """Settle the reply with an exception that ``get()`` raises, for pykka's sake; the first one counts."""
        self._promise.set_exception(exc_info)

    def set_get_hook(self, func: Callable[[float | None], V]) -> NoReturn:
        """Refuse: a reply is brought to its readers, never fetched by one of them."""
        raise NotImplementedError("replies have no get hook: settle them with set(), or derive one with map()")

    def _read(self) -> V:
        for source in self._sources:
            source._mark_read()
        return cast("V", self._promise.read())

    def _mark_read(self) -> None:
        self._promise.deferred = None
        for source in self._sources:
            source._mark_read()

    def _keep(self) -> None:
        self._promise.kept = True
        for source in self._sources:
            source._keep()

    def _cancel_unless_awaited(self, besides: int = 0) -> None:
        if self._promise.waiting > besides:
            return
        if not self._sources:
            self._promise.cancel()
        for source in self._sources:
            source._cancel_unless_awaited(1)


class Reply(Pending[Result[T]], Generic[T]):
    """The reply to one ask: ``Ok(T)`` or an ``Err``, now or later."""

    __slots__ = ()

    def __del__(self) -> None:
        promise = self._promise
        if promise.kept or (promise.settled and promise.deferred is None):
            return
        # Order matters: whoever links a deferred sets it first and looks for this mark then.
        promise.abandoned = promise.abandoned or "dropped"
        if promise.deferred is not None and promise.mailbox is not None:
            promise.mailbox.drop(promise)


def _derive(derived: Promise, func: Callable[[], Any]) -> None:
    try:
        value = func()
    except BaseException as error:  # noqa: BLE001 - it is raised again, to whoever reads the derived value
        derived.fail(error)
    else:
        derived.settle(value)


def _own(future: pykka.Future[Any]) -> Pending[Any]:
    if not isinstance(future, Pending):
        raise TypeError(f"only replies can be joined, which are brought by their actors: {future!r} is not one")
    return future
