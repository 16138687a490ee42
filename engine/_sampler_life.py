"""Samplers from their beginning to their end. Lives on the event loop."""

from typing import TYPE_CHECKING

import structlog

from tinkex.engine._executor import Job
from tinkex.engine._samplers import Sampler

if TYPE_CHECKING:
    from tinkex.engine._engine import Engine

log = structlog.get_logger("tinkex.engine")


def add_sampler(engine: "Engine", sampler: Sampler) -> None:
    """Know a new sampler; the oldest of its session end where there are too many."""
    for old in engine.samplers.add(sampler):
        log.warning("oldest sampler of a session ended", sampler_id=old.sampler_id)
        end_sampler(engine, old)


def end_samplers(engine: "Engine", session_id: str) -> None:
    """End all samplers of a session."""
    for sampler in engine.samplers.of_session(session_id):
        end_sampler(engine, sampler)


def end_sampler(engine: "Engine", sampler: Sampler) -> None:
    """End a sampler: what it has queued does not run, and its weights are freed."""
    engine.samplers.remove(sampler)
    engine.fail(engine.executor.drop(sampler.sampler_id), f"sampling session {sampler.sampler_id} ended")
    sampler_id = sampler.sampler_id
    engine.executor.put(Job("", lambda compute: compute.samplers.drop(sampler_id), sampler_id, "end_sampler"))
