"""What recovery asks the server: coroutines for the io loop."""

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from tinkex.actors._recovery._recovery_plan import candidates
from tinkex.actors._transport import Transport
from tinkex.protocol import TinkerPath, TinkexError, wire

T = TypeVar("T")

_UNKNOWN: Final = frozenset({404, 405, 410})


async def training_run(transport: Transport, model_id: str) -> wire.TrainingRun:
    """Ask how the run of ``model_id`` is.

    Raises:
        TinkexError: why there is no answer.
    """
    path = f"/api/v1/training_runs/{model_id}"
    return await transport.call("GET", path, None, wire.TrainingRun, what="training_run")


async def find_checkpoints(transport: Transport, model_id: str | None, known: str | None) -> list[str]:
    """Return the paths that the run of ``model_id`` can go on from, the best first; ``known`` is the client's own.

    A server that does not know the run, or not the question, leaves the answer to what else is known.

    Raises:
        TinkexError: the server could not be asked.
    """
    run = await _if_known(training_run(transport, model_id)) if model_id is not None else None
    listed = await _checkpoints(transport, model_id) if model_id is not None else []
    parent = _run_of(known)
    ancestors = await _checkpoints(transport, parent) if parent is not None and parent != model_id else listed
    return candidates(run, listed, known, ancestors)


async def _checkpoints(transport: Transport, run_id: str) -> list[wire.WireCheckpoint]:
    path = f"/api/v1/training_runs/{run_id}/checkpoints"
    reply = await _if_known(transport.call("GET", path, None, wire.CheckpointsReply, what="list_checkpoints"))
    return reply.checkpoints if reply is not None else []


async def _if_known(work: Coroutine[Any, Any, T]) -> T | None:
    try:
        return await work
    except TinkexError as error:
        if error.status in _UNKNOWN:
            return None
        raise


def _run_of(path: str | None) -> str | None:
    try:
        return TinkerPath.parse(path).run_id if path is not None else None
    except TinkexError:
        return None
