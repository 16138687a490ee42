"""One load of a training client: what is known of it, and the errors that it ends with. Data and pure functions."""

from collections import deque
from collections.abc import Callable

import msgspec

from tinkex.actors._genserver._client import Call
from tinkex.actors._training._restoring import Restoring
from tinkex.protocol import TinkexError
from tinkex.protocol.messages import LoadState


class Behind(msgspec.Struct, frozen=True):
    """A request that was asked behind a load and waits for it."""

    call: Call
    resume: Callable[[Call], None]
    """Takes it up again, on the new model."""


class Loading(msgspec.Struct, eq=False):
    """One ``LoadState`` of a training client, from its message to the swap or its failure."""

    call: Call
    message: LoadState
    begun: bool = False
    """Whether anything was done for it; before that it waits for what was asked earlier."""

    in_place: bool = False
    """Whether it is the first request of the model that the client has already."""

    worked: bool = True
    """Whether the client was neither suspect nor without a session when it began."""

    gave_back: bool = False
    """Whether the old model was released first: a failure then leaves the client without one."""

    restoring: Restoring | None = None
    behind: deque[Behind] = msgspec.field(default_factory=deque[Behind])


def not_loaded(loading: Loading, cause: TinkexError) -> TinkexError:
    """Build the error of a load that failed: what became of the client, and what helps."""
    path = loading.message.path
    if loading.gave_back:
        after = "its old model was given back first, so this client has none: load a checkpoint that works"
    elif loading.worked:
        after = "the client goes on with its old model"
    else:
        after = "the client is as it was before"
    if cause.data.get("step") == "create_model" and not loading.gave_back:
        after += "; if the server has no room for two, LoadState(..., release_first=True) gives the old one back first"
    told = TinkexError(
        f"{path} was not loaded: {cause.message}; {after}",
        kind=cause.kind,
        category=cause.category,
        status=cause.status,
        retry_after=cause.retry_after,
        data={**cause.data, "path": path, "cause": cause.message},
    )
    told.__cause__ = cause
    return told


def behind_failed_load(path: str) -> TinkexError:
    """Build the error of a request that was asked behind a load that failed: it was meant for other weights."""
    return TinkexError(
        f"this was asked behind a load of {path}, which failed; it was meant for those weights and was not sent",
        kind="conflict",
        category="user",
        data={"outcome": "not_sent", "path": path},
    )


def without_model(path: str) -> TinkexError:
    """Build the error of a client that gave its model back for a load that failed."""
    return TinkexError(
        f"this client has no model since a load of {path} with release_first failed: load a checkpoint",
        kind="conflict",
        category="user",
        data={"outcome": "not_sent", "path": path},
    )


def replaced(path: str) -> TinkexError:
    """Build the error of what was still open on the old model when a load took its place."""
    return TinkexError(
        f"a load of {path} took the place of the model that this ran on",
        kind="client_suspect",
        category="unknown",
        data={"outcome": "running", "path": path},
    )


def load_given_up(path: str) -> TinkexError:
    """Build the suspicion of a client whose first load was given up on its way."""
    return TinkexError(
        f"a load of {path} was given up on its way, and nobody knows whether it ran: load a checkpoint or create a new "
        "client",
        kind="client_suspect",
        category="user",
        data={"path": path},
    )
