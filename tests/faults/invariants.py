"""The laws that hold whatever went wrong: pure, over what a run showed."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from faults.play import CHUNK, Call, Outcome
from faults.server import Execution
from tinkex.protocol import Err, Ok, TinkexError

STOP_SECONDS: Final = 8.0 + 1.0
"""A service client's deadline, and the second of grace behind it."""

TAGGED: Final = {
    "forward": "forward",
    "forward_backward": "forward_backward",
    "optim_step": "optim_step",
    "save": "save_weights",
    "save_sampler": "save_weights_for_sampler",
}
NUMBERED: Final = frozenset({*TAGGED.values()})
OWN_ENDS: Final = frozenset({"await_timeout", "cancelled", "actor_dead", "actor_crashed"})
"""Kinds by which a wait ends, whatever becomes of the request."""

DOUBTFUL: Final = frozenset({"suspect", "session_lost", "without_model"})


def broken_laws(outcome: Outcome) -> list[str]:
    """Return a sentence for each law that ``outcome`` breaks."""
    laws = (
        _trouble,
        _answers,
        _times,
        _executions,
        _results,
        _order,
        _gradients,
        _barriers,
        _suspects,
        _leaks,
        _endings,
    )
    return [sentence for law in laws for sentence in law(outcome)]


def _trouble(outcome: Outcome) -> Iterator[str]:
    if outcome.trouble is not None:
        yield outcome.trouble.split("; the trace ends")[0]
    yield from outcome.server.breaches


def _answers(outcome: Outcome) -> Iterator[str]:
    for call in outcome.calls:
        if call.result is None and call.ran_out is None and outcome.trouble is None:
            yield f"{name(call)} was never answered"
    for number in outcome.hung:
        yield f"call {number} was not answered on a healthy network"


def _times(outcome: Outcome) -> Iterator[str]:
    for call in outcome.calls:
        limit = call.step.await_timeout
        if limit is not None and call.settled is not None:
            waited = call.settled - call.asked
            if waited > limit + 1e-6:
                yield f"{name(call)} waited {waited:g} s with await_timeout={limit:g}"
            if kind_of(call) == "await_timeout" and waited < limit - 1e-6:
                yield f"{name(call)} was timed out after {waited:g} s with await_timeout={limit:g}"
        if call.ran_out is not None and abs(call.ran_out - call.asked - (call.step.ask_timeout or 0.0)) > 1e-6:
            yield f"{name(call)} raised Timeout after {call.ran_out - call.asked:g} s"
    if outcome.stopping > STOP_SECONDS + 1e-6:
        yield f"the stop took {outcome.stopping:g} s"


def _executions(outcome: Outcome) -> Iterator[str]:
    counts = Counter(execution.tag for execution in _tagged(outcome))
    for call in outcome.calls:
        if call.step.verb not in TAGGED:
            continue
        ran, parts = counts[call.number], parts_of(call)
        if ran > parts:
            yield f"{name(call)} ran {ran} times in {parts} requests: a double"
        if isinstance(call.result, Ok) and ran != parts:
            yield f"{name(call)} was answered Ok and ran {ran} times in {parts} requests"
        if outcome_of(call) == "not_sent" and ran:
            yield f"{name(call)} was answered not_sent and ran {ran} times"
    seen: dict[str, int] = {}
    for execution in outcome.server.executions:
        if execution.seq_id != seen.get(execution.model_id, 0) + 1:
            yield f"{execution} leaves a gap"
        seen[execution.model_id] = execution.seq_id


def _results(outcome: Outcome) -> Iterator[str]:
    """An Ok holds what was computed for this very request."""
    for call in outcome.calls:
        if not isinstance(call.result, Ok):
            continue
        value: Any = call.result.value
        match call.step.verb:
            case "forward" | "forward_backward":
                tags = {value for key, value in value.metrics.items() if key.startswith("tag:unique")}
                if tags != {call.number} or len(value.loss_fn_outputs) != call.step.rows:
                    yield f"{name(call)} was answered with another's result: {value.metrics}"
            case "optim_step" if value.metrics.get("tag") != call.number:
                yield f"{name(call)} was answered with another's result: {value.metrics}"
            case "save" if not value.path.endswith("/taken" if call.step.taken else f"/s{call.number}"):
                yield f"{name(call)} was answered with another's path: {value.path}"
            case "save_sampler" if not str(value.path).endswith(f"/p{call.number}"):
                yield f"{name(call)} was answered with another's path: {value.path}"
            case _:
                pass


def _order(outcome: Outcome) -> Iterator[str]:
    """Each model ran its client's calls in the order in which they were asked."""
    last: dict[str, int] = {}
    for execution in _tagged(outcome):
        if execution.tag < last.get(execution.model_id, 0):
            yield f"{execution} ran behind call {last[execution.model_id]}"
        last[execution.model_id] = execution.tag


def _gradients(outcome: Outcome) -> Iterator[str]:
    """A step is answered Ok only where all passes before it, in its model, ran in whole or not at all."""
    ran: dict[int, list[Execution]] = {}
    for execution in _tagged(outcome):
        ran.setdefault(execution.tag, []).append(execution)
    for call in outcome.calls:
        if call.step.verb != "optim_step" or not isinstance(call.result, Ok) or call.number not in ran:
            continue
        model_id = ran[call.number][0].model_id
        for earlier in outcome.calls[: call.number - 1]:
            if earlier.step.verb != "forward_backward" or earlier.client != call.client:
                continue
            found = [execution for execution in ran.get(earlier.number, []) if execution.model_id == model_id]
            if found and (len(found) != parts_of(earlier) or not all(execution.ok for execution in found)):
                yield f"{name(call)} was answered Ok behind the half-done {name(earlier)}"


