"""What a supervisor must know to start a child, and start it again."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, cast, get_args

import msgspec

from tinkex.protocol._checks import check_number, check_optional, check_text, shown
from tinkex.protocol._errors import TinkexError, validation

Restart = Literal["permanent", "transient", "temporary"]

_RESTARTS: Final = get_args(Restart)


class ChildSpec(msgspec.Struct, frozen=True):
    """A child of a supervisor: ``actor_class.start(*args, **kwargs)`` under an ``id`` of its own."""

    id: str
    actor_class: type[Any]
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    restart: Restart = "permanent"
    """``permanent``: always; ``transient``: after a crash or kill only; ``temporary``: never."""
    shutdown: float = 5.0
    """Seconds to stop in, before the child is killed."""
    name: str | None = None
    """Registered name that survives restarts."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return (
            check_text("id", self.id)
            or self._check_call()
            or check_number("shutdown", self.shutdown, 0.0)
            or check_optional(check_text, "name", self.name)
        )

    def _check_call(self) -> TinkexError | None:
        actor_class, args, kwargs, restart = (cast("object", getattr(self, name)) for name in _CALL)
        if not isinstance(actor_class, type):
            return validation(f"actor_class must be a class, not {shown(actor_class)}", field="actor_class")
        if not isinstance(args, tuple | list):
            return validation(f"args must be a tuple, not {type(args).__name__}", field="args")
        if not _has_text_keys(kwargs):
            return validation(f"kwargs must be a dict with keys of text, not {type(kwargs).__name__}", field="kwargs")
        if restart not in _RESTARTS:
            return validation(f"restart must be one of {', '.join(_RESTARTS)}, not {shown(restart)}", field="restart")
        return None

    def __repr__(self) -> str:
        # Arguments may hold secrets.
        return f"ChildSpec({self.id!r}, {self.actor_class!r}, restart={self.restart!r}, name={self.name!r})"


_CALL: Final = ("actor_class", "args", "kwargs", "restart")


def _has_text_keys(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in cast("dict[object, object]", value))
