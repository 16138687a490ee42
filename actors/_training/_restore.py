"""A lease made real from a checkpoint, in the form that its server takes: a coroutine for the io loop.

Three steps are tried first: the checkpoint was asked about already, so ``create_model`` with its configuration, then
``load_weights`` into that model. A server that refuses one of them as a form is asked once in the other way: a
``load_weights`` that makes the model itself. What was found out is remembered for the server.
"""

import contextlib
from collections.abc import Generator
from typing import Any, Final

import msgspec

from tinkex.actors._leases._acquire import UNLOAD_SECONDS, open_model, session_gone, unload
from tinkex.actors._leases._lease import Lease
from tinkex.actors._runtime._waiting import at_work, tell
from tinkex.actors._training._requests import recognise
from tinkex.actors._training._steps import at_step
from tinkex.actors._transport import Accepted, Done, Exists, Refused, ResultLost, Transport, Unknown
from tinkex.protocol import TinkexError, wire

_LOST: Final = frozenset({404, 410})


class Source(msgspec.Struct, frozen=True):
    """What is loaded, and how."""

    path: str
    optimizer: bool = False
    weights_access_token: str | None = None
    base_model: str | None = None
    """In place of the checkpoint's own, where the caller names one; three steps take it from the lease."""

    def __repr__(self) -> str:
        return f"Source({self.path!r}, optimizer={self.optimizer!r}, base_model={self.base_model!r})"


class Restored(msgspec.Struct, frozen=True):
    """A model with a checkpoint in it."""

    model_id: str
    next_seq_id: int
    """Of the model's next request: a load into a model took number 1, one that made the model took none."""


async def restore(transport: Transport, lease: Lease, source: Source) -> Restored:
    """Make the model of ``lease``, whose session is its own and open, and load ``source`` into it.

    Whatever comes of it, ``lease`` knows what is to be given back: its session, and in it the model asked for last.

    Raises:
        TinkexError: why there is no model; ``data["step"]`` is ``create_model`` or ``load_weights``.
    """
    if transport.profile.load == "one_request":
        return await _in_one_request(transport, lease, source)
    try:
        return await _in_three_steps(transport, lease, source)
    except TinkexError as error:
        if not transport.profile.one_request(error):
            raise
        return await _otherwise(transport, lease, source, error)


async def _in_three_steps(transport: Transport, lease: Lease, source: Source) -> Restored:
    with _at("create_model"):
        model_id = await open_model(transport, lease)
    with _at("load_weights"):
        request = wire.LoadWeightsRequest(
            model_id=model_id,
            seq_id=1,
            path=source.path,
            optimizer=source.optimizer,
            weights_access_token=source.weights_access_token,
        )
        accepted = await _send(transport, request)
        transport.profile.note_load("three_step")
        await _loaded(transport, lease, accepted)
    return Restored(model_id, next_seq_id=2)


async def _otherwise(transport: Transport, lease: Lease, source: Source, first: TinkexError) -> Restored:
    """Try the one-request form, under a number of its own, after ``first`` refused the other form.

    Where this is refused too, ``first`` is what the caller must know.
    """
    spent, released = lease.model_id, False
    if spent is not None:
        with contextlib.suppress(TinkexError):  # then it ends with its session
            released = await unload(transport, spent, patience=UNLOAD_SECONDS)
    lease.model_seq_id += 1
    try:
        return await _in_one_request(transport, lease, source)
    except TinkexError as error:
        if error.data.get("outcome") != "not_sent":
            raise
        if spent is not None and not released:
            lease.asked, lease.model_id = True, spent
        raise first from error


async def _in_one_request(transport: Transport, lease: Lease, source: Source) -> Restored:
    session_id = lease.session.session_id or ""
    request = wire.LoadWeightsRequest(
        session_id=session_id,
        model_seq_id=lease.model_seq_id,
        path=source.path,
        optimizer=source.optimizer,
        base_model=source.base_model,
        user_metadata=dict[str, Any](lease.user_metadata) if lease.user_metadata is not None else None,
        weights_access_token=source.weights_access_token,
    )
    lease.asked = True
    model_id = lease.opened(f"{session_id}:train:{lease.model_seq_id}")
    with _at("load_weights"):
        try:
            accepted = await _send(transport, request)
        except TinkexError as error:
            if error.data.get("outcome") == "not_sent":
                lease.asked, lease.model_id = False, None
            raise
        transport.profile.note_load("one_request")
        early = wire.decode(accepted, wire.LoadWeightsResult).model_id
        model_id = lease.opened(early or model_id)
        result = await _loaded(transport, lease, accepted)
    return Restored(lease.opened(result.model_id or model_id), next_seq_id=1)


async def _send(transport: Transport, request: wire.LoadWeightsRequest) -> bytes:
    sent = await transport.send("/api/v1/load_weights", wire.encode(request), what="load_weights", observe=tell)
    match sent:
        case Accepted(body, _):
            return body
        case Refused(error):
            raise _told(error, "not_sent")
        case Unknown(error) | Exists(error):
            raise _told(error, "unknown")


async def _loaded(transport: Transport, lease: Lease, accepted: bytes) -> wire.LoadWeightsResult:
    polled = await transport.result(accepted, what="load_weights", observe=tell)
    if isinstance(polled, Done):
        try:
            recognise("load_weights", polled.body, "path", "model_id")
            return wire.decode(polled.body, wire.LoadWeightsResult)
        except TinkexError as error:
            raise _told(error, "unknown") from error
    if not isinstance(polled, ResultLost):
        raise polled.error
    if polled.error.status in _LOST:
        gone = await session_gone(transport, lease.session.session_id or "")
        if gone is not None:
            raise gone
    raise _told(polled.error, "unknown")


def _told(error: TinkexError, outcome: str) -> TinkexError:
    return TinkexError(
        error.message,
        kind=error.kind,
        category=error.category,
        status=error.status,
        retry_after=error.retry_after,
        data={**error.data, "outcome": outcome},
    )


@contextlib.contextmanager
def _at(step: str) -> Generator[None]:
    at_work(step)
    try:
        yield
    except TinkexError as error:
        raise at_step(error, step) from error.__cause__