def _barriers(outcome: Outcome) -> Iterator[str]:
    """What is asked behind a load that succeeded runs in a model that nothing before it has touched."""
    models: dict[int, set[str]] = {}
    for execution in _tagged(outcome):
        models.setdefault(execution.tag, set()).add(execution.model_id)
    for load in outcome.calls:
        if load.step.verb != "load" or not isinstance(load.result, Ok):
            continue
        own = [call for call in outcome.calls if call.client == load.client]
        before = set[str]().union(*(models.get(call.number, set()) for call in own if call.number < load.number))
        for call in own:
            if call.number > load.number and before & models.get(call.number, set()):
                yield f"{name(call)} was asked behind {name(load)} and ran in the old model"


def _suspects(outcome: Outcome) -> Iterator[str]:
    for call in outcome.calls:
        if call.client is None or not isinstance(call.result, Err):
            continue
        if call.step.verb == "load":  # the client goes on with its old model
            continue
        doubt = call.result.error.kind == "client_suspect" or (
            outcome_of(call) == "unknown" and call.result.error.kind not in OWN_ENDS
        )
        if not doubt:
            continue
        state = outcome.states.get(call.client)
        if state is not None and state not in DOUBTFUL and not _left_behind(outcome, call):
            yield f"{name(call)} left its client {state}"
        yield from _sent_after(outcome, call)


def _left_behind(outcome: Outcome, call: Call) -> bool:
    """Whether its client was given back, or its model replaced by a load, afterwards."""
    return any(
        later.client == call.client and later.step.verb in ("load", "unload") and isinstance(later.result, Ok)
        for later in outcome.calls[call.number :]
    )


def _sent_after(outcome: Outcome, call: Call) -> Iterator[str]:
    model_ids = {execution.model_id for execution in outcome.server.executions if execution.tag == call.number}
    log = outcome.network.log
    for sent in log[call.mark :]:
        if sent.label not in NUMBERED or sent.model_id not in model_ids:
            continue
        # One number may have been on its way just then.
        before = [earlier.seq_id or 0 for earlier in log[: call.mark] if earlier.model_id == sent.model_id]
        if (sent.seq_id or 0) > max(before, default=0) + 1:
            yield f"after the suspect {name(call)} its client sent {sent.label} {sent.seq_id}"


def _leaks(outcome: Outcome) -> Iterator[str]:
    if LIES & set(outcome.network.hits):
        return
    for model_id in outcome.unlisted:
        yield f"{model_id} lived on, and neither did anybody own it nor Leaks list it"
    known = {lease.model_id for lease in outcome.leases_left} | {
        lease.session.session_id for lease in outcome.leases_left
    }
    known |= set(outcome.sessions_left)
    sessions, models = outcome.server.alive()
    for session_id in sessions:
        if not _hindered(outcome):
            yield f"session {session_id} was left on a healthy server"
        elif not known & {session_id, None}:
            yield f"session {session_id} was left on the server, and its client believes that it is gone"
    for model_id in models:
        if not known & {model_id, model_id.split(":")[0]}:
            yield f"model {model_id} was left on the server, and its client believes that it is gone"


RELEASES: Final = frozenset(
    {"create_session", "create_model", "result:create_model", "unload_model", "result:unload_model", "finish"}
)
LIES: Final = frozenset(
    [
        (kind, label)
        for kind in ("server_404", "server_410", "portal_json", "empty")
        for label in ("unload_model", "result:unload_model", "finish", "session_heartbeat")
    ]
    + [("proxy_404", "finish"), ("portal_html", "finish")]  # any 200 ends a session, whatever it says
    + [(kind, "create_model") for kind in ("server_404", "server_410")]
    + [(kind, "result:create_model") for kind in ("server_400", "server_409")]
)
"""What says that a session or a model is gone where it is not: nobody can know better."""


def _hindered(outcome: Outcome) -> bool:
    return not outcome.program.heals or any(label in RELEASES for _, label in outcome.network.hits)


def _endings(outcome: Outcome) -> Iterator[str]:
    if outcome.trouble is not None:
        return
    if outcome.actors_left:
        yield f"actors are left: {outcome.actors_left}"
    if outcome.tasks_left:
        yield f"{outcome.tasks_left} io tasks are left"


def _tagged(outcome: Outcome) -> list[Execution]:
    return [execution for execution in outcome.server.executions if execution.tag]


def parts_of(call: Call) -> int:
    """Return of how many requests a call consists."""
    return -(-call.step.rows // CHUNK)


def error_of(call: Call) -> TinkexError | None:
    """Return the error that a call was answered with, if any."""
    return call.result.error if isinstance(call.result, Err) else None


def kind_of(call: Call) -> str | None:
    """Return the kind of the error that a call was answered with, if any."""
    error = error_of(call)
    return None if error is None else error.kind


def outcome_of(call: Call) -> str | None:
    """Return what the error says about the request: ``not_sent``, ``running`` or ``unknown``."""
    error = error_of(call)
    return None if error is None else error.data.get("outcome")


def name(call: Call) -> str:
    """Name a call in a sentence."""
    error = error_of(call)
    said = "" if error is None else f" [{error.kind} {error.data.get('outcome')}: {error.message}]"
    return f"call {call.number} {call.step.verb}{said}"
