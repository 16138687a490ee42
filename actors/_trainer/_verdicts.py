"""What a failure means for a run: rebuild it, go back to an older checkpoint, or give it up. Pure."""

from typing import Final, Literal

from tinkex.protocol import TinkexError

Meaning = Literal["rebuild", "fail"]
"""Make a new model from the last good checkpoint, or end: asking again brings the same."""

Loading = Literal["again", "doubtful", "broken", "refuse", "fail"]
"""What a failed restore means: try once more; try an older checkpoint, and this one again if none is left; this one is
gone or broken for good; its optimizer is missing; end."""

_LOST: Final = frozenset({"session_lost", "client_suspect", "actor_dead", "actor_crashed"})
_GONE: Final = frozenset({404, 410})
_ACCOUNT: Final = frozenset({401, 402, 403})
_PASSING: Final = frozenset({408, 409, 425, 429})
_BROKEN_AFTER: Final = 2


def meaning_of(error: TinkexError) -> Meaning:
    """Say what becomes of a run one of whose requests failed.

    Nothing is repeated by itself: what was sent behind a failed request trained other weights than it was meant for, so
    that every failure costs the model. A failure that is the user's, and would come again, ends the run.
    """
    if error.kind in _LOST:
        return "rebuild"
    if error.kind in ("fenced", "program_failed"):
        return "fail"
    if error.status in _GONE or error.status in _PASSING:
        return "rebuild"  # the model or its session is gone
    return "fail" if error.user_error else "rebuild"


def loading_of(error: TinkexError, failures: int) -> Loading:
    """Say what a restore that failed means; ``failures`` counts those of this checkpoint, this one too."""
    if error.kind in ("validation", "protocol", "fenced") or error.status in _ACCOUNT:
        return "fail"
    if "optimizer" in error.message.lower() and error.user_error:
        return "refuse"
    doubtful: Loading = "doubtful" if failures >= _BROKEN_AFTER else "again"
    if error.status in _GONE and error.kind != "session_lost":
        # Behind the question for the checkpoint, it may as well be the new model that is gone, with its session.
        return "broken" if error.data.get("step") == "checkpoint_info" else doubtful
    if error.kind == "request_failed":
        return "broken" if error.user_error else doubtful
    if error.kind in _LOST or not error.user_error:
        return "again"
    return "again" if error.status in _PASSING else "fail"


def is_resumable(error: TinkexError | None) -> bool:
    """Tell whether a run that ended with ``error`` can go on later without a change by its user."""
    if error is None:
        return True
    return error.kind not in ("resume_refused", "program_failed", "validation", "protocol") and not error.user_error
