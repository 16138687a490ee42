"""The address of a GenServer: asks, tells, stops and watches it, and never keeps it alive."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, cast, overload

import pykka
from pykka.messages import ProxySetAttr

from tinkex.actors._genserver._asking import ask_and_wait
from tinkex.actors._genserver._envelope import Promise, Tell
from tinkex.actors._genserver._here import may_block
from tinkex.actors._genserver._mailbox import OPEN, ActorStop, Mailbox
from tinkex.actors._genserver._proxy import GenProxy, refuse_assignment
from tinkex.actors._genserver._reply import Pending, Reply
from tinkex.actors._genserver._vitals import Vitals, VitalState
from tinkex.actors._genserver._watch import Down
from tinkex.protocol import Request, Result

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from tinkex.actors._genserver._door import Door
    from tinkex.actors._genserver._life import Life

    P = TypeVar("P", default=Any)
    T = TypeVar("T")
else:
    from typing import TypeVar

    P = TypeVar("P")
    T = TypeVar("T")

OURS = (ActorStop, ProxySetAttr)
"""Messages of pykka's that are no messages here."""


class GenRef(pykka.ActorRef[Any], Generic[P]):
    """Reference to a GenServer; pass it around freely, but not to another process.

    What happened to the actor is never raised by ``ask``: dead, dying or killed is ``Err(kind="actor_dead")``, crashed
    is ``Err(kind="actor_crashed")``.
    """

    actor_inbox: Mailbox  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, actor: pykka.Actor, life: "Life", door: "Door") -> None:
        super().__init__(actor)
        self._life = life
        self._door = door

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self} lives in this process: a reference to it cannot be pickled")

    def is_alive(self) -> bool:
        """Tell whether the actor takes part; False in the child of a fork."""
        return not self.actor_stopped.is_set() and not self.actor_inbox.forked

    @overload  # type: ignore[override]
    def ask(self, message: Request[T], *, block: Literal[True] = True, timeout: float | None = None) -> Result[T]: ...

    @overload
    def ask(self, message: Request[T], *, block: Literal[False], timeout: float | None = None) -> Reply[T]: ...

    @overload
    def ask(self, message: Request[T], *, block: bool, timeout: float | None = None) -> Result[T] | Reply[T]: ...

    def ask(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any:
        """Send a message, and wait for the reply unless ``block`` is false.

        Args:
            message: what is asked for.
            block: wait for the result, else return the ``Reply`` at once.
            timeout: seconds to wait; it ends this wait only, and tells the actor that nobody reads the reply.

        Raises:
            pykka.Timeout: the wait ran out.
            RuntimeError: on the thread of a GenServer or the io thread, where waiting can deadlock.
        """
        if message.__class__ in OURS:
            return self._ask_ours(message, block, timeout)
        promise = Promise(message, self.actor_inbox)
        if not block:
            promise.send()
            return Reply[Any](promise)
        return ask_and_wait(promise, timeout)

    def _ask_ours(self, message: object, block: bool, timeout: float | None) -> Any:
        if isinstance(message, ProxySetAttr):
            refuse_assignment(self, message.attr_path[-1])
        return self.stop(block=block, timeout=timeout)

    def tell(self, message: object) -> None:
        """Send a message and expect no reply.

        Raises:
            pykka.ActorDeadError: the actor is dead or stopping.
        """
        if message.__class__ in OURS:
            self._ask_ours(message, block=False, timeout=None)
        elif not self.actor_inbox.offer(Tell(message)):
            raise pykka.ActorDeadError(str(self.actor_inbox.refusal()))

    def proxy(self) -> P:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the proxy, through which the actor's methods give replies.

        Raises:
            pykka.ActorDeadError: the actor is dead.
        """
        return cast("P", GenProxy(actor_ref=self))

    @overload  # type: ignore[override]
    def stop(
        self,
        *,
        block: Literal[True] = True,
        timeout: float | None = None,
        reason: Literal["normal", "shutdown"] = "normal",
        shutdown: float | None = None,
    ) -> bool: ...

    @overload
    def stop(
        self,
        *,
        block: Literal[False],
        timeout: float | None = None,
        reason: Literal["normal", "shutdown"] = "normal",
        shutdown: float | None = None,
    ) -> Pending[bool]: ...

    @overload
    def stop(
        self,
        *,
        block: bool,
        timeout: float | None = None,
        reason: Literal["normal", "shutdown"] = "normal",
        shutdown: float | None = None,
    ) -> bool | Pending[bool]: ...

    def stop(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        *,
        block: bool = True,
        timeout: float | None = None,
        reason: Literal["normal", "shutdown"] = "normal",
        shutdown: float | None = None,
    ) -> bool | Pending[bool]:
        """Stop the actor: it takes nothing more from outside, finishes what it has, and ends.

        Args:
            block: wait for its end, else return the future of it.
            timeout: seconds to wait; the stop goes on beyond them.
            reason: what its watchers are told.
            shutdown: seconds that it is given, default its class's; what is open then is answered ``Err(actor_dead)``.

        Returns:
            True when it has ended; False if it was dead already.

        Raises:
            pykka.Timeout: the wait ran out.
            RuntimeError: on the thread of a GenServer or the io thread, where waiting can deadlock.
        """
        if block:
            may_block()
        promise = Promise(None, None)
        if self._life.stop(reason, self.actor_class.shutdown if shutdown is None else shutdown):
            self._life.watch.add(lambda _down: promise.settle(True))
        else:
            promise.settle(False)
        ended = Pending[bool](promise)
        return ended.get(timeout=timeout) if block else ended

    def kill(self, reason: str = "killed") -> bool:
        """End the actor at once, whatever it is at; return False if it was dead already.

        Its mailbox is closed, everybody who waits is answered ``Err(actor_dead)``, its I/O is cancelled and its
        watchers are told. The running handler goes on to its end, unheard; ``join()`` waits for that. Any thread.
        """
        return self._life.die(reason)

    def join(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds until the actor's thread is gone; return whether it is.

        Raises:
            RuntimeError: on the actor's own thread.
        """
        return self._life.join(timeout)

    def vitals(self) -> Vitals:
        """Look at the actor from outside: it is not asked, and may be stuck. Any thread."""
        inbox = self.actor_inbox
        waiting = inbox.length()
        state: VitalState = "idle" if inbox.current is None and not waiting else "busy"
        if not self.is_alive():
            state = "dead"
        elif inbox.state != OPEN:
            state = "stopping"
        return Vitals(state, waiting, self._life.uptime())

    def exposes(self, name: str) -> bool:
        """Tell whether the actor's proxies may touch ``name``, if it is there."""
        return self._door.exposes(name)

    def monitor(self, watcher: Callable[[Down], object]) -> Callable[[], None]:
        """Call ``watcher`` once when the actor has ended, at once if it has already; in any thread, so be quick.

        Returns:
            what takes it back; without effect once the watcher was called.
        """
        if self.actor_inbox.forked:
            watcher(Down(self.actor_urn, "killed", self.actor_inbox.refusal()))
            return lambda: None
        return self._life.watch.add(watcher)
