"""The proxy of a GenServer: reads what it exposes and calls it, nothing else."""

from typing import Any, NoReturn, Protocol

import pykka


class Exposing(Protocol):
    """A reference that knows what may be touched through it."""

    def exposes(self, name: str) -> bool:
        """Tell whether proxies may touch ``name``."""
        ...


class GenProxy(pykka.ActorProxy[Any]):
    """pykka's proxy, less the names that are none of the callers' business."""

    actor_ref: Any

    def __getattr__(self, name: str) -> Any:
        ref: Exposing = self.actor_ref
        if not ref.exposes(name):
            raise AttributeError(f"{self} exposes no {name!r}")
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIELDS:
            object.__setattr__(self, name, value)
        else:
            refuse_assignment(self.actor_ref, name)

    def __dir__(self) -> list[str]:
        ref: Exposing = self.actor_ref
        return sorted({"actor_ref", *(path[0] for path in self._known_attrs if ref.exposes(path[0]))})


_FIELDS = frozenset({"actor_ref", *pykka.ActorProxy.__annotations__})


def refuse_assignment(ref: object, name: str) -> NoReturn:
    """Raise where somebody assigns through a proxy."""
    raise AttributeError(f"{ref}: {name!r} cannot be assigned from outside; send the actor a message")
