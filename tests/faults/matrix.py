"""Every fault at every step, one at a time: the runs, and the table of what came of them."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from faults.batch import Case
from faults.plan import FOR_GOOD, FUTURES, KINDS, LABELS, Fault, applies
from faults.play import Call, Outcome
from faults.program import Program, Step
from tinkex.protocol import Ok

LASTING: Final = (
    "refuse",
    "lose_reply",
    "busy_429",
    "down_503",
    "proxy_403",
    "portal_json",
    "portal_html",
    "truncated",
)
"""Those that are also tried for good, until the network is mended."""

CREATE: Final = Step("create", wait=True)
RESTORE: Final = Step("create", source="base", optimizer=True, wait=True)
PASS: Final = Step("forward_backward", wait=True)
APPLY: Final = Step("optim_step", wait=True)
SAVE: Final = Step("save", taken=True, wait=True)


class Scenario(NamedTuple):
    """A program in which ``focus``, counted from 1, is the call that a fault at the step hurts."""

    steps: tuple[Step, ...]
    focus: int
    at: int = 1
    already: tuple[Fault, ...] = ()
    """What must go wrong for the step to be reached at all."""


_NUMBERED: Final = {
    "forward": Scenario((CREATE, PASS, Step("forward", wait=True), APPLY), 3),
    "forward_backward": Scenario((CREATE, PASS, APPLY, PASS), 2),
    "optim_step": Scenario((CREATE, PASS, APPLY, PASS), 3),
    "save_weights": Scenario((CREATE, PASS, SAVE, APPLY), 3),
    "save_weights_for_sampler": Scenario((CREATE, PASS, Step("save_sampler", wait=True), APPLY), 3),
    "unload_model": Scenario((CREATE, PASS, Step("unload", wait=True), PASS), 3),
    "create_model": Scenario((CREATE, PASS, APPLY), 1),
    "load_weights": Scenario((RESTORE, PASS, APPLY), 1),
}
SCENARIOS: Final[dict[str, Scenario]] = {
    "create_session": _NUMBERED["create_model"],
    "weights_info": _NUMBERED["load_weights"],
    **{label: _NUMBERED[name] for name in FUTURES for label in (name, f"result:{name}")},
    "checkpoints": Scenario((CREATE, SAVE, SAVE, PASS), 3, already=(Fault("lose_request", "save_weights", 2),)),
    "get_info": Scenario((CREATE, PASS, Step("info", wait=True), PASS), 3),
    "session_heartbeat": Scenario((CREATE, PASS, Step("sleep", seconds=65.0), APPLY), 3),
    "finish": Scenario((RESTORE, PASS, Step("end", how="stop"), Step("sleep", seconds=0.0)), 0),
}

IN_PLACE: Final = "LoadState in place, "
"""Before the steps of a load into a client that was used: each happens there for the first or for the second time."""

_LOAD: Final = (CREATE, PASS, Step("load", source="base", optimizer=True, wait=True), APPLY)
SCENARIOS.update(
    {
        IN_PLACE + label: Scenario(_LOAD, 3, at)
        for label, at in (
            ("weights_info", 1),
            ("create_session", 2),
            ("create_model", 2),
            ("result:create_model", 2),
            ("load_weights", 1),
            ("result:load_weights", 1),
        )
    }
)
PLACES: Final = (*LABELS, *(place for place in SCENARIOS if place.startswith(IN_PLACE)))


def cases() -> Iterator[Case]:
    """Yield a run for each step and fault."""
    for place in PLACES:
        for fault in faults_of(place):
            yield case(place, fault)


def faults_of(place: str) -> Iterator[Fault]:
    """Yield each fault that can strike at ``place``, some of them a second time for good."""
    label = place.removeprefix(IN_PLACE)
    for kind in KINDS:
        if applies(kind, label):
            yield Fault(kind, label, SCENARIOS[place].at)
            if kind in LASTING:
                yield Fault(kind, label, SCENARIOS[place].at, FOR_GOOD)


def case(label: str, fault: Fault) -> Case:
    """Return the run of ``fault`` at ``label``."""
    scenario = SCENARIOS[label]
    owned = tuple(
        Step(step.verb, source=step.source, optimizer=step.optimizer, owned=True, wait=True)
        if step.verb == "create" and fault.kind == "kill_owner"
        else step
        for step in scenario.steps
    )
    return Case(1, Program(owned, send_timeout=300.0), (*scenario.already, fault))


class Row(NamedTuple):
    """What one run came to."""

    sees: str
    client: str
    server: str


def row(label: str, outcome: Outcome) -> Row:
    """Say what ``outcome`` is for the caller, the client and the server."""
    focus = SCENARIOS[label].focus
    made = next(call for call in outcome.calls if call.step.verb == "create")
    if focus == 0:
        return Row("the release goes on unseen", "ended", _kept(outcome))
    call = outcome.calls[focus - 1] if focus <= len(outcome.calls) else made
    state = outcome.states.get(made.number)
    if call.step.verb in ("create", "load", "unload", "info"):
        ran = _kept(outcome)
    else:
        times = sum(execution.tag == call.number for execution in outcome.server.executions)
        ran = ("never ran", "ran once")[times] if times < 2 else f"ran {times} times"
        if any(execution.tag == call.number and not execution.ok for execution in outcome.server.executions):
            ran = "ran and failed"
    return Row(_said(call), state or ("none" if not isinstance(made.result, Ok) else "ended"), ran)


def _kept(outcome: Outcome) -> str:
    sessions, models, listed = outcome.kept
    parts = [f"{count} {name}{'s' if count != 1 else ''}" for count, name in ((sessions, "session"), (models, "model"))]
    said = " and ".join(part for part in parts if not part.startswith("0 ")) or "nothing"
    return f"{said}, listed by `Leaks()`" if listed else said


def _said(call: Call) -> str:
    if call.result is None:
        return "nothing"
    if isinstance(call.result, Ok):
        return "Ok"
    error: Any = call.result.error
    told = error.data.get("outcome")
    return f"Err({error.kind}{f', {told}' if told else ''})"


def table(rows: Iterable[tuple[str, Fault, Row]]) -> str:
    """Write ``rows`` down: for each step, the faults that come to the same in one line."""
    grouped: dict[str, dict[Row, list[str]]] = {}
    for label, fault, seen in rows:
        name = fault.kind + (" for good" if fault.times == FOR_GOOD else "")
        grouped.setdefault(label, {}).setdefault(seen, []).append(f"`{name}`")
    lines: list[str] = []
    for label, found in grouped.items():
        lines += [
            f"\n### `{label}`\n",
            "| fault | the caller sees | the client then is | the server has |",
            "|---|---|---|---|",
        ]
        for seen, names in sorted(found.items(), key=lambda item: (item[0].sees != "Ok", -len(item[1]), item[0])):
            lines.append(f"| {', '.join(names)} | {seen.sees} | {seen.client} | {seen.server} |")
    return "\n".join(lines) + "\n"
