"""Which method of an actor handles which message, and what of an actor a proxy may touch."""

from collections.abc import Callable, Mapping
from typing import Any, Final, ParamSpec, TypeVar, cast, overload

from tinkex.actors._genserver._deferred import Deferred
from tinkex.protocol import Request, Result

A = TypeVar("A")
F = TypeVar("F")
M = TypeVar("M")
T = TypeVar("T")
P = ParamSpec("P")

Handler = Callable[[Any, Any], Any]

_HANDLES: Final = "__tinkex_handles__"
_EXPOSED: Final = "__tinkex_exposed__"


@overload
def on(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
    message: type[Request[T]], /
) -> Callable[[Callable[P, Result[T] | Deferred[T]]], Callable[P, Result[T] | Deferred[T]]]: ...


@overload
def on(message: type[M], /) -> Callable[[Callable[[A, M], None]], Callable[[A, M], None]]: ...


def on(message: type[Any], /) -> Callable[[Any], Any]:
    """Make a method the handler of messages of this type, in its class and those that inherit it.

    The handler of a ``Request[T]`` returns a ``Result[T]``, or a ``Deferred[T]`` that is settled later; its requests
    are checked before it sees them. The handler of any other type, which only the actor itself posts, returns None.
    It runs in the actor's thread. An exception in it is a bug and crashes the actor.
    """

    def mark(handler: F) -> F:
        handled = getattr(handler, _HANDLES, ())
        setattr(handler, _HANDLES, (*handled, message))
        return handler

    return mark


def exposed(member: F) -> F:
    """Let proxies use this method, or property (below ``@property``).

    A class that marks nothing exposes its public names, as pykka does, but for handlers and what ``GenServer`` defines.
    One that marks something, here or in a class it inherits, exposes just that.
    """
    marked: Any = member.fget if isinstance(member, property) else member
    setattr(marked, _EXPOSED, True)
    return member


def handlers_of(cls: type) -> dict[type, Handler]:
    """Collect the handlers of a class; nearer classes override farther ones, by message and by method name."""
    handled: dict[str, list[type]] = {}
    for base in reversed(cls.__mro__):
        for name, member in base.__dict__.items():
            if kinds := cast("tuple[type, ...]", getattr(member, _HANDLES, ())):
                handled.setdefault(name, []).extend(kinds)
    members = _members(cls)
    ordered = ((name, member) for name, member in members.items() if name in handled)
    return {kind: member for name, member in ordered for kind in handled[name]}


def exposed_of(cls: type, own: frozenset[str]) -> frozenset[str] | None:
    """Collect the names that ``cls`` exposes; None if it marks none, so that the public ones are. ``own`` never are."""
    members = _members(cls)
    marked = {
        name
        for name, member in members.items()
        if getattr(member.fget if isinstance(member, property) else member, _EXPOSED, False)
    }
    return frozenset(marked - own) if marked else None


def unexposed_of(cls: type) -> frozenset[str]:
    """Collect the names of a class's handlers, which are reached by their messages only."""
    return frozenset(name for name, member in _members(cls).items() if hasattr(member, _HANDLES))


def _members(cls: type) -> Mapping[str, Any]:
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        members.update(base.__dict__)
    return members
