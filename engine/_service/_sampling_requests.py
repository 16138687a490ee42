"""Sampling sessions and their requests. Lives on the event loop."""

import asyncio
import sqlite3
from typing import TYPE_CHECKING

from tinkex.engine._base._catalogue import BaseModel
from tinkex.engine._base._errors import OperationFailed, Refusal
from tinkex.engine._service import _shelf
from tinkex.engine._service._executor import UNFINISHED, Job, Unfinished
from tinkex.engine._service._lifecycle import active_session
from tinkex.engine._service._sample_checks import check_sample, first_seed, max_tokens, stops_of
from tinkex.engine._service._samplers import Sample, Sampler
from tinkex.engine._service._validation import check_number
from tinkex.engine._store._records import CheckpointRow
from tinkex.protocol import wire

if TYPE_CHECKING:
    from tinkex.engine._compute._compute import Compute
    from tinkex.engine._compute._sampling import SampleOrder, Sampling
    from tinkex.engine._service._engine import Engine


async def create(engine: "Engine", body: wire.CreateSamplingSessionRequest, owner: str, digest: bytes) -> str:
    """Begin a sampling session, or find the one that the same request began; return its id.

    Raises:
        Refusal: 400, 404, 410, or 425 while its checkpoint is being written.
    """
    session = await active_session(engine, body.session_id, owner)
    check_number("sampling_session_seq_id", body.sampling_session_seq_id)
    sampler_id = f"{body.session_id}:sample:{body.sampling_session_seq_id}"
    if _created_before(engine, sampler_id, digest):
        return sampler_id
    engine.check_open()
    row, base = await _weights(engine, body, owner)
    if _created_before(engine, sampler_id, digest):
        return sampler_id
    path = None if row is None else row.path
    sampler = Sampler(sampler_id, body.session_id, owner, base, path, digest)

    def open_weights(compute: "Compute") -> None:
        if row is None:
            compute.samplers.open_base(sampler_id, base)
        else:
            compute.samplers.open_checkpoint(sampler_id, base, row)

    engine.executor.put(Job("", open_weights, sampler_id, "create_sampling_session"))
    engine.samplers.add(sampler)
    try:
        await asyncio.to_thread(engine.store.put_sampler, sampler.row)
    except sqlite3.Error as error:
        engine.samplers.end(sampler)
        raise Refusal(503, f"the sampling session cannot be kept: {error}") from error
    if session.ended:
        raise Refusal(410, f"session {body.session_id} has ended; create a new one")
    return sampler_id


def _created_before(engine: "Engine", sampler_id: str, digest: bytes) -> bool:
    """Whether the same request began this sampler.

    Raises:
        Refusal: 400 where another request did.
    """
    known = engine.samplers.find(sampler_id)
    if known is not None and known.digest != digest:
        raise Refusal(
            400, f"the sampling_session_seq_id of {sampler_id} was used for another request; take a new number"
        )
    return known is not None


async def _weights(
    engine: "Engine", body: wire.CreateSamplingSessionRequest, owner: str
) -> tuple[CheckpointRow | None, BaseModel]:
    """Return the checkpoint and the base model that are asked for."""
    if body.model_path is None:
        if body.base_model is None:
            raise Refusal(400, "create_sampling_session needs base_model or model_path")
        return None, engine.catalogue.get(body.base_model)
    row = await _shelf.find(engine, body.model_path, owner, kinds=_shelf.ALL_KINDS)
    if isinstance(row, Refusal):
        raise row
    if body.base_model not in (None, row.base_model):
        raise Refusal(400, f"base_model: {row.path} was trained on {row.base_model}, not on {body.base_model}")
    return row, engine.catalogue.get(row.base_model)


async def find(engine: "Engine", sampler_id: str, owner: str) -> Sampler:
    """Return a live sampler.

    Raises:
        Refusal: 404 or 410.
    """
    sampler = engine.samplers.find(sampler_id)
    if sampler is None:
        row = await asyncio.to_thread(engine.store.sampler, sampler_id)
        if row is not None and row.owner == owner:
            raise Refusal(410, f"sampling session {sampler_id} has ended; create a new one")
    if sampler is None or sampler.owner != owner:
        raise Refusal(404, f"unknown sampling session {sampler_id!r}")
    return sampler


def sample(engine: "Engine", sampler: Sampler, request: wire.SampleRequest, digest: bytes) -> wire.SampleFuture:
    """Queue a request to sample, or recognise it.

    Raises:
        Refusal: 400 for what cannot be sampled, and for another request under a used number.
    """
    if request.seq_id is None:
        raise Refusal(400, "asample needs seq_id, a number of its own for each request")
    check_number("seq_id", request.seq_id)
    known = sampler.sampled(request.seq_id)
    if known is not None:
        if known.digest != digest:
            raise Refusal(400, f"seq_id {request.seq_id} of {sampler.sampler_id} was used for another request")
        return known.future
    check_sample(request, sampler.base)
    engine.check_open()
    request_id = engine.futures.open(sampler.owner)
    names = [f"{sampler.sampler_id}:{request.seq_id}:{index}" for index in range(request.num_samples)]
    future = wire.SampleFuture(request_id, names)
    sampler.remember(request.seq_id, Sample(digest, future))
    run = SampleRun(sampler, request)
    engine.sampling[request_id] = run.cancel
    engine.executor.put(Job(request_id, run, sampler.sampler_id, f"asample (number {request.seq_id})"))
    engine.show_life(sampler.session_id)
    return future


class SampleRun:
    """A queued request to sample, as the compute thread calls it again and again until it is done."""

    def __init__(self, sampler: Sampler, request: wire.SampleRequest) -> None:
        self._sampler = sampler
        self._request = request
        self._sampling: Sampling | None = None
        self._cancelled = False

    def __call__(self, compute: "Compute") -> wire.SampleResult | Unfinished:
        """Compute a slice."""
        if self._cancelled:
            raise OperationFailed("the request to sample was cancelled by its client")
        if self._sampler.ended:
            raise OperationFailed(f"sampling session {self._sampler.sampler_id} ended")
        if self._sampling is None:
            self._sampling = compute.sample(self._sampler.sampler_id, self._order())
        return self._sampling.advance() or UNFINISHED

    def cancel(self) -> None:
        """Draw nothing more. Called on the event loop."""
        self._cancelled = True

    def _order(self) -> "SampleOrder":
        from tinkex.engine._compute._sampling import SampleOrder  # noqa: PLC0415 - torch, in the compute thread only

        request, base = self._request, self._sampler.base
        params = request.sampling_params
        return SampleOrder(request, first_seed(params), max_tokens(request, base), stops_of(params, base))


def cancel(engine: "Engine", request_id: str, owner: str) -> None:
    """End a request to sample that its client does not wait for any more; others are not touched."""
    end = engine.sampling.get(request_id)
    if end is not None and engine.futures.known(request_id, owner):
        end()
