"""The errors of runs."""

from tinkex.actors._genserver._watch import Down
from tinkex.protocol import Manifest, TinkexError, validation
from tinkex.protocol.replies import ActorStatus, CheckpointInfo


def not_now(run: str, state: str, what: str) -> TinkexError:
    """Build the refusal of what a run in this state cannot do."""
    return TinkexError(
        f"the run {run!r} is {state}: it cannot {what} now",
        kind="conflict",
        category="user",
        data={"run": run, "state": state},
    )


def nothing_trained(run: str) -> TinkexError:
    """Build the refusal of a checkpoint before the first update."""
    return TinkexError(
        f"the run {run!r} has trained nothing yet: a checkpoint is always right behind an optimizer step",
        kind="conflict",
        category="user",
        data={"run": run},
    )


def no_progress(run: str, rebuilds: int, error: TinkexError) -> TinkexError:
    """Build the error of a run that was rebuilt too often."""
    return TinkexError(
        f"the run {run!r} was rebuilt {rebuilds} times in a row without completing a further update: {error.message}",
        kind="run_failed",
        category="unknown",
        data={"run": run, "rebuilds": rebuilds, "cause": error.message, "cause_kind": error.kind},
    )


def bad_loss(run: str, rollbacks: int, why: str) -> TinkexError:
    """Build the error of a run whose loss stays bad."""
    return TinkexError(
        f"the loss of the run {run!r} is bad after {rollbacks} roll-backs: {why}; "
        "look at its data and learning rate, or set loss_guard",
        kind="run_failed",
        category="user",
        data={"run": run, "rollbacks": rollbacks},
    )


def journal_gone(run: str, down: Down) -> TinkexError:
    """Build the error of a run that cannot be written down any more."""
    return TinkexError(
        f"the journal of the run {run!r} has ended: {down.error.message if down.error is not None else down.reason}",
        kind="run_failed",
        category="unknown",
        data={"run": run},
    )


def ended(run: str, state: str) -> TinkexError:
    """Build the error of whoever waits for something of a run that has ended."""
    return TinkexError(f"the run {run!r} is {state}", kind="conflict", category="user", data={"run": run})


def nothing_left(run: str) -> TinkexError:
    """Build the refusal of a run none of whose checkpoints can be loaded."""
    return TinkexError(
        f"no checkpoint of the run {run!r} can be loaded, and it does not begin again by itself: "
        "begin a new run, from the weights of one that you trust where there is any",
        kind="resume_refused",
        category="user",
        data={"run": run, "problem": "missing"},
    )


def no_optimizer(manifest: Manifest, error: TinkexError) -> TinkexError:
    """Build the refusal of a checkpoint without the optimizer's state."""
    return TinkexError(
        f"{manifest.path} has no optimizer state, so that going on from it would be another run ({error.message}); "
        "begin a new run from its weights if that is wanted",
        kind="resume_refused",
        category="user",
        data={"path": manifest.path, "problem": "optimizer"},
    )


def lost_at_once(status: ActorStatus) -> TinkexError:
    """Build the error of a client that has no session any more."""
    return TinkexError(
        f"the new training client is {status.state}", kind="session_lost", category="server", data={"step": "create"}
    )


def other_weights(info: CheckpointInfo, base_model: str, rank: int) -> TinkexError | None:
    """Return why weights are not of the adapter that a run is to train; None where they are, or nobody tells."""
    if info.base_model != base_model:
        return validation(
            f"{info.path} is of the base model {info.base_model!r}, and the run of {base_model!r}: pass its base_model",
            field="base_model",
            path=info.path,
        )
    if info.lora_rank not in (None, rank):
        return validation(
            f"{info.path} is of an adapter of rank {info.lora_rank}, and the run of rank {rank}: pass lora of its rank",
            field="lora",
            path=info.path,
        )
    return None
