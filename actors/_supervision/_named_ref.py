"""The address of whoever bears a name: it goes on to the next actor when one is restarted."""

from typing import Any, Final, Literal, NoReturn, TypeVar, overload

import pykka

from tinkex.actors._genserver._asking import ask_and_wait
from tinkex.actors._genserver._envelope import Promise, Tell
from tinkex.actors._genserver._ref import OURS, GenRef
from tinkex.actors._genserver._reply import Reply
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._supervision._names import Names, names
from tinkex.actors._supervision._parcel import Parcel
from tinkex.protocol import Request, Result, validation

T = TypeVar("T")

WhileDown = Literal["fail", "wait"]
"""What becomes of a message while nobody bears the name: it is refused at once, or it waits for the restart."""


class NamedRef:
    """Whoever bears ``name`` in one runtime, now and after restarts; made by ``named``. Any thread may use it.

    A message that an actor had taken into its mailbox when it crashed is answered ``Err(actor_crashed)`` and is not
    delivered again: it may have been handled.
    """

    __slots__ = ("_names", "_while_down", "name")

    def __init__(self, known: Names, name: str, while_down: WhileDown) -> None:
        """Address ``name`` among the names that are ``known``."""
        self.name: Final = name
        self._names: Final = known
        self._while_down: Final[WhileDown] = while_down

    def __repr__(self) -> str:
        return f"named({self.name!r}, while_down={self._while_down!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NamedRef):
            return NotImplemented
        return (self._names, self.name, self._while_down) == (other._names, other.name, other._while_down)

    def __hash__(self) -> int:
        return hash((self.name, self._while_down))

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self} is known in this process only: it cannot be pickled")

    def whereis(self) -> GenRef[Any] | None:
        """Return the reference of the actor that bears the name now; None while nobody does."""
        return self._names.find(self.name)

    def is_alive(self) -> bool:
        """Tell whether an actor bears the name now."""
        return self.whereis() is not None

    @overload
    def ask(self, message: Request[T], *, block: Literal[True] = True, timeout: float | None = None) -> Result[T]: ...

    @overload
    def ask(self, message: Request[T], *, block: Literal[False], timeout: float | None = None) -> Reply[T]: ...

    @overload
    def ask(self, message: Request[T], *, block: bool, timeout: float | None = None) -> Result[T] | Reply[T]: ...

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message to the actor that bears the name, and wait for the reply unless ``block`` is false.

        While nobody does, ``while_down="fail"`` answers ``Err(kind="actor_dead")`` at once, as does a name that nobody
        has. With ``"wait"`` the message is held, behind those that were sent before, until the name is borne again. It
        is answered ``Err(actor_dead)`` when its supervisor gives the child up, ``Err(await_timeout)`` when the
        message's ``await_timeout`` passes, which goes on counting in the actor, and ``Err(cancelled)`` when its reply
        is cancelled; ``error.data["outcome"]`` is ``not_sent`` then.

        Args:
            message: what is asked for.
            block: wait for the result, else return the ``Reply`` at once.
            timeout: seconds to wait; it ends this wait only, and tells the actor that nobody reads the reply.

        Raises:
            pykka.Timeout: the wait ran out.
            RuntimeError: on the thread of a GenServer or the io thread, where waiting can deadlock.
        """
        _refuse_ours(message)
        promise = Promise(message, self._parcel())
        if not block:
            promise.send()
            return Reply[Any](promise)
        return ask_and_wait(promise, timeout)

    def tell(self, message: object) -> None:
        """Send a message and expect no reply. One that waits and is given up leaves a line in the log.

        Raises:
            pykka.ActorDeadError: nobody bears the name, and the message does not wait for it.
        """
        _refuse_ours(message)
        parcel = self._parcel()
        if not parcel.offer(Tell(message)):
            raise pykka.ActorDeadError(str(parcel.refusal()))

    def _parcel(self) -> Parcel:
        return Parcel(self._names, self.name, self._while_down == "wait")


def whereis(name: str) -> GenRef[Any] | None:
    """Return the reference of the actor that bears ``name`` in the current runtime; None if nobody does now."""
    return names(Runtime.current()).find(name)


def named(name: str, while_down: WhileDown = "fail") -> NamedRef:
    """Return the address of whoever bears ``name`` in the current runtime, now or later.

    Args:
        name: the ``name`` of a child's ``ChildSpec``.
        while_down: ``"fail"`` refuses messages at once while the child is down, ``"wait"`` holds them until it is back.

    Raises:
        TinkexError: kind ``validation``, for any other ``while_down``.

    Example:
        named("trainer", while_down="wait").ask(messages.Status(await_timeout=30.0))
    """
    if while_down not in ("fail", "wait"):
        raise validation(f"while_down must be 'fail' or 'wait', not {while_down!r}", field="while_down")
    return NamedRef(names(Runtime.current()), name, while_down)


def _refuse_ours(message: object) -> None:
    if message.__class__ in OURS:
        raise TypeError("only messages go by name: stop an actor by its reference, which whereis() returns")
