"""A supervisor and what is below it, and how it reads."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

ChildState = Literal["idle", "busy", "stopping", "restarting", "waiting_to_restart", "stopped"]

SupervisorState = Literal["running", "giving_up", "stopping"]

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400


class ChildNode(msgspec.Struct, frozen=True):
    """A child of a supervisor as it was when the tree was looked at."""

    id: str
    name: str | None
    """Its registered name."""
    actor_class: str
    actor_urn: str | None
    """None while it is not running."""
    restart: Literal["permanent", "transient", "temporary"]
    state: ChildState
    """``restarting``: it is stopped, or started, with a sibling that failed; ``waiting_to_restart``: until the back-off
    is over; ``stopped``: it is not started again by itself."""
    mailbox: int = 0
    """Messages that wait."""
    uptime: float | None = None
    """Seconds since the start of its actor; None while it is not running."""
    restarts: int = 0
    last_reason: Literal["normal", "shutdown", "killed", "crashed"] | None = None
    """How its actor ended the last time; None if it never has."""
    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] | None = None
    """Of a supervisor that answered."""
    children: tuple["ChildNode", ...] = ()
    """Of a supervisor, the oldest first."""
    answered: bool = True
    """False for a supervisor that did not tell its children in time, because it is stuck or ended meanwhile."""


class SupervisionTree(msgspec.Struct, frozen=True):
    """A supervisor with all that is below it; ``print(tree.render())`` shows it."""

    actor_class: str
    actor_urn: str
    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"]
    state: SupervisorState
    mailbox: int
    """Messages that wait."""
    uptime: float
    """Seconds since its start."""
    children: tuple[ChildNode, ...] = ()
    """The oldest first."""

    def render(self) -> str:
        """Return the tree as text, one line for each actor, without a newline at its end."""
        top = f"{self.actor_class} ({self.strategy}): {self.state}, {_facts(self.mailbox, self.uptime)}"
        return "\n".join([top, *_lines(self.children, "")])


def _lines(children: Sequence[ChildNode], indent: str) -> Iterator[str]:
    for at, child in enumerate(children, 1):
        last = at == len(children)
        yield f"{indent}{'└─' if last else '├─'} {_line(child)}"
        yield from _lines(child.children, f"{indent}{'  ' if last else '│ '} ")


def _line(child: ChildNode) -> str:
    name = "" if child.name is None or child.name == child.id else f" as {child.name!r}"
    strategy = "" if child.strategy is None else f" ({child.strategy})"
    facts = [f"{child.restart}, {child.state.replace('_', ' ')}"]
    if child.uptime is not None:
        facts.append(_facts(child.mailbox, child.uptime))
    if child.restarts:
        facts.append(f"{child.restarts} restart{'s' if child.restarts > 1 else ''}")
    if child.last_reason is not None:
        facts.append(f"last {child.last_reason}")
    if not child.answered:
        facts.append("no answer from it in time")
    return f"{child.id}{name}: {child.actor_class}{strategy} {', '.join(facts)}"


def _facts(mailbox: int, uptime: float) -> str:
    return f"mailbox {mailbox}, up {_span(uptime)}"


def _span(seconds: float) -> str:
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{seconds:.1f} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"
