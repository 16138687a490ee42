"""The children of one supervisor, in the order of their start, their actors and their names."""

from collections.abc import Iterator
from typing import Final

from tinkex.actors._genserver._watch import Down
from tinkex.actors._runtime._turns import WorldEnded
from tinkex.actors._supervision._child import Child, conflict, start_error
from tinkex.actors._supervision._events import Events, GivenUp
from tinkex.actors._supervision._names import Names
from tinkex.protocol import TinkexError


class Roster:
    """Knows the children and brings them to life; when, and whether again, is the supervisor's to decide.

    A child's name is taken from its first start until it is given up, whatever happens to its actors in between.

    Args:
        names: those of the supervisor's runtime.
        events: the supervisor's log.
    """

    def __init__(self, names: Names, events: Events) -> None:
        """Begin without children."""
        self._names: Final = names
        self._events: Final = events
        self._children: Final[dict[str, Child]] = {}

    def __iter__(self) -> Iterator[Child]:
        """Return the children as they are now, the oldest first."""
        return iter(list(self._children.values()))

    def __len__(self) -> int:
        return len(self._children)

    def get(self, child_id: str) -> Child | None:
        """Return the child of this id, or None."""
        return self._children.get(child_id)

    def running(self) -> list[Child]:
        """Return those that have an actor, the oldest first."""
        return [child for child in self if child.ref is not None]

    def add(self, child: Child) -> None:
        """Keep a child, as the youngest."""
        self._children[child.spec.id] = child

    def start(self, child: Child) -> TinkexError | None:
        """Start a child's actor; return what its init failed with, or that its name is in use."""
        spec = child.spec
        if spec.name is not None and not self._names.claim(spec.name, child):
            error = conflict(spec.id, f"child {spec.id!r}: the name {spec.name!r} is in use")
            self._events.child_init_failed(child, error)
            return error
        self._events.child_starting(child)
        try:
            ref = spec.actor_class.start(*spec.args, **dict(spec.kwargs))
        except WorldEnded:
            raise
        except BaseException as cause:  # noqa: BLE001 - whatever it is, it is the child's crash and not its supervisor's
            error = start_error(spec, cause)
            self._events.child_init_failed(child, error)
            return error
        child.ref, child.given_up = ref, False
        self._events.child_started(child)
        return None

    def introduce(self, child: Child) -> None:
        """Have a started child's actor bear its name and give it what waits for it."""
        name, ref = child.spec.name, child.ref
        if name is not None and ref is not None and self._names.register(name, child, ref):
            self._events.name_registered(child)

    def ended(self, child: Child, down: Down) -> None:
        """Note that a child's actor has ended."""
        child.end(down.reason)
        self._events.child_ended(child, down)
        if child.spec.restart == "temporary":
            del self._children[child.spec.id]
        if child.spec.name is not None and self._names.lose(child.spec.name, child):
            self._events.name_lost(child)

    def give_up(self, child: Child, why: GivenUp) -> None:
        """Free the name of a child that is not started again; once for each time that it was started."""
        if not child.given_up:
            child.given_up = True
            self._events.child_given_up(child, why)
        self.free(child)

    def kill(self) -> None:
        """Kill every actor, the youngest first, and free every name. Any thread."""
        for child in reversed(list(self)):
            ref = child.ref
            if ref is not None:
                ref.kill("killed")
            self.free(child)

    def free(self, child: Child) -> None:
        """Free a child's name, and answer what waits for it."""
        if child.spec.name is not None and self._names.release(child.spec.name, child):
            self._events.name_unregistered(child)
