"""Recovery's decisions: what is a loss, which checkpoint, what a failure means and how long to wait. Pure."""

import random
from collections.abc import Collection, Sequence
from typing import Final, Literal

import msgspec

from tinkex.actors._training._proof import epoch_seconds
from tinkex.actors._training._vitals import Vitals
from tinkex.protocol import RecoveryPolicy, RecoverySignal, TinkerPath, TinkexError
from tinkex.protocol.wire import TrainingRun, WireCheckpoint

Verdict = Literal["again", "older", "stop"]
"""What a failed load means: the same may work later, this checkpoint will not do, or nothing of the kind will."""

_TRANSIENT_KINDS: Final = frozenset(
    {"api_connection", "api_timeout", "await_timeout", "session_lost", "client_suspect"}
)
"""A load gets a new model each time, so that an attempt whose outcome is unknown may be repeated."""

_OVER_KINDS: Final = frozenset({"actor_dead", "actor_crashed", "cancelled"})
_PASSING_STATUSES: Final = frozenset({408, 425, 429})
_OWN_STATUSES: Final = frozenset({401, 402, 403})
"""They speak of the user's key or account, not of a checkpoint."""

_CHECKPOINT_STEPS: Final = frozenset({"checkpoint_info", "load_weights"})
_BROKEN_AFTER: Final = 2
"""Failed loads after which a checkpoint counts as broken, though the server called them failures of its own."""


class Again(msgspec.Struct, frozen=True):
    """Try once more in ``seconds``."""

    seconds: float


class Older(msgspec.Struct, frozen=True):
    """Go on at once with the next older checkpoint, as a part of the same attempt."""


class GiveUp(msgspec.Struct, frozen=True):
    """Leave the client as it is."""


Step = Again | Older | GiveUp


def signal_of(vitals: Vitals, policy: RecoveryPolicy) -> RecoverySignal | None:
    """Return what a client says of itself that calls for recovery."""
    if vitals.state == "session_lost":
        return "session_lost"
    return "suspect" if vitals.state == "suspect" and policy.recover_suspect else None


def is_watched(vitals: Vitals) -> bool:
    """Tell whether the server is to be asked about a client's run: it has a model that it may train on."""
    return vitals.model_id is not None and vitals.state in ("ready", "suspect")


def is_taken(vitals: Vitals) -> bool:
    """Tell whether somebody else has decided about a client's model: loads one, or wants none any more."""
    return vitals.state in ("loading", "unloading", "unloaded", "stopping")


def needs_room(signal: RecoverySignal, error: TinkexError) -> bool:
    """Tell whether a load may have failed because the server has no room for a model beside the lost one.

    With a lost session the lost model is gone already.
    """
    return signal != "session_lost" and (error.data.get("step") == "create_model" or error.kind == "await_timeout")


def judge(error: TinkexError, *, failures: int, last_attempt: bool) -> Verdict:
    """Say what a load that failed with ``error`` means; ``failures`` counts those of this checkpoint, this one too."""
    if error.kind in _OVER_KINDS or error.status in _OWN_STATUSES:
        return "stop"
    if error.kind in _TRANSIENT_KINDS:
        return "again"
    if error.kind == "conflict":
        return "again" if error.data.get("outcome") == "not_sent" else "stop"
    passing = error.status in _PASSING_STATUSES or (error.status is not None and error.status >= 500)  # noqa: PLR2004
    if error.kind == "request_failed" and not error.user_error:
        return "older" if failures >= _BROKEN_AFTER or last_attempt else "again"
    if error.kind == "api_status" and (passing or error.status is None):
        return "again"
    about_checkpoint = error.data.get("step", "load_weights") in _CHECKPOINT_STEPS
    return "older" if about_checkpoint and error.kind != "protocol" else "stop"


def next_step(
    policy: RecoveryPolicy, attempt: int, verdict: Verdict, older: bool, rng: random.Random, hint: float | None = None
) -> Step:
    """Say what follows the failure of attempt number ``attempt``, from 1.

    Args:
        policy: how often, and the waits.
        attempt: the one that failed.
        verdict: what the failure means.
        older: whether there is an older checkpoint to try.
        rng: the jitter's source.
        hint: seconds that the server asked to wait.
    """
    if verdict == "older" and older:
        return Older()
    if verdict != "again" or attempt >= policy.max_attempts:
        return GiveUp()
    return Again(max(pause(policy, attempt, rng), hint or 0.0))


def pause(policy: RecoveryPolicy, attempt: int, rng: random.Random) -> float:
    """Return the seconds to wait after attempt number ``attempt``: full jitter below a doubling bound."""
    bound = min(policy.max_backoff_seconds, policy.backoff_seconds * 2.0 ** min(attempt - 1, 64))
    return rng.uniform(0.0, bound)


def candidates(
    run: TrainingRun | None,
    listed: Sequence[WireCheckpoint],
    known: str | None,
    ancestors: Sequence[WireCheckpoint] = (),
) -> list[str]:
    """Return the paths to recover from, the best first and none twice.

    Args:
        run: the lost run, as the server describes it.
        listed: its checkpoints.
        known: what the client saved or loaded last.
        ancestors: the checkpoints of the run that ``known`` belongs to, where it is another one: those that are older
            than it.
    """
    ordered = [run.last_checkpoint] if run is not None and run.last_checkpoint is not None else []
    ordered += _newest_first(listed)
    paths = [item.tinker_path for item in ordered if _is_training(item)]
    if known is not None:
        older = _newest_first(ancestors)
        paths.append(known)
        paths += [item.tinker_path for item in _behind(older, known) if _is_training(item)]
    return list(dict.fromkeys(paths))


def without(paths: Sequence[str], rejected: Collection[str]) -> list[str]:
    """Return the paths that were not found to be unusable."""
    return [path for path in paths if path not in rejected]


def _newest_first(items: Sequence[WireCheckpoint]) -> list[WireCheckpoint]:
    def age(item: WireCheckpoint) -> float:
        made = epoch_seconds(item.time)
        return -made if made is not None else float("inf")

    return sorted(items, key=age)


def _behind(items: Sequence[WireCheckpoint], known: str) -> Sequence[WireCheckpoint]:
    """Return what follows ``known``; nothing where it is not listed: what is older than it cannot be told then."""
    for index, item in enumerate(items):
        if item.tinker_path == known:
            return items[index + 1 :]
    return ()


def _is_training(item: WireCheckpoint) -> bool:
    try:
        return item.checkpoint_type == "training" and TinkerPath.parse(item.tinker_path).kind == "weights"
    except TinkexError:
        return False


def nothing_to_load(model_id: str | None) -> TinkexError:
    """Build the error of a run without a checkpoint that could be loaded."""
    return TinkexError(
        "no training checkpoint of this run is left to recover from; create a new client, and save more often",
        kind="request_failed",
        category="user",
        data={"model_id": model_id, "step": "choose_checkpoint"},
    )
