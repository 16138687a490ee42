"""What time does to an engine: sessions, gaps, results and checkpoints end."""

import asyncio
import sqlite3

import structlog

from tinkex.engine._service._engine import Engine
from tinkex.engine._service._executor import Job
from tinkex.engine._service._lifecycle import end_session
from tinkex.engine._service._registry import Model

log = structlog.get_logger("tinkex.engine")


async def sweep_for_ever(engine: Engine) -> None:
    """Sweep again and again until cancelled; what the disk refuses is tried again."""
    while True:
        await asyncio.sleep(engine.config.sweep_interval)
        try:
            await sweep(engine)
        except (OSError, sqlite3.Error) as error:
            log.warning("sweep failed; it is tried again", error=str(error))


async def sweep(engine: Engine) -> None:
    """Let time take effect once."""
    for session in engine.sessions.expired():
        log.info("session expired", session_id=session.row.session_id)
        await end_session(engine, session, "expired", None, None)
    for model in engine.models.all():
        _expire_gap(engine, model)
    engine.futures.sweep()
    engine.downloads.sweep()
    for folder in await asyncio.to_thread(engine.store.checkpoints.delete_expired, engine.wall()):
        await asyncio.to_thread(engine.root.remove, folder)


def _expire_gap(engine: Engine, model: Model) -> None:
    """Fail what has waited too long for a missing number; nobody can vouch for the model's gradients after that."""
    missing, given_up = model.sequencer.expire(engine.clock())
    if not given_up:
        return
    numbers = f"{missing[0]}" if len(missing) == 1 else f"{missing[0]} to {missing[-1]}"
    reason = f"number {numbers} of model {model.model_id} did not come within {engine.config.gap_timeout:g} s"
    log.warning("gap in the numbers", model_id=model.model_id, missing=numbers, failed=len(given_up))
    engine.executor.put(Job("", lambda compute: compute.poison(model.model_id, reason), model.model_id, "gap"))
    engine.fail(given_up, reason)
