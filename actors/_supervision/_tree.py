"""What a supervisor tells of its children in a ``Tree``: pure, from what their references and they themselves told."""

from collections.abc import Mapping
from typing import Final

import msgspec

from tinkex.actors._genserver._vitals import Vitals
from tinkex.actors._supervision._child import Child
from tinkex.protocol import Ok, Result
from tinkex.protocol._supervision_tree import ChildState, SupervisorState
from tinkex.protocol.replies import ChildNode, SupervisionTree

SHARE: Final = 0.75
"""Of the time that a supervisor waits, what a supervisor below may wait for those below it."""


def look(child: Child, planned: bool, pausing: bool) -> ChildNode:
    """Return what is known of a child without asking it.

    Args:
        child: it.
        planned: whether it is to be started again.
        pausing: whether its supervisor waits before it does.
    """
    spec = child.spec
    vitals = None if child.ref is None else child.ref.vitals()
    alive = vitals is not None and vitals.state != "dead"
    return ChildNode(
        id=spec.id,
        name=spec.name,
        actor_class=spec.actor_class.__name__,
        actor_urn=None if child.ref is None else child.ref.actor_urn,
        restart=spec.restart,
        state=_state(vitals, planned, pausing),
        mailbox=0 if vitals is None else vitals.mailbox,
        uptime=vitals.uptime if vitals is not None and alive else None,
        restarts=child.restarts,
        last_reason=child.last_reason,
    )


def _state(vitals: Vitals | None, planned: bool, pausing: bool) -> ChildState:
    if planned:
        return "waiting_to_restart" if pausing else "restarting"
    if vitals is None or vitals.state == "dead":
        return "stopped"
    return vitals.state


def supervisor_state(stopping: bool, exhausted: bool) -> SupervisorState:
    """Return what a supervisor itself is doing."""
    if stopping:
        return "stopping"
    return "giving_up" if exhausted else "running"


def with_those_below(node: ChildNode, answer: Result[SupervisionTree] | None) -> ChildNode:
    """Complete what is known of a supervisor by what it answered; None if it did not in time."""
    if not isinstance(answer, Ok):
        return msgspec.structs.replace(node, answered=False)
    return msgspec.structs.replace(node, strategy=answer.value.strategy, children=answer.value.children)


def complete(
    nodes: Mapping[str, ChildNode], asked: Mapping[str, object], answers: Mapping[str, Result[SupervisionTree]]
) -> tuple[ChildNode, ...]:
    """Return the nodes, those of the supervisors that were ``asked`` with what they answered."""
    return tuple(with_those_below(node, answers.get(who)) if who in asked else node for who, node in nodes.items())
