"""What a caller may do to an actor through a proxy, and how everything else is refused."""

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import TYPE_CHECKING, Any, Final

from pykka.messages import ProxyCall, ProxyGetAttr

from tinkex.actors._genserver._dispatch import exposed_of, unexposed_of
from tinkex.protocol import Err, TinkexError, validation

if TYPE_CHECKING:
    from collections.abc import Sequence

_MISSING: Final = object()


class Door:
    """The names that proxies of one actor class may touch.

    Args:
        cls: the class.
        own: the names of ``GenServer`` itself, which no caller touches.
    """

    def __init__(self, cls: type, own: frozenset[str]) -> None:
        self._cls = cls
        self._own = own
        self._marked = exposed_of(cls, own)
        self._hidden = unexposed_of(cls)
        self._plain = {name: member for name, member in self._class_members() if _is_plain(member)}

    def exposes(self, name: str) -> bool:
        """Tell whether proxies may touch ``name``, if it is there."""
        if self._marked is not None:
            return name in self._marked
        return not name.startswith("_") and name not in self._own and name not in self._hidden

    def call(self, actor: object, message: ProxyCall) -> Any:
        """Make a proxied call; what it raises is the actor's bug, but for arguments that do not fit."""
        path, args, kwargs = message
        name = path[0] if len(path) == 1 else ""
        plain = self._plain.get(name)
        if plain is None or name in vars(actor):
            return self._call_other(actor, path, args, kwargs)
        try:
            return plain(actor, *args, **kwargs)
        except TypeError as error:
            traceback = error.__traceback__
            inside = traceback is not None and traceback.tb_next is not None
            if inside or (misfit := _misfit(plain, (actor, *args), kwargs)) is None:
                raise
            return Err(misfit)

    def read(self, actor: object, message: ProxyGetAttr) -> Any:
        """Read an attribute; a method is called, not read."""
        value = self._find(actor, message.attr_path)
        if value is _MISSING:
            return Err(self._no_such(message.attr_path))
        if callable(value):
            return Err(validation(f"{'.'.join(message.attr_path)} of {self._cls.__name__} is a method: call it"))
        return value

    def _call_other(
        self, actor: object, path: "Sequence[str]", args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        callee = self._find(actor, path)
        if callee is _MISSING or not callable(callee):
            return Err(self._no_such(path))
        misfit = _misfit(callee, args, kwargs)
        return callee(*args, **kwargs) if misfit is None else Err(misfit)

    def _find(self, actor: object, path: "Sequence[str]") -> Any:
        if not path or not self.exposes(path[0]) or not _has(actor, path[0]):
            return _MISSING
        value = getattr(actor, path[0])
        for name in path[1:]:
            if name.startswith("_") or not _is_traversable(value) or not _has(value, name):
                return _MISSING
            value = getattr(value, name)
        return value

    def _no_such(self, path: "Sequence[str]") -> TinkexError:
        return validation(f"{self._cls.__name__} has nothing that a caller may use as {'.'.join(path)!r}")

    def _class_members(self) -> "list[tuple[str, Any]]":
        members: dict[str, Any] = {}
        for base in reversed(self._cls.__mro__):
            members.update(base.__dict__)
        return [(name, member) for name, member in members.items() if self.exposes(name)]


def _is_plain(member: object) -> bool:
    return isinstance(member, FunctionType) and not hasattr(member, "__wrapped__")


def _has(owner: object, name: str) -> bool:
    # Without running a property: its AttributeError is a bug, not a missing name.
    return name in getattr(owner, "__dict__", ()) or any(name in base.__dict__ for base in type(owner).__mro__)


def _is_traversable(value: object) -> bool:
    return True in (getattr(value, "_pykka_traversable", None), getattr(value, "pykka_traversable", None))


def _misfit(callee: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TinkexError | None:
    try:
        signature = inspect.signature(callee)
    except ValueError:  # a builtin that does not tell
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return validation(f"{getattr(callee, '__name__', callee)}: {error}")
    return None
