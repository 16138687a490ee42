"""Whose checkpoint is it: when a save is told "exists" after an attempt that may have been the one that made it."""

from datetime import datetime

from tinkex.actors._training._operation import Operation
from tinkex.actors._training._requests import NONCE_KEY
from tinkex.actors._transport import Transport
from tinkex.protocol import wire


async def prove_save(transport: Transport, model_id: str, operation: Operation) -> str | None:
    """Return the path of the checkpoint that ``operation`` made, or None where nothing proves that it did.

    The proof is our nonce in the checkpoint's metadata; where a server keeps no metadata, a creation time not before
    the server's own clock as heard before the first attempt.

    Raises:
        TinkexError: the list of checkpoints could not be had.
    """
    listed = await transport.call(
        "GET",
        f"/api/v1/training_runs/{model_id}/checkpoints",
        None,
        wire.CheckpointsReply,
        what="list_checkpoints",
    )
    for checkpoint in listed.checkpoints:
        if checkpoint.checkpoint_id == operation.save_name and _is_ours(checkpoint, operation):
            return checkpoint.tinker_path
    return None


def _is_ours(checkpoint: wire.WireCheckpoint, operation: Operation) -> bool:
    metadata = checkpoint.user_metadata
    if metadata is not None and NONCE_KEY in metadata:
        return bool(metadata[NONCE_KEY] == operation.nonce)
    made = epoch_seconds(checkpoint.time)
    return made is not None and operation.server_time is not None and made >= operation.server_time


def epoch_seconds(time: str) -> float | None:
    """Return an RFC 3339 time as epoch seconds, or None where it is none."""
    try:
        moment = datetime.fromisoformat(time)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
